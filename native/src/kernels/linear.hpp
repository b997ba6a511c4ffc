// Matrix products: outputs across lanes, one serial sum over the inputs per output.
//
// A panel is one contiguous stream, and the next panel and phase continue it. Fetch::kAhead and
// kAheadOnce ask for every line some kilobytes ahead, across their ends.
//
// Rows and blocks are tiled in registers, and a tile's shape never enters a sum: an output is the
// same bits alone, among other rows, and whichever panel it lies in.

namespace headrace::HEADRACE_ISA {
namespace {

// Chosen on an Emerald Rapids processor, where a 1B model in main memory decodes 1.35 times faster so:
// its bf16 dot product is several operations, so that too few loads fit into the window in which the
// core reorders them. On Zen 4 the same made an 11 MB model in the L3 cache slower, by 13 % or more.
constexpr std::size_t kAheadBytes = 4096;
// One line in each step is asked for further ahead, into the L2 cache: its page is known by the time
// the others want it.
constexpr std::size_t kFarAheadBytes = 16384;

// Chosen on a Zen 5 processor: 11 MB in the L3 cache decode 1.1 times faster so than by the hardware's
// guesses alone, and 1.02 times faster than by kAhead, as what is read once does not push keys, values
// and the host's own data out of the L2 cache.
constexpr std::size_t kOnceAheadBytes = 2048;

template <Fetch kFetch>
HEADRACE_INLINE void fetch_ahead(const void* line) {
  const char* at = static_cast<const char*>(line);
  if constexpr (kFetch == Fetch::kAhead) __builtin_prefetch(at + kAheadBytes, 0, 3);
  if constexpr (kFetch == Fetch::kAheadOnce) __builtin_prefetch(at + kOnceAheadBytes, 0, 0);
}
template <Fetch kFetch>
HEADRACE_INLINE void fetch_far_ahead(const void* line) {
  if constexpr (kFetch == Fetch::kAhead) {
    __builtin_prefetch(static_cast<const char*>(line) + kFarAheadBytes, 0, 2);
  }
}

// One vector of words for each of neighbouring blocks.
template <Fetch kFetch, int Blocks>
HEADRACE_INLINE void load_blocks(const std::uint32_t* words, P (&loaded)[Blocks]) {
#pragma GCC unroll 8
  for (int b = 0; b < Blocks; ++b) {
    fetch_ahead<kFetch>(words + b * 16);
    loaded[b] = load_pairs(words + b * 16);
  }
}

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

template <typename Kind, Fetch kFetch, int Rows, int Blocks>
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
    fetch_far_ahead<kFetch>(step);
    decltype(Kind::splat(*x)) inputs[Rows];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) inputs[r] = Kind::splat(x[r * x_stride + k]);
#pragma GCC unroll 8
    for (int b = 0; b < Blocks; ++b) {
      fetch_ahead<kFetch>(step + b * 16);
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

// One row tile over the last `rest` blocks of a panel, fewer than 2 * Half (a power of two).
template <typename Kind, Fetch kFetch, int Rows, int Half>
HEADRACE_INLINE void rest_tile(const typename Kind::Input* x, std::size_t x_stride,
                               const typename Kind::Weight* panel, std::size_t rest,
                               std::size_t blocks, std::size_t steps, float* out,
                               std::size_t out_stride) {
  if (rest >= Half) {
    tile<Kind, kFetch, Rows, Half>(x, x_stride, panel, blocks, steps, out, out_stride);
    panel += Half * 16;
    out += Half * 16;
    rest -= Half;
  }
  if constexpr (Half > 1) {
    rest_tile<Kind, kFetch, Rows, Half / 2>(x, x_stride, panel, rest, blocks, steps, out,
                                            out_stride);
  }
}

// One row tile over all blocks of a panel, `Most` (a power of two) at a time.
template <typename Kind, Fetch kFetch, int Rows, int Most>
void rows_tile(const typename Kind::Input* x, std::size_t x_stride,
               const typename Kind::Weight* panel, std::size_t blocks, std::size_t steps,
               float* out, std::size_t out_stride) {
  std::size_t b = 0;
  for (; b + Most <= blocks; b += Most) {
    tile<Kind, kFetch, Rows, Most>(x, x_stride, panel + b * 16, blocks, steps, out + b * 16,
                                   out_stride);
  }
  // The rest is narrower than Most: take it in halves. The panel's stride stays `blocks`.
  if constexpr (Most > 1) {
    if (b == blocks) return;
    rest_tile<Kind, kFetch, Rows, Most / 2>(x, x_stride, panel + b * 16, blocks - b, blocks, steps,
                                            out + b * 16, out_stride);
  }
}

template <typename Kind, Fetch kFetch>
void product(const typename Kind::Input* x, std::size_t x_stride, std::size_t rows,
             const typename Kind::Weight* panel, std::size_t blocks, std::size_t steps, float* out,
             std::size_t out_stride) {
  constexpr int kWide = static_cast<int>(kWideRows);
  constexpr int kBlocks = static_cast<int>(kWideBlocks);
  constexpr int kMost = static_cast<int>(kPanel);
  while (rows >= kWideRows) {
    rows_tile<Kind, kFetch, kWide, kBlocks>(x, x_stride, panel, blocks, steps, out, out_stride);
    x += kWideRows * x_stride;
    out += kWideRows * out_stride;
    rows -= kWideRows;
  }
  if constexpr (kWideRows > 2) {
    while (rows >= 2) {
      rows_tile<Kind, kFetch, 2, kBlocks>(x, x_stride, panel, blocks, steps, out, out_stride);
      x += 2 * x_stride;
      out += 2 * out_stride;
      rows -= 2;
    }
  }
  if (rows == 1) {
    rows_tile<Kind, kFetch, 1, kMost>(x, x_stride, panel, blocks, steps, out, out_stride);
  }
}

// The product that reads as `fetch` says.
template <typename Kind>
auto reading(Fetch fetch) {
  switch (fetch) {
    case Fetch::kAhead:
      return product<Kind, Fetch::kAhead>;
    case Fetch::kAheadOnce:
      return product<Kind, Fetch::kAheadOnce>;
    default:
      return product<Kind, Fetch::kHardware>;
  }
}

void linear(const std::uint32_t* x, std::size_t x_stride, std::size_t rows,
            const std::uint32_t* panel, std::size_t blocks, std::size_t pairs, float* out,
            std::size_t out_stride, Fetch fetch) {
  reading<Bf16>(fetch)(x, x_stride, rows, panel, blocks, pairs, out, out_stride);
}

void linear_fp16(const float* x, std::size_t x_stride, std::size_t rows,
                 const std::uint16_t* panel, std::size_t blocks, std::size_t inputs, float* out,
                 std::size_t out_stride, Fetch fetch) {
  reading<Fp16>(fetch)(x, x_stride, rows, panel, blocks, inputs, out, out_stride);
}

}  // namespace
}  // namespace headrace::HEADRACE_ISA
