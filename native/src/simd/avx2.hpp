// Sixteen floats as two 256-bit registers: AVX2 with FMA and F16C.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#define HEADRACE_INLINE static inline __attribute__((always_inline))

#include "codes.hpp"

namespace headrace::HEADRACE_ISA {
namespace {

constexpr std::size_t kPanel = 4;     // 8 accumulators of 16 registers
constexpr std::size_t kWideRows = 3;  // 3 rows x 2 blocks: 12 accumulators
constexpr std::size_t kWideBlocks = 2;
constexpr int kScoreBlocks = 1;
constexpr int kValueChunks = 1;

struct F {
  __m256 a, b;
};
struct P {
  __m256i a, b;
};
using M = F;

HEADRACE_INLINE F load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
HEADRACE_INLINE void store(float* p, F x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
HEADRACE_INLINE F splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
HEADRACE_INLINE F lanes() {
  return {_mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_ps(8, 9, 10, 11, 12, 13, 14, 15)};
}
HEADRACE_INLINE F add(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
HEADRACE_INLINE F sub(F x, F y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
HEADRACE_INLINE F mul(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
HEADRACE_INLINE F div(F x, F y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
HEADRACE_INLINE F fma(F x, F y, F z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
HEADRACE_INLINE M gt(F x, F y) {
  return {_mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ)};
}
HEADRACE_INLINE F select(M m, F x, F y) {
  return {_mm256_blendv_ps(y.a, x.a, m.a), _mm256_blendv_ps(y.b, x.b, m.b)};
}
HEADRACE_INLINE F maximum(F x, F y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
HEADRACE_INLINE F nearest(F x) {
  constexpr int kMode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(x.a, kMode), _mm256_round_ps(x.b, kMode)};
}
HEADRACE_INLINE __m256 pow2_half(__m256 n) {
  const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
}
HEADRACE_INLINE F pow2(F n) { return {pow2_half(n.a), pow2_half(n.b)}; }

HEADRACE_INLINE P load_pairs(const std::uint32_t* p) {
  const auto* q = reinterpret_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
HEADRACE_INLINE P splat_pair(std::uint32_t x) {
  const __m256i v = _mm256_set1_epi32(static_cast<int>(x));
  return {v, v};
}
HEADRACE_INLINE F low(P p) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(p.a, 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(p.b, 16))};
}
HEADRACE_INLINE F high(P p) {
  const __m256i mask = _mm256_set1_epi32(static_cast<int>(0xFFFF0000u));
  return {_mm256_castsi256_ps(_mm256_and_si256(p.a, mask)),
          _mm256_castsi256_ps(_mm256_and_si256(p.b, mask))};
}
HEADRACE_INLINE F dot(F acc, P w, P x) { return fma(high(w), high(x), fma(low(w), low(x), acc)); }

HEADRACE_INLINE __m256i load_scales_half(const std::uint8_t* p) {
  const __m256i scales = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  const __m256i top = _mm256_set1_epi32(static_cast<int>(kTopScale));
  const __m256i below = _mm256_slli_epi32(_mm256_sub_epi32(top, scales), kExponentShift);
  return _mm256_or_si256(_mm256_and_si256(below, _mm256_set1_epi32(0xFFFF)),
                         _mm256_slli_epi32(below, 16));
}
// What the scales of 16 outputs take from the exponents of `kCodes`.
HEADRACE_INLINE P load_scales(const std::uint8_t* p) {
  return {load_scales_half(p), load_scales_half(p + 8)};
}
template <int kPair>
HEADRACE_INLINE __m256i decode_half(__m256i codes, __m256i below) {
  const auto table = [](const std::uint8_t* bytes) {
    return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(bytes)));
  };
  // A code in the lower byte of each half; the other byte looks up code 0, which is 0.
  const __m256i low =
      _mm256_and_si256(_mm256_srli_epi32(codes, 4 * kPair), _mm256_set1_epi32(0x000F000F));
  const __m256i high = _mm256_slli_epi16(low, 8);
  return _mm256_subs_epu16(_mm256_or_si256(_mm256_shuffle_epi8(table(kCodesLow), low),
                                           _mm256_shuffle_epi8(table(kCodesHigh), high)),
                           below);
}
// Pair `kPair` of the four whose codes a word holds, with scales from `load_scales`.
template <int kPair>
HEADRACE_INLINE P decode(P codes, P below) {
  return {decode_half<kPair>(codes.a, below.a), decode_half<kPair>(codes.b, below.b)};
}

HEADRACE_INLINE F load_fp16(const std::uint16_t* p) {
  const auto* q = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}

HEADRACE_INLINE __m256i to_bf16_half(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i bias = _mm256_add_epi32(_mm256_set1_epi32(0x7FFF), odd);
  const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, bias), 16);
  const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(0x40));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  return _mm256_blendv_epi8(rounded, quiet, nan);
}
HEADRACE_INLINE void store_bf16(std::uint16_t* p, F x) {
  const __m256i packed = _mm256_packus_epi32(to_bf16_half(x.a), to_bf16_half(x.b));
  // packus works within 128-bit halves: put the four quarters back in order.
  const __m256i ordered = _mm256_permute4x64_epi64(packed, 0xD8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), ordered);
}

HEADRACE_INLINE float hsum(F x) {
  const __m256 eight = _mm256_add_ps(x.a, x.b);
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
HEADRACE_INLINE float hmax(F x) {
  const __m256 eight = _mm256_max_ps(x.a, x.b);
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}
// Keeps a load that nothing needs.
HEADRACE_INLINE void touch(P p) { asm volatile("" : : "x"(p.a), "x"(p.b)); }

}  // namespace
}  // namespace headrace::HEADRACE_ISA
