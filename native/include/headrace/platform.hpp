// Sizes every part of the native library agrees on. No functions: every instruction set includes
// it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace headrace {

// Outputs of one packed block: they lie across the lanes of one vector of float32.
inline constexpr std::size_t kLanes = 16;
// Tokens of one KV block; equals backends.base.BLOCK_TOKENS, checked when a backend is loaded.
inline constexpr std::size_t kBlockTokens = 16;
// Rows computed together; longer batches run as several passes, which changes no result.
inline constexpr std::size_t kMaxRows = 128;
// Queries that share one pass over the keys and values of a kv head.
inline constexpr std::size_t kMaxQueries = 4;
// Tokens whose scores are held at a time. Part of the definition of the result: the softmax is
// rescaled from span to span, so every split of the work must keep this size.
inline constexpr std::size_t kSpanTokens = 512;
// Blocks of one panel at most, on any instruction set.
inline constexpr std::size_t kMaxPanel = 8;
// Rows one call of the linear kernel may be given.
inline constexpr std::size_t kTileRows = 6;
inline constexpr std::size_t kCacheLine = 64;
// MXFP4: inputs that share a scale, and 32-bit words of the scales and codes of 16 outputs for them.
inline constexpr std::size_t kMxfp4Inputs = 32;
inline constexpr std::size_t kMxfp4ScaleWords = 4;
inline constexpr std::size_t kMxfp4CodeWords = 64;
inline constexpr std::size_t kMxfp4GroupWords = kMxfp4ScaleWords + kMxfp4CodeWords;
// Bytes of a panel from which on workers take panels of each other: below, a panel is over in a few
// microseconds, and where the workers' caches are not one, the weights in them should stay there.
inline constexpr std::size_t kSharedPanelBytes = std::size_t{1} << 18;

}  // namespace headrace
