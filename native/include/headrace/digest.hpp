// A checksum as fast as memory gives the bytes. It finds what decays; it does not stop a forger.
#pragma once

#include <cstdint>
#include <span>

namespace headrace {

// Of `bytes` and how many they are. A change within one 8-byte word always changes it; any other
// goes unnoticed once in 2^64 times. Words are read as the processor stores them.
std::uint64_t digest(std::span<const std::uint8_t> bytes);

}  // namespace headrace
