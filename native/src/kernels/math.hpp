// exp, silu and gelu on vectors, the same polynomial on every instruction set.

namespace headrace::HEADRACE_ISA {
namespace {

// Fitted on [-ln 2 / 2, ln 2 / 2] by reweighted least squares; the first two terms are 1 + r.
constexpr float kExp2 = 0.5f;
constexpr float kExp3 = 0.166665182f;
constexpr float kExp4 = 0.041666206f;
constexpr float kExp5 = 0.00836891960f;
constexpr float kExp6 = 0.00139505242f;

// e^x to about 1 unit in the last place; 0 below -87.3 (where float32 leaves its normal range),
// e^88.3 above 88.3. x = n ln 2 + r with |r| <= ln 2 / 2, and e^r is a degree-6 polynomial whose
// relative error there is 3e-9.
HEADRACE_INLINE F exp(F x) {
  const M tiny = gt(splat(-87.3f), x);
  const F top = splat(88.3f);
  x = select(gt(x, top), top, x);
  x = select(tiny, splat(0.0f), x);
  const F n = nearest(mul(x, splat(1.44269504f)));
  // ln 2 in two parts: n * 0.693359375 is exact for |n| < 2^13.
  F r = fma(n, splat(-0.693359375f), x);
  r = fma(n, splat(2.12194440e-4f), r);
  F p = splat(kExp6);
  p = fma(p, r, splat(kExp5));
  p = fma(p, r, splat(kExp4));
  p = fma(p, r, splat(kExp3));
  p = fma(p, r, splat(kExp2));
  p = fma(p, mul(r, r), add(r, splat(1.0f)));
  return select(tiny, splat(0.0f), mul(p, pow2(n)));
}

void silu_multiply(const float* gate, const float* up, std::size_t blocks, std::size_t step,
                   float* out) {
  for (std::size_t i = 0; i < blocks; ++i) {
    const F g = load(gate + i * step);
    const F denominator = add(splat(1.0f), exp(sub(splat(0.0f), g)));
    store(out + i * 16, mul(div(g, denominator), load(up + i * step)));
  }
}

// x / 2 * (1 + tanh(y)) = x / (1 + exp(-2 y)), with y = sqrt(2 / pi) * (x + 0.044715 x^3).
void gelu_multiply(const float* gate, const float* up, std::size_t blocks, std::size_t step,
                   float* out) {
  for (std::size_t i = 0; i < blocks; ++i) {
    const F g = load(gate + i * step);
    const F cubic = fma(mul(mul(g, g), g), splat(0.044715f), g);
    const F denominator = add(splat(1.0f), exp(mul(cubic, splat(-1.59576912f))));
    store(out + i * 16, mul(div(g, denominator), load(up + i * step)));
  }
}

// min(g, limit) / (1 + exp(-alpha min(g, limit))) * (clip(u) + 1).
void clamped_multiply(const float* gate, const float* up, std::size_t blocks, std::size_t step,
                      float alpha, float limit, float* out) {
  const F most = splat(limit);
  const F least = splat(-limit);
  for (std::size_t i = 0; i < blocks; ++i) {
    F g = load(gate + i * step);
    F u = load(up + i * step);
    g = select(gt(g, most), most, g);
    u = select(gt(u, most), most, u);
    u = select(gt(least, u), least, u);
    const F denominator = add(splat(1.0f), exp(mul(g, splat(-alpha))));
    store(out + i * 16, mul(div(g, denominator), add(u, splat(1.0f))));
  }
}

void add_into(const float* x, std::size_t padded, float* out) {
  for (std::size_t i = 0; i < padded; i += 16) store(out + i, add(load(out + i), load(x + i)));
}

}  // namespace
}  // namespace headrace::HEADRACE_ISA
