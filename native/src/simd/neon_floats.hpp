// Sixteen floats as four 128-bit registers: what AArch64 has with and without bf16 instructions.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#define HEADRACE_INLINE static inline __attribute__((always_inline))

#include "codes.hpp"

namespace headrace::HEADRACE_ISA {
namespace {

struct F {
  float32x4_t a, b, c, d;
};
struct P {
  uint32x4_t a, b, c, d;
};
using M = P;

HEADRACE_INLINE F load(const float* p) {
  return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
HEADRACE_INLINE void store(float* p, F x) {
  vst1q_f32(p, x.a);
  vst1q_f32(p + 4, x.b);
  vst1q_f32(p + 8, x.c);
  vst1q_f32(p + 12, x.d);
}
HEADRACE_INLINE F splat(float x) {
  const float32x4_t v = vdupq_n_f32(x);
  return {v, v, v, v};
}
HEADRACE_INLINE F lanes() {
  constexpr float numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return load(numbers);
}
HEADRACE_INLINE F add(F x, F y) {
  return {vaddq_f32(x.a, y.a), vaddq_f32(x.b, y.b), vaddq_f32(x.c, y.c), vaddq_f32(x.d, y.d)};
}
HEADRACE_INLINE F sub(F x, F y) {
  return {vsubq_f32(x.a, y.a), vsubq_f32(x.b, y.b), vsubq_f32(x.c, y.c), vsubq_f32(x.d, y.d)};
}
HEADRACE_INLINE F mul(F x, F y) {
  return {vmulq_f32(x.a, y.a), vmulq_f32(x.b, y.b), vmulq_f32(x.c, y.c), vmulq_f32(x.d, y.d)};
}
HEADRACE_INLINE F div(F x, F y) {
  return {vdivq_f32(x.a, y.a), vdivq_f32(x.b, y.b), vdivq_f32(x.c, y.c), vdivq_f32(x.d, y.d)};
}
HEADRACE_INLINE F fma(F x, F y, F z) {
  return {vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c),
          vfmaq_f32(z.d, x.d, y.d)};
}
HEADRACE_INLINE M gt(F x, F y) {
  return {vcgtq_f32(x.a, y.a), vcgtq_f32(x.b, y.b), vcgtq_f32(x.c, y.c), vcgtq_f32(x.d, y.d)};
}
HEADRACE_INLINE F select(M m, F x, F y) {
  return {vbslq_f32(m.a, x.a, y.a), vbslq_f32(m.b, x.b, y.b), vbslq_f32(m.c, x.c, y.c),
          vbslq_f32(m.d, x.d, y.d)};
}
// Not vmaxq: of a NaN and a number the other instruction sets give the second.
HEADRACE_INLINE float32x4_t greater(float32x4_t x, float32x4_t y) {
  return vbslq_f32(vcgtq_f32(x, y), x, y);
}
HEADRACE_INLINE F maximum(F x, F y) {
  return {greater(x.a, y.a), greater(x.b, y.b), greater(x.c, y.c), greater(x.d, y.d)};
}
HEADRACE_INLINE F nearest(F x) {
  return {vrndnq_f32(x.a), vrndnq_f32(x.b), vrndnq_f32(x.c), vrndnq_f32(x.d)};
}
HEADRACE_INLINE float32x4_t pow2_quarter(float32x4_t n) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23));
}
HEADRACE_INLINE F pow2(F n) {
  return {pow2_quarter(n.a), pow2_quarter(n.b), pow2_quarter(n.c), pow2_quarter(n.d)};
}

