// Sixteen floats as one 512-bit register: what AVX-512 has with and without its bf16 instructions.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#define HEADRACE_INLINE static inline __attribute__((always_inline))

#include "codes.hpp"

namespace headrace::HEADRACE_ISA {
namespace {

using F = __m512;
using P = __m512i;
using M = __mmask16;

HEADRACE_INLINE F load(const float* p) { return _mm512_loadu_ps(p); }
HEADRACE_INLINE void store(float* p, F x) { _mm512_storeu_ps(p, x); }
HEADRACE_INLINE F splat(float x) { return _mm512_set1_ps(x); }
HEADRACE_INLINE F lanes() {
  return _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
HEADRACE_INLINE F add(F x, F y) { return _mm512_add_ps(x, y); }
HEADRACE_INLINE F sub(F x, F y) { return _mm512_sub_ps(x, y); }
HEADRACE_INLINE F mul(F x, F y) { return _mm512_mul_ps(x, y); }
HEADRACE_INLINE F div(F x, F y) { return _mm512_div_ps(x, y); }
HEADRACE_INLINE F fma(F x, F y, F z) { return _mm512_fmadd_ps(x, y, z); }
HEADRACE_INLINE M gt(F x, F y) { return _mm512_cmp_ps_mask(x, y, _CMP_GT_OQ); }
HEADRACE_INLINE F select(M m, F x, F y) { return _mm512_mask_blend_ps(m, y, x); }
HEADRACE_INLINE F maximum(F x, F y) { return _mm512_max_ps(x, y); }
HEADRACE_INLINE F nearest(F x) {
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
HEADRACE_INLINE F pow2(F n) {
  const __m512i biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
  return _mm512_castsi512_ps(_mm512_slli_epi32(biased, 23));
}

HEADRACE_INLINE P load_pairs(const std::uint32_t* p) { return _mm512_loadu_si512(p); }
HEADRACE_INLINE P splat_pair(std::uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); }
HEADRACE_INLINE F low(P p) { return _mm512_castsi512_ps(_mm512_slli_epi32(p, 16)); }
HEADRACE_INLINE F high(P p) {
  return _mm512_castsi512_ps(_mm512_and_si512(p, _mm512_set1_epi32(static_cast<int>(0xFFFF0000u))));
}
// What the scales of 16 outputs take from the exponents of `kCodes`.
HEADRACE_INLINE P load_scales(const std::uint8_t* p) {
  const __m512i scales = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m512i top = _mm512_set1_epi32(static_cast<int>(kTopScale));
  const __m512i below = _mm512_slli_epi32(_mm512_sub_epi32(top, scales), kExponentShift);
  return _mm512_or_si512(_mm512_and_si512(below, _mm512_set1_epi32(0xFFFF)),
                         _mm512_slli_epi32(below, 16));
}
// Pair `kPair` of the four whose codes a word holds, with scales from `load_scales`. The lookup
// takes the lowest five bits of each half.
template <int kPair>
HEADRACE_INLINE P decode(P codes, P below) {
  const __m512i table = _mm512_load_si512(kCodes);
  return _mm512_subs_epu16(_mm512_permutexvar_epi16(_mm512_srli_epi32(codes, 4 * kPair), table),
                           below);
}

// Sums in units (kernels/units.hpp): the scales of 16 outputs above the least, what a sum is multiplied
// by when the next ones take over, and at its end. Scales out of range show in `or_bits` of all.
#define HEADRACE_SUMS_IN_UNITS
HEADRACE_INLINE P load_units(const std::uint8_t* p) {
  const __m512i scales = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm512_sub_epi32(scales, _mm512_set1_epi32(kLeastUnitScale));
}
HEADRACE_INLINE F power(P n) {  // 2^n
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23));
}
HEADRACE_INLINE F ratio(P units, P next) { return power(_mm512_sub_epi32(units, next)); }
HEADRACE_INLINE F worth(P units) {
  return power(_mm512_add_epi32(units, _mm512_set1_epi32(kLeastUnitScale - 127)));
}
HEADRACE_INLINE P or_bits(P units, P others) { return _mm512_or_si512(units, others); }
HEADRACE_INLINE bool units_in_range(P seen) {
  return _mm512_test_epi32_mask(seen, _mm512_set1_epi32(-kUnitScales)) == 0;
}
template <int kPair>
HEADRACE_INLINE P decode_in_units(P codes) {
  const __m512i table = _mm512_load_si512(kUnitCodes);
  return _mm512_permutexvar_epi16(_mm512_srli_epi32(codes, 4 * kPair), table);
}
// Whether all of `words` pairs (a multiple of 16) are inputs for such sums.
HEADRACE_INLINE bool inputs_in_range(const std::uint32_t* pairs, std::size_t words) {
  static_assert(kInputExponents == 128, "the uppermost bit says so");
  const __m512i least = _mm512_set1_epi16(static_cast<short>(kLeastInputExponent << 8));
  __mmask32 outside = 0;
  for (std::size_t i = 0; i < words; i += 16) {
    const __m512i unsigned_bits = _mm512_slli_epi16(_mm512_loadu_si512(pairs + i), 1);
    outside |= _mm512_test_epi16_mask(unsigned_bits, unsigned_bits) &
               _mm512_movepi16_mask(_mm512_sub_epi16(unsigned_bits, least));
  }
  return outside == 0;
}

HEADRACE_INLINE F load_fp16(const std::uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

HEADRACE_INLINE float hsum(F x) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
HEADRACE_INLINE float hmax(F x) {
  const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}
// Keeps a load that nothing needs.
HEADRACE_INLINE void touch(P p) { asm volatile("" : : "v"(p)); }

}  // namespace
}  // namespace headrace::HEADRACE_ISA
