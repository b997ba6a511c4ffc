// AVX-512 with the bf16 pair dot product and the rounding to bf16: AVX512_BF16.
#pragma once

#include "avx512_floats.hpp"

namespace headrace::HEADRACE_ISA {
namespace {

constexpr std::size_t kPanel = 8;     // 8 chains hide the dot product's latency of 6 cycles
constexpr std::size_t kWideRows = 6;  // 6 rows x 4 blocks: 24 accumulators of 32 registers
constexpr std::size_t kWideBlocks = 4;
constexpr int kScoreBlocks = 2;
constexpr int kValueChunks = 2;

HEADRACE_INLINE F dot(F acc, P w, P x) { return _mm512_dpbf16_ps(acc, (__m512bh)w, (__m512bh)x); }
HEADRACE_INLINE void store_bf16(std::uint16_t* p, F x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(x));
}

}  // namespace
}  // namespace headrace::HEADRACE_ISA
