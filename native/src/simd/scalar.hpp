// Sixteen floats as a plain array: runs anywhere, and judges the other instruction sets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../fp16.hpp"
#include "codes.hpp"

#define HEADRACE_INLINE static inline __attribute__((always_inline))

namespace headrace::HEADRACE_ISA {
namespace {

constexpr std::size_t kPanel = 4;       // blocks per panel
constexpr std::size_t kWideRows = 2;    // rows of the widest row tile ...
constexpr std::size_t kWideBlocks = 2;  // ... and the blocks it takes at a time
constexpr int kScoreBlocks = 1;         // KV blocks scored at a time
constexpr int kValueChunks = 1;         // chunks of values summed at a time

struct F {
  float v[16];
};
struct P {
  std::uint32_t v[16];
};
struct M {
  bool v[16];
};

#define HEADRACE_EACH for (int i = 0; i < 16; ++i)

HEADRACE_INLINE F load(const float* p) {
  F r;
  HEADRACE_EACH r.v[i] = p[i];
  return r;
}
HEADRACE_INLINE void store(float* p, F a) { HEADRACE_EACH p[i] = a.v[i]; }
HEADRACE_INLINE F splat(float x) {
  F r;
  HEADRACE_EACH r.v[i] = x;
  return r;
}
HEADRACE_INLINE F lanes() {
  F r;
  HEADRACE_EACH r.v[i] = static_cast<float>(i);
  return r;
}
HEADRACE_INLINE F add(F a, F b) {
  HEADRACE_EACH a.v[i] += b.v[i];
  return a;
}
HEADRACE_INLINE F sub(F a, F b) {
  HEADRACE_EACH a.v[i] -= b.v[i];
  return a;
}
HEADRACE_INLINE F mul(F a, F b) {
  HEADRACE_EACH a.v[i] *= b.v[i];
  return a;
}
HEADRACE_INLINE F div(F a, F b) {
  HEADRACE_EACH a.v[i] /= b.v[i];
  return a;
}
HEADRACE_INLINE F fma(F a, F b, F c) {
  HEADRACE_EACH c.v[i] += a.v[i] * b.v[i];
  return c;
}
HEADRACE_INLINE M gt(F a, F b) {
  M r;
  HEADRACE_EACH r.v[i] = a.v[i] > b.v[i];
  return r;
}
HEADRACE_INLINE F select(M m, F a, F b) {
  HEADRACE_EACH a.v[i] = m.v[i] ? a.v[i] : b.v[i];
  return a;
}
HEADRACE_INLINE F maximum(F a, F b) { return select(gt(a, b), a, b); }

// Nearest integer, for |x| < 2^22: adding and taking away 1.5 * 2^23 drops the fraction.
HEADRACE_INLINE F nearest(F a) {
  HEADRACE_EACH {
    float t = a.v[i] + 12582912.0f;
    a.v[i] = t - 12582912.0f;
  }
  return a;
}
// 2^n for whole n in -126..127; anything for a NaN, which the caller multiplies by a NaN.
HEADRACE_INLINE F pow2(F n) {
  HEADRACE_EACH {
    const float whole = n.v[i] >= -126.0f && n.v[i] <= 127.0f ? n.v[i] : 0.0f;
    const std::uint32_t bits = static_cast<std::uint32_t>(static_cast<int>(whole) + 127) << 23;
    std::memcpy(&n.v[i], &bits, 4);
  }
  return n;
}

HEADRACE_INLINE P load_pairs(const std::uint32_t* p) {
  P r;
  std::memcpy(r.v, p, 64);
  return r;
}
HEADRACE_INLINE P splat_pair(std::uint32_t x) {
  P r;
  HEADRACE_EACH r.v[i] = x;
  return r;
}
HEADRACE_INLINE F low(P p) {
  F r;
  HEADRACE_EACH {
    const std::uint32_t bits = p.v[i] << 16;
    std::memcpy(&r.v[i], &bits, 4);
  }
  return r;
}
HEADRACE_INLINE F high(P p) {
  F r;
  HEADRACE_EACH {
    const std::uint32_t bits = p.v[i] & 0xFFFF0000u;
    std::memcpy(&r.v[i], &bits, 4);
  }
  return r;
}
HEADRACE_INLINE F dot(F acc, P w, P x) { return fma(high(w), high(x), fma(low(w), low(x), acc)); }

// What the scales of 16 outputs take from the exponents of `kCodes`.
HEADRACE_INLINE P load_scales(const std::uint8_t* p) {
  P r;
  HEADRACE_EACH {
    const std::uint32_t below = (kTopScale - p[i]) << kExponentShift & 0xFFFFu;
    r.v[i] = below | below << 16;
  }
  return r;
}
// Pair `kPair` of the four whose codes a word holds, with scales from `load_scales`.
template <int kPair>
HEADRACE_INLINE P decode(P codes, P below) {
  HEADRACE_EACH {
    std::uint32_t halves[2];
    for (int half = 0; half < 2; ++half) {
      const std::uint32_t top = kCodes[codes.v[i] >> (16 * half + 4 * kPair) & 15u];
      const std::uint32_t less = below.v[i] >> 16 * half & 0xFFFFu;
      halves[half] = top > less ? top - less : 0;
    }
    codes.v[i] = halves[0] | halves[1] << 16;
  }
  return codes;
}

HEADRACE_INLINE F load_fp16(const std::uint16_t* p) {
  F r;
  HEADRACE_EACH r.v[i] = widen_fp16(p[i]);
  return r;
}

HEADRACE_INLINE void store_bf16(std::uint16_t* p, F a) {
  HEADRACE_EACH {
    std::uint32_t bits;
    std::memcpy(&bits, &a.v[i], 4);
    const bool nan = (bits & 0x7FFFFFFFu) > 0x7F800000u;
    const std::uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
    p[i] = static_cast<std::uint16_t>(nan ? (bits >> 16) | 0x40u : rounded);
  }
}

HEADRACE_INLINE float hsum(F a) {
  for (int w = 8; w >= 1; w /= 2) {
    for (int i = 0; i < w; ++i) a.v[i] += a.v[i + w];
  }
  return a.v[0];
}
HEADRACE_INLINE float hmax(F a) {
  for (int w = 8; w >= 1; w /= 2) {
    for (int i = 0; i < w; ++i) a.v[i] = a.v[i] > a.v[i + w] ? a.v[i] : a.v[i + w];
  }
  return a.v[0];
}
// Keeps a load that nothing needs.
HEADRACE_INLINE void touch(const P& p) { asm volatile("" : : "m"(p)); }

#undef HEADRACE_EACH

}  // namespace
}  // namespace headrace::HEADRACE_ISA
