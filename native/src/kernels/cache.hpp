// Writing one token's key and value of one head to the cache, rounded to bf16.

namespace headrace::HEADRACE_ISA {
namespace {

// 16 values from `from`, of which `real` exist; the others count as 0.
HEADRACE_INLINE F load_some(const float* from, std::size_t real) {
  if (real >= 16) return load(from);
  float padded[16] = {};
  for (std::size_t i = 0; i < real; ++i) padded[i] = from[i];
  return load(padded);
}

void append(const float* key, const float* value, std::size_t dim, std::uint32_t* keys,
            std::uint32_t* values) {
  for (std::size_t d = 0; d < dim; d += 16) {
    alignas(64) std::uint16_t bits[16];
    store_bf16(bits, load_some(key + d, dim - d));
    for (std::size_t i = 0; i < 16 && d + i < dim; i += 2) {
      keys[(d + i) * 8] = bits[i] | static_cast<std::uint32_t>(bits[i + 1]) << 16;
    }
  }
  if (value == nullptr) return;
  for (std::size_t d = 0; d < dim; d += 32) {
    alignas(64) std::uint16_t lower[16];
    alignas(64) std::uint16_t upper[16] = {};
    store_bf16(lower, load_some(value + d, dim - d));
    if (d + 16 < dim) store_bf16(upper, load_some(value + d + 16, dim - d - 16));
    for (std::size_t i = 0; i < 16; ++i) {
      values[d / 2 + i] = lower[i] | static_cast<std::uint32_t>(upper[i]) << 16;
    }
  }
}

}  // namespace
}  // namespace headrace::HEADRACE_ISA
