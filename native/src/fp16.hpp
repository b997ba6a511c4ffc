// One fp16 number, widened without any instruction set's help.
#pragma once

#include <cstdint>
#include <cstring>

namespace headrace {

// The exact float32 value of IEEE 754 binary16 `bits`; a NaN stays a NaN. Inlined wherever it is
// used, because instruction sets differ from file to file.
static inline __attribute__((always_inline)) float widen_fp16(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t exponent = bits & 0x7C00u;
  // The exponent's bias is 15 in fp16 and 127 in float32.
  std::uint32_t wide = (static_cast<std::uint32_t>(bits & 0x7FFFu) << 13) + (112u << 23);
  if (exponent == 0x7C00u) wide |= 0x7F800000u;  // infinity, NaN
  float value;
  if (exponent == 0) {
    // f 2^-24 without a leading 1: (1 + f 2^-10) 2^-14 - 2^-14, exactly.
    wide += 1u << 23;
    std::memcpy(&value, &wide, sizeof value);
    value -= 0x1p-14f;
    std::memcpy(&wide, &value, sizeof wide);
  }
  wide |= sign;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

}  // namespace headrace
