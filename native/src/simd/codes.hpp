// MXFP4 codes as bf16, what every instruction set looks up: four bits are a sign and a magnitude of
// 0, 0.5, 1, 1.5, 2, 3, 4 or 6.
//
// The table holds them with the largest scale with which all are finite; a smaller scale takes its
// distance from the exponents, in one subtraction that stops at 0 and so leaves zeros alone. Minus
// zero is looked up as zero, for the same reason.
#pragma once

#include <cstdint>

namespace headrace::HEADRACE_ISA {
namespace {

constexpr std::uint32_t kTopScale = 252;
constexpr int kExponentShift = 7;  // of bf16

alignas(64) constexpr std::uint16_t kCodes[32] = {
    0, 0x7D80, 0x7E00, 0x7E40, 0x7E80, 0x7EC0, 0x7F00, 0x7F40,  // 0x7E00: 2^(252 - 127)
    0, 0xFD80, 0xFE00, 0xFE40, 0xFE80, 0xFEC0, 0xFF00, 0xFF40,
    // Again: a lookup may take a fifth bit, which says nothing.
    0, 0x7D80, 0x7E00, 0x7E40, 0x7E80, 0x7EC0, 0x7F00, 0x7F40,
    0, 0xFD80, 0xFE00, 0xFE40, 0xFE80, 0xFEC0, 0xFF00, 0xFF40};
// Their lower and upper halves.
alignas(16) constexpr std::uint8_t kCodesLow[16] = {0, 0x80, 0x00, 0x40, 0x80, 0xC0, 0x00, 0x40,
                                                    0, 0x80, 0x00, 0x40, 0x80, 0xC0, 0x00, 0x40};
alignas(16) constexpr std::uint8_t kCodesHigh[16] = {0, 0x7D, 0x7E, 0x7E, 0x7E, 0x7E, 0x7F, 0x7F,
                                                     0, 0xFD, 0xFE, 0xFE, 0xFE, 0xFE, 0xFF, 0xFF};


// For sums in units (kernels/units.hpp): codes with a scale of one, the least scale such a sum may
// have, of so many, and the least exponent of an input, of so many.
alignas(64) constexpr std::uint16_t kUnitCodes[32] = {
    0, 0x3F00, 0x3F80, 0x3FC0, 0x4000, 0x4040, 0x4080, 0x40C0,
    0, 0xBF00, 0xBF80, 0xBFC0, 0xC000, 0xC040, 0xC080, 0xC0C0,
    0, 0x3F00, 0x3F80, 0x3FC0, 0x4000, 0x4040, 0x4080, 0x40C0,
    0, 0xBF00, 0xBF80, 0xBFC0, 0xC000, 0xC040, 0xC080, 0xC0C0};
constexpr int kLeastUnitScale = 127 - 31;
constexpr int kUnitScales = 32;
constexpr int kLeastInputExponent = 127 - 87;
constexpr int kInputExponents = 128;

}  // namespace
}  // namespace headrace::HEADRACE_ISA
