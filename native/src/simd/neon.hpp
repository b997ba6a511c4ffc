// AArch64 without bf16 instructions: bf16 is widened by a shift, then multiplied and added in float32.
#pragma once

#include "neon_floats.hpp"

namespace headrace::HEADRACE_ISA {
namespace {

constexpr std::size_t kPanel = 4;     // 16 accumulators of 32 registers
constexpr std::size_t kWideRows = 2;  // 2 rows x 2 blocks: 16 accumulators, and 4 halves of inputs
constexpr std::size_t kWideBlocks = 2;
constexpr int kScoreBlocks = 1;
constexpr int kValueChunks = 1;

HEADRACE_INLINE F dot(F acc, P w, P x) { return fma(high(w), high(x), fma(low(w), low(x), acc)); }
HEADRACE_INLINE uint16x4_t to_bf16_quarter(float32x4_t x) {
  const uint32x4_t bits = vreinterpretq_u32_f32(x);
  const uint32x4_t upper = vshrq_n_u32(bits, 16);
  const uint32x4_t bias = vaddq_u32(vandq_u32(upper, vdupq_n_u32(1)), vdupq_n_u32(0x7FFF));
  const uint32x4_t rounded = vshrq_n_u32(vaddq_u32(bits, bias), 16);
  const uint32x4_t quiet = vorrq_u32(upper, vdupq_n_u32(0x40));
  return vmovn_u32(vbslq_u32(vceqq_f32(x, x), rounded, quiet));  // a NaN differs from itself
}
HEADRACE_INLINE void store_bf16(std::uint16_t* p, F x) {
  vst1q_u16(p, vcombine_u16(to_bf16_quarter(x.a), to_bf16_quarter(x.b)));
  vst1q_u16(p + 8, vcombine_u16(to_bf16_quarter(x.c), to_bf16_quarter(x.d)));
}

}  // namespace
}  // namespace headrace::HEADRACE_ISA
