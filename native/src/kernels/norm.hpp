// Root-mean-square norm, rounding to bf16, and the rotary turn of one head.

namespace headrace::HEADRACE_ISA {
namespace {

// 1 / sqrt(mean(x^2) + eps). Four partial sums of 16 lanes, always in the same order.
HEADRACE_INLINE F inverse_rms(const float* x, std::size_t width, float eps) {
  F sums[4] = {splat(0.0f), splat(0.0f), splat(0.0f), splat(0.0f)};
  const std::size_t padded = (width + 15) / 16 * 16;
  std::size_t i = 0;
  for (; i + 64 <= padded; i += 64) {
    for (int j = 0; j < 4; ++j) {
      const F v = load(x + i + j * 16);
      sums[j] = fma(v, v, sums[j]);
    }
  }
  for (; i < padded; i += 16) {
    const F v = load(x + i);
    sums[0] = fma(v, v, sums[0]);
  }
  const float total = hsum(add(add(sums[0], sums[1]), add(sums[2], sums[3])));
  const float mean = total / static_cast<float>(width);
  return splat(1.0f / __builtin_sqrtf(mean + eps));
}

void norm(const float* x, const float* weight, std::size_t width, float eps, float* out) {
  const F scale = inverse_rms(x, width, eps);
  for (std::size_t i = 0; i < width; i += 16) {
    store(out + i, mul(mul(load(x + i), scale), load(weight + i)));
  }
}

void norm_round(const float* x, const float* weight, std::size_t width, float eps,
                std::uint16_t* out) {
  const F scale = inverse_rms(x, width, eps);
  for (std::size_t i = 0; i < width; i += 16) {
    store_bf16(out + i, mul(mul(load(x + i), scale), load(weight + i)));
  }
}

void round_row(const float* x, std::size_t count, std::uint16_t* out) {
  std::size_t i = 0;
  for (; i + 16 <= count; i += 16) store_bf16(out + i, load(x + i));
  if (i == count) return;
  std::uint16_t rest[16];
  store_bf16(rest, load_some(x + i, count - i));
  for (std::size_t j = 0; i + j < count; ++j) out[i + j] = rest[j];
}

void rotate(const float* x, const float* cos, const float* sin, std::size_t half, float* out) {
  std::size_t i = 0;
  for (; i + 16 <= half; i += 16) {
    const F first = load(x + i);
    const F second = load(x + half + i);
    const F c = load(cos + i);
    const F s = load(sin + i);
    store(out + i, sub(mul(first, c), mul(second, s)));
    store(out + half + i, add(mul(second, c), mul(first, s)));
  }
  for (; i < half; ++i) {
    const float first = x[i];
    const float second = x[half + i];
    out[i] = first * cos[i] - second * sin[i];
    out[half + i] = second * cos[i] + first * sin[i];
  }
}

void rotate_pairs(const float* x, const float* cos, const float* sin, std::size_t half,
                  float* out) {
  for (std::size_t i = 0; i < half; ++i) {
    const float first = x[2 * i];
    const float second = x[2 * i + 1];
    out[2 * i] = first * cos[i] - second * sin[i];
    out[2 * i + 1] = second * cos[i] + first * sin[i];
  }
}

}  // namespace
}  // namespace headrace::HEADRACE_ISA
