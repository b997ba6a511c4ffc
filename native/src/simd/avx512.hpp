// AVX-512 without bf16 instructions (F, BW, DQ, VL): bf16 is widened by a shift, then multiplied and
// added in float32.
#pragma once

#include "avx512_floats.hpp"

namespace headrace::HEADRACE_ISA {
namespace {

constexpr std::size_t kPanel = 8;     // 8 chains of two dependent multiply-adds
constexpr std::size_t kWideRows = 4;  // 4 rows x 4 blocks: 16 accumulators, and 8 halves of inputs
constexpr std::size_t kWideBlocks = 4;
constexpr int kScoreBlocks = 2;
constexpr int kValueChunks = 2;

HEADRACE_INLINE F dot(F acc, P w, P x) { return fma(high(w), high(x), fma(low(w), low(x), acc)); }
HEADRACE_INLINE void store_bf16(std::uint16_t* p, F x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i upper = _mm512_srli_epi32(bits, 16);
  const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
  const __m512i bias = _mm512_add_epi32(_mm512_set1_epi32(0x7FFF), odd);
  const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, bias), 16);
  const __m512i quiet = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtepi32_epi16(_mm512_mask_blend_epi32(nan, rounded, quiet)));
}

}  // namespace
}  // namespace headrace::HEADRACE_ISA
