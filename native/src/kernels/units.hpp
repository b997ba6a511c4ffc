// MXFP4 times one row with sums in units: a code is looked up for what it is worth with a scale of one,
// and a sum is kept in units of the scale at hand. Where the next 32 inputs have another scale the sum
// is multiplied by the power of two between them. That saves a subtraction for each pair of codes, and
// the bits stay those of sums over dequantised weights, in the same order: numbers that are all 2^n
// times others round as they do, while none of them overflows or falls below the normal ones.
//
// None does where scales are 2^-31 to 1 and inputs are 0 or 2^-87 to 2^41. A product is then a multiple
// of 2^-126, in units too, and a sum of a million products below 2^95. Both are looked at on the way.

namespace headrace::HEADRACE_ISA {
namespace {

template <int kPair, int Blocks>
HEADRACE_INLINE void add_pairs_in_units(const std::uint32_t* x, const P* codes, F* acc) {
  const P input = splat_pair(x[kPair]);
#pragma GCC unroll 8
  for (int b = 0; b < Blocks; ++b) acc[b] = dot(acc[b], decode_in_units<kPair>(codes[b]), input);
  if constexpr (kPair < 3) add_pairs_in_units<kPair + 1, Blocks>(x, codes, acc);
}

// Blocks `first` to `first + Blocks - 1` of a panel. False: a scale is out of range, and `out` is left alone.
template <Fetch kFetch, int Blocks>
HEADRACE_INLINE bool units_tile(const std::uint32_t* x, const std::uint32_t* panel,
                                std::size_t blocks, std::size_t first, std::size_t groups,
                                float* out) {
  F acc[Blocks];
  P units[Blocks];
  P seen = splat_pair(0);
  const auto units_of = [&](std::size_t group, int b) {
    const std::uint32_t* scales = panel + group * blocks * kMxfp4GroupWords;
    return load_units(
        reinterpret_cast<const std::uint8_t*>(scales + (first + b) * kMxfp4ScaleWords));
  };
#pragma GCC unroll 8
  for (int b = 0; b < Blocks; ++b) {
    acc[b] = splat(0.0f);
    units[b] = units_of(0, b);
  }
  for (std::size_t g = 0; g < groups; ++g) {
    const std::uint32_t* words =
        panel + g * blocks * kMxfp4GroupWords + blocks * kMxfp4ScaleWords + first * 16;
    fetch_far_ahead<kFetch>(words);
#pragma GCC unroll 8
    for (int b = 0; b < Blocks; ++b) {
      const P next = units_of(g, b);
      seen = or_bits(seen, next);
      acc[b] = mul(acc[b], ratio(units[b], next));
      units[b] = next;
    }
    for (std::size_t four = 0; four < kMxfp4CodeWords / 16; ++four) {
      P codes[Blocks];
      load_blocks<kFetch>(words, codes);
      words += blocks * 16;
      add_pairs_in_units<0, Blocks>(x, codes, acc);
      x += 4;
    }
  }
  if (!units_in_range(seen)) return false;
#pragma GCC unroll 8
  for (int b = 0; b < Blocks; ++b) {
    store(out + (first + b) * 16, mul(acc[b], worth(units[b])));
  }
  return true;
}

}  // namespace
}  // namespace headrace::HEADRACE_ISA
