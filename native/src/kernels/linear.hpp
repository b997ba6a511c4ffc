// Matrix products: outputs across lanes, one serial sum over the inputs per output.
//
// No software prefetch: a panel is one contiguous stream, and the next panel and phase continue it,
// which the hardware follows better. Prefetching 1 to 32 KB ahead made a whole decode step of an
// 11 MB model in the L3 cache 13 to 40 % slower (Zen 4).
//
// Rows and blocks are tiled in registers, and a tile's shape never enters a sum: an output is the
// same bits alone, among other rows, and whichever panel it lies in.

namespace headrace::HEADRACE_ISA {
namespace {

// A step of a product takes one vector of weights per block: of bf16 a pair of inputs, of fp16 one.
struct Bf16 {
  using Input = std::uint32_t;   // a pair
  using Weight = std::uint32_t;  // a pair
  HEADRACE_INLINE P splat(Input x) { return splat_pair(x); }
  HEADRACE_INLINE P load(const Weight* weights) { return load_pairs(weights); }
  HEADRACE_INLINE F add(F sum, P weights, P input) { return dot(sum, weights, input); }
};
struct Fp16 {
  using Input = float;
  using Weight = std::uint16_t;
  HEADRACE_INLINE F splat(Input x) { return HEADRACE_ISA::splat(x); }
  HEADRACE_INLINE F load(const Weight* weights) { return load_fp16(weights); }
  HEADRACE_INLINE F add(F sum, F weights, F input) { return fma(weights, input, sum); }
};

template <typename Kind, int Rows, int Blocks>
HEADRACE_INLINE void tile(const typename Kind::Input* x, std::size_t x_stride,
                          const typename Kind::Weight* panel, std::size_t blocks, std::size_t steps,
                          float* out, std::size_t out_stride) {
  F acc[Rows][Blocks];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
    for (int b = 0; b < Blocks; ++b) acc[r][b] = splat(0.0f);
  }
  for (std::size_t k = 0; k < steps; ++k) {
    const typename Kind::Weight* step = panel + k * blocks * 16;
    decltype(Kind::splat(*x)) inputs[Rows];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) inputs[r] = Kind::splat(x[r * x_stride + k]);
#pragma GCC unroll 8
    for (int b = 0; b < Blocks; ++b) {
      const auto weights = Kind::load(step + b * 16);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) acc[r][b] = Kind::add(acc[r][b], weights, inputs[r]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
    for (int b = 0; b < Blocks; ++b) store(out + r * out_stride + b * 16, acc[r][b]);
  }
}

// One row tile over all blocks of a panel, `Most` (a power of two) at a time.
template <typename Kind, int Rows, int Most>
void rows_tile(const typename Kind::Input* x, std::size_t x_stride,
               const typename Kind::Weight* panel, std::size_t blocks, std::size_t steps,
               float* out, std::size_t out_stride) {
  std::size_t b = 0;
  for (; b + Most <= blocks; b += Most) {
    tile<Kind, Rows, Most>(x, x_stride, panel + b * 16, blocks, steps, out + b * 16, out_stride);
  }
  if constexpr (Most > 1) {
    if (b < blocks) {
      // The rest is narrower than Most: take it in halves. The panel's stride stays `blocks`.
      const std::size_t rest = blocks - b;
      std::size_t done = b;
      if constexpr (Most > 4) {
        if (rest & 4) {
          tile<Kind, Rows, 4>(x, x_stride, panel + done * 16, blocks, steps, out + done * 16, out_stride);
          done += 4;
        }
      }
      if constexpr (Most > 2) {
        if (rest & 2) {
          tile<Kind, Rows, 2>(x, x_stride, panel + done * 16, blocks, steps, out + done * 16, out_stride);
          done += 2;
        }
      }
      if (rest & 1) {
        tile<Kind, Rows, 1>(x, x_stride, panel + done * 16, blocks, steps, out + done * 16, out_stride);
      }
    }
  }
}

template <typename Kind>
void product(const typename Kind::Input* x, std::size_t x_stride, std::size_t rows,
             const typename Kind::Weight* panel, std::size_t blocks, std::size_t steps, float* out,
             std::size_t out_stride) {
  constexpr int kWide = static_cast<int>(kWideRows);
  constexpr int kBlocks = static_cast<int>(kWideBlocks);
  while (rows >= kWideRows) {
    rows_tile<Kind, kWide, kBlocks>(x, x_stride, panel, blocks, steps, out, out_stride);
    x += kWideRows * x_stride;
    out += kWideRows * out_stride;
    rows -= kWideRows;
  }
  if constexpr (kWideRows > 2) {
    while (rows >= 2) {
      rows_tile<Kind, 2, kBlocks>(x, x_stride, panel, blocks, steps, out, out_stride);
      x += 2 * x_stride;
      out += 2 * out_stride;
      rows -= 2;
    }
  }
  if (rows == 1) {
    rows_tile<Kind, 1, static_cast<int>(kPanel)>(x, x_stride, panel, blocks, steps, out, out_stride);
  }
}

void linear(const std::uint32_t* x, std::size_t x_stride, std::size_t rows,
            const std::uint32_t* panel, std::size_t blocks, std::size_t pairs, float* out,
            std::size_t out_stride) {
  product<Bf16>(x, x_stride, rows, panel, blocks, pairs, out, out_stride);
}

void linear_fp16(const float* x, std::size_t x_stride, std::size_t rows,
                 const std::uint16_t* panel, std::size_t blocks, std::size_t inputs, float* out,
                 std::size_t out_stride) {
  product<Fp16>(x, x_stride, rows, panel, blocks, inputs, out, out_stride);
}

}  // namespace
}  // namespace headrace::HEADRACE_ISA
