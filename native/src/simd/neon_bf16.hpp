// AArch64 with the bf16 pair dot product and the rounding to bf16: FEAT_BF16.
//
// BFDOT adds both products to each other and then to the sum, keeps no subnormal numbers, and, unless
// a system turns extended bf16 on, rounds to odd instead of to nearest: one step errs by up to a unit
// in the last place where a fused multiply-add errs by half of one. That is the same for one row and
// for many, and far inside the bound the tests hold every instruction set to.
#pragma once

#include "neon_floats.hpp"

namespace headrace::HEADRACE_ISA {
namespace {

constexpr std::size_t kPanel = 4;     // 16 accumulators of 32 registers
constexpr std::size_t kWideRows = 3;  // 3 rows x 2 blocks: 24 accumulators
constexpr std::size_t kWideBlocks = 2;
constexpr int kScoreBlocks = 1;
constexpr int kValueChunks = 1;

HEADRACE_INLINE float32x4_t dot_quarter(float32x4_t acc, uint32x4_t w, uint32x4_t x) {
  return vbfdotq_f32(acc, vreinterpretq_bf16_u32(w), vreinterpretq_bf16_u32(x));
}
HEADRACE_INLINE F dot(F acc, P w, P x) {
  return {dot_quarter(acc.a, w.a, x.a), dot_quarter(acc.b, w.b, x.b), dot_quarter(acc.c, w.c, x.c),
          dot_quarter(acc.d, w.d, x.d)};
}
HEADRACE_INLINE uint16x8_t to_bf16_half(float32x4_t first, float32x4_t second) {
  return vreinterpretq_u16_bf16(vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(first), second));
}
HEADRACE_INLINE void store_bf16(std::uint16_t* p, F x) {
  vst1q_u16(p, to_bf16_half(x.a, x.b));
  vst1q_u16(p + 8, to_bf16_half(x.c, x.d));
}

}  // namespace
}  // namespace headrace::HEADRACE_ISA
