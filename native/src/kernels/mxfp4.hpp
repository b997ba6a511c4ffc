// Matrix products with MXFP4: codes become bf16 on their way to the multiplier. Panels, tiles and
// fetching are those of linear.hpp.

namespace headrace::HEADRACE_ISA {
namespace {

// Blocks at a time where rows share a decoded weight: fewer than of numbers that need no decoding,
// whose registers codes and scales take.
constexpr std::size_t kMxfp4WideBlocks = kWideBlocks / 2;

// Four pairs of every row's inputs with a word of codes for each output: decoded once for all rows.
template <int kPair, int Rows, int Blocks>
HEADRACE_INLINE void add_pairs_from(const std::uint32_t* x, std::size_t x_stride, const P* codes,
                                    const P* below, F (*acc)[Blocks]) {
  P inputs[Rows];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) inputs[r] = splat_pair(x[r * x_stride + kPair]);
#pragma GCC unroll 8
  for (int b = 0; b < Blocks; ++b) {
    const P weights = decode<kPair>(codes[b], below[b]);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) acc[r][b] = dot(acc[r][b], weights, inputs[r]);
  }
  if constexpr (kPair < 3) {
    add_pairs_from<kPair + 1, Rows, Blocks>(x, x_stride, codes, below, acc);
  }
}

template <Fetch kFetch, int Rows, int Blocks>
HEADRACE_INLINE void mxfp4_tile(const std::uint32_t* x, std::size_t x_stride,
                                const std::uint32_t* panel, std::size_t blocks, std::size_t first,
                                std::size_t groups, float* out, std::size_t out_stride) {
  F acc[Rows][Blocks];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
    for (int b = 0; b < Blocks; ++b) acc[r][b] = splat(0.0f);
  }
  for (std::size_t g = 0; g < groups; ++g) {
    const std::uint32_t* scales = panel + g * blocks * kMxfp4GroupWords + first * kMxfp4ScaleWords;
    const std::uint32_t* words =
        panel + g * blocks * kMxfp4GroupWords + blocks * kMxfp4ScaleWords + first * 16;
    fetch_far_ahead<kFetch>(words);
    P below[Blocks];
#pragma GCC unroll 8
    for (int b = 0; b < Blocks; ++b) {
      below[b] = load_scales(reinterpret_cast<const std::uint8_t*>(scales + b * kMxfp4ScaleWords));
    }
    for (std::size_t four = 0; four < kMxfp4CodeWords / 16; ++four) {
      P codes[Blocks];
      load_blocks<kFetch>(words, codes);
      words += blocks * 16;
      add_pairs_from<0, Rows, Blocks>(x, x_stride, codes, below, acc);
      x += 4;
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
    for (int b = 0; b < Blocks; ++b) store(out + r * out_stride + (first + b) * 16, acc[r][b]);
  }
}

#ifdef HEADRACE_SUMS_IN_UNITS
// One row over the blocks of a panel from `first` on, as `mxfp4_blocks`: in units where that is right.
template <Fetch kFetch, int Most>
void mxfp4_row_in_units(const std::uint32_t* x, const std::uint32_t* panel, std::size_t blocks,
                        std::size_t first, std::size_t groups, float* out) {
  for (; first + Most <= blocks; first += Most) {
    if (units_tile<kFetch, Most>(x, panel, blocks, first, groups, out)) continue;
    mxfp4_tile<kFetch, 1, Most>(x, 0, panel, blocks, first, groups, out, 0);
  }
  if constexpr (Most > 1) {
    if (first < blocks) {
      mxfp4_row_in_units<kFetch, Most / 2>(x, panel, blocks, first, groups, out);
    }
  }
}
#endif

// Rows over the blocks of a panel from `first` on, `Most` (a power of two) at a time.
template <Fetch kFetch, int Rows, int Most>
void mxfp4_blocks(const std::uint32_t* x, std::size_t x_stride, const std::uint32_t* panel,
                  std::size_t blocks, std::size_t first, std::size_t groups, float* out,
                  std::size_t out_stride) {
  for (; first + Most <= blocks; first += Most) {
    mxfp4_tile<kFetch, Rows, Most>(x, x_stride, panel, blocks, first, groups, out, out_stride);
  }
  if constexpr (Most > 1) {
    if (first < blocks) {
      mxfp4_blocks<kFetch, Rows, Most / 2>(x, x_stride, panel, blocks, first, groups, out,
                                           out_stride);
    }
  }
}

template <Fetch kFetch>
void mxfp4_rows(const std::uint32_t* x, std::size_t x_stride, std::size_t rows,
                const std::uint32_t* panel, std::size_t blocks, std::size_t groups, float* out,
                std::size_t out_stride) {
  constexpr int kWide = static_cast<int>(kWideRows);
  constexpr int kBlocks = static_cast<int>(kMxfp4WideBlocks);
  constexpr int kWideTwo = static_cast<int>(kWideBlocks);
  constexpr int kMost = static_cast<int>(kPanel);
  while (rows >= kWideRows) {
    mxfp4_blocks<kFetch, kWide, kBlocks>(x, x_stride, panel, blocks, 0, groups, out, out_stride);
    x += kWideRows * x_stride;
    out += kWideRows * out_stride;
    rows -= kWideRows;
  }
  if constexpr (kWideRows > 2) {
    while (rows >= 2) {
      mxfp4_blocks<kFetch, 2, kWideTwo>(x, x_stride, panel, blocks, 0, groups, out, out_stride);
      x += 2 * x_stride;
      out += 2 * out_stride;
      rows -= 2;
    }
  }
  if (rows == 1) {
#ifdef HEADRACE_SUMS_IN_UNITS
    if (inputs_in_range(x, groups * kMxfp4Inputs / 2)) {
      return mxfp4_row_in_units<kFetch, kMost>(x, panel, blocks, 0, groups, out);
    }
#endif
    mxfp4_blocks<kFetch, 1, kMost>(x, x_stride, panel, blocks, 0, groups, out, out_stride);
  }
}

void linear_mxfp4(const std::uint32_t* x, std::size_t x_stride, std::size_t rows,
                  const std::uint32_t* panel, std::size_t blocks, std::size_t groups, float* out,
                  std::size_t out_stride, Fetch fetch) {
  switch (fetch) {
    case Fetch::kAhead:
      return mxfp4_rows<Fetch::kAhead>(x, x_stride, rows, panel, blocks, groups, out, out_stride);
    case Fetch::kAheadOnce:
      return mxfp4_rows<Fetch::kAheadOnce>(x, x_stride, rows, panel, blocks, groups, out,
                                           out_stride);
    default:
      return mxfp4_rows<Fetch::kHardware>(x, x_stride, rows, panel, blocks, groups, out,
                                          out_stride);
  }
}

}  // namespace
}  // namespace headrace::HEADRACE_ISA
