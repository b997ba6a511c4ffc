#include "headrace/digest.hpp"

#include <array>
#include <cstddef>
#include <cstring>

namespace headrace {

namespace {

constexpr std::size_t kLaneCount = 8;  // a multiplication takes longer than the next one waits
constexpr std::size_t kWordBytes = sizeof(std::uint64_t);
constexpr std::size_t kStride = kLaneCount * kWordBytes;
constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15;  // 2^64 over the golden ratio

// Each step can be undone, so two states that differ stay different under the same words. Folding
// brings high bits down, where the multiplication spreads them.
std::uint64_t step(std::uint64_t state, std::uint64_t word) {
  const std::uint64_t mixed = state ^ word;
  return (mixed ^ mixed >> 32) * kOdd;
}

std::uint64_t word_at(const std::uint8_t* bytes) {
  std::uint64_t word;
  std::memcpy(&word, bytes, kWordBytes);
  return word;
}

}  // namespace

std::uint64_t digest(std::span<const std::uint8_t> bytes) {
  std::array<std::uint64_t, kLaneCount> lanes;
  for (std::size_t lane = 0; lane < kLaneCount; ++lane) lanes[lane] = lane;
  const std::uint8_t* at = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= kStride; left -= kStride, at += kStride) {
    for (std::size_t lane = 0; lane < kLaneCount; ++lane) {
      lanes[lane] = step(lanes[lane], word_at(at + lane * kWordBytes));
    }
  }
  std::array<std::uint8_t, kStride> rest{};
  if (left > 0) std::memcpy(rest.data(), at, left);
  std::uint64_t state = bytes.size();
  for (std::size_t lane = 0; lane < kLaneCount; ++lane) {
    state = step(state, step(lanes[lane], word_at(rest.data() + lane * kWordBytes)));
  }
  return state;
}

}  // namespace headrace