HEADRACE_INLINE uint16x8_t below_top(uint8x8_t scales) {
  const uint16x8_t top = vdupq_n_u16(static_cast<std::uint16_t>(kTopScale));
  return vshlq_n_u16(vsubq_u16(top, vmovl_u8(scales)), kExponentShift);
}
// What the scales of 16 outputs take from the exponents of `kCodes`.
HEADRACE_INLINE P load_scales(const std::uint8_t* p) {
  const uint16x8_t first = below_top(vld1_u8(p));
  const uint16x8_t second = below_top(vld1_u8(p + 8));
  return {vreinterpretq_u32_u16(vzip1q_u16(first, first)),
          vreinterpretq_u32_u16(vzip2q_u16(first, first)),
          vreinterpretq_u32_u16(vzip1q_u16(second, second)),
          vreinterpretq_u32_u16(vzip2q_u16(second, second))};
}
template <int kPair>
HEADRACE_INLINE uint32x4_t decode_quarter(uint32x4_t codes, uint32x4_t below) {
  // A code in the lower byte of each half; the other byte looks up code 0, which is 0.
  const uint32x4_t moved = vshlq_u32(codes, vdupq_n_s32(-4 * kPair));
  const uint16x8_t low = vreinterpretq_u16_u32(vandq_u32(moved, vdupq_n_u32(0x000F000Fu)));
  const uint16x8_t high = vshlq_n_u16(low, 8);
  const uint8x16_t found = vorrq_u8(vqtbl1q_u8(vld1q_u8(kCodesLow), vreinterpretq_u8_u16(low)),
                                    vqtbl1q_u8(vld1q_u8(kCodesHigh), vreinterpretq_u8_u16(high)));
  return vreinterpretq_u32_u16(
      vqsubq_u16(vreinterpretq_u16_u8(found), vreinterpretq_u16_u32(below)));
}
// Pair `kPair` of the four whose codes a word holds, with scales from `load_scales`.
template <int kPair>
HEADRACE_INLINE P decode(P codes, P below) {
  return {decode_quarter<kPair>(codes.a, below.a), decode_quarter<kPair>(codes.b, below.b),
          decode_quarter<kPair>(codes.c, below.c), decode_quarter<kPair>(codes.d, below.d)};
}

HEADRACE_INLINE P load_pairs(const std::uint32_t* p) {
  return {vld1q_u32(p), vld1q_u32(p + 4), vld1q_u32(p + 8), vld1q_u32(p + 12)};
}
HEADRACE_INLINE P splat_pair(std::uint32_t x) {
  const uint32x4_t v = vdupq_n_u32(x);
  return {v, v, v, v};
}
HEADRACE_INLINE float32x4_t low_quarter(uint32x4_t p) {
  return vreinterpretq_f32_u32(vshlq_n_u32(p, 16));
}
HEADRACE_INLINE F low(P p) {
  return {low_quarter(p.a), low_quarter(p.b), low_quarter(p.c), low_quarter(p.d)};
}
HEADRACE_INLINE float32x4_t high_quarter(uint32x4_t p) {
  return vreinterpretq_f32_u32(vandq_u32(p, vdupq_n_u32(0xFFFF0000u)));
}
HEADRACE_INLINE F high(P p) {
  return {high_quarter(p.a), high_quarter(p.b), high_quarter(p.c), high_quarter(p.d)};
}

HEADRACE_INLINE float32x4_t fp16_quarter(const std::uint16_t* p) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
HEADRACE_INLINE F load_fp16(const std::uint16_t* p) {
  return {fp16_quarter(p), fp16_quarter(p + 4), fp16_quarter(p + 8), fp16_quarter(p + 12)};
}

HEADRACE_INLINE float hsum(F x) {
  const float32x4_t four = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
HEADRACE_INLINE float hmax(F x) {
  const float32x4_t four = greater(greater(x.a, x.c), greater(x.b, x.d));
  const float32x2_t first = vget_low_f32(four);
  const float32x2_t second = vget_high_f32(four);
  const float32x2_t two = vbsl_f32(vcgt_f32(first, second), first, second);
  const float even = vget_lane_f32(two, 0);
  const float odd = vget_lane_f32(two, 1);
  return even > odd ? even : odd;
}
// Keeps a load that nothing needs.
HEADRACE_INLINE void touch(P p) { asm volatile("" : : "w"(p.a), "w"(p.b), "w"(p.c), "w"(p.d)); }

}  // namespace
}  // namespace headrace::HEADRACE_ISA
