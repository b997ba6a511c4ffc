// The kernels of one instruction set, as a table. Raw pointers and sizes only; nothing here is an
// inline function, because this header is compiled with different instruction sets enabled.
//
// Conventions: float rows are padded with zeros to a multiple of 16; `pairs` are two bf16 in one
// 32-bit word, the lower index in the lower half; bf16 weights lie in panels `[pairs][blocks][16]`
// of such words, a block being 16 outputs, fp16 weights in panels `[inputs][blocks][16]`, and MXFP4
// ones as weights.hpp says.
#pragma once

#include <cstddef>
#include <cstdint>

namespace headrace {

// Attention of up to kMaxQueries queries of one sequence that read the same kv head.
struct AttendTile {
  const float* q;               // [queries][q_stride], already rotated
  std::size_t q_stride;         // floats
  const int* visible;           // [queries], tokens each query sees (its position + 1), >= 1
  const int* hidden;            // [queries], tokens before these it does not see, < visible
  int queries;                  // 1..kMaxQueries
  const std::int32_t* table;    // the sequence's KV blocks
  const std::uint32_t* keys;    // block b of this head: keys + b * key_stride, [head_dim / 2][16]
  std::size_t key_stride;       // words
  const std::uint32_t* values;  // values + b * value_stride, [16][chunks][16]: dims i and i + 16;
                                // null: a value is the first value_dim numbers of its key
  std::size_t value_stride;     // words
  int head_dim;                 // of queries and keys; even
  int value_dim;                // <= head_dim
  int chunks;                   // value_dim / 32, rounded up
  float scale;
  const float* sinks;  // [queries], a score more each, without a value; null: none
  float* scores;      // scratch [kMaxQueries][kSpanTokens]
  float* sums;        // scratch [kMaxQueries][chunks * 32]
  float* const* out;  // [queries] -> [value_dim]
};

// Running argmax of one row of logits, by lane; ties keep the earlier id.
struct ArgmaxLanes {
  float best[16];
  float id[16];      // as float: exact up to 2^24, the largest vocabulary
  float poison[16];  // 0 while every logit seen is finite, NaN afterwards
};

// How a stream of weights comes to the core. Which is faster depends on the processor and on where
// the weights lie: FetchTuner finds out.
enum class Fetch {
  kHardware,   // as the hardware's prefetchers guess
  kAhead,      // asked for, some kilobytes ahead
  kAheadOnce,  // asked for, a little ahead, as something that is used once
};
constexpr int kFetches = 3;

struct Kernels {
  const char* name;
  std::size_t max_panel;  // blocks it likes best in one panel, <= kMaxPanel

  // out [rows][blocks * 16] = x [rows][pairs] . panel; rows <= kTileRows. Each output is one serial
  // sum over the pairs, whatever `rows` and `fetch` are.
  void (*linear)(const std::uint32_t* x, std::size_t x_stride, std::size_t rows,
                 const std::uint32_t* panel, std::size_t blocks, std::size_t pairs, float* out,
                 std::size_t out_stride, Fetch fetch);
  // The same for a panel of fp16, whose inputs stay float32: each weight is widened, which is exact,
  // and multiplied and added in float32.
  void (*linear_fp16)(const float* x, std::size_t x_stride, std::size_t rows,
                      const std::uint16_t* panel, std::size_t blocks, std::size_t inputs,
                      float* out, std::size_t out_stride, Fetch fetch);
  // The same with a panel of MXFP4, `groups` times 32 inputs. Each weight becomes the bf16 it is
  // worth: the sums are those of `linear` on such a panel, bit for bit.
  void (*linear_mxfp4)(const std::uint32_t* x, std::size_t x_stride, std::size_t rows,
                       const std::uint32_t* panel, std::size_t blocks, std::size_t groups,
                       float* out, std::size_t out_stride, Fetch fetch);
  // out = x / sqrt(mean(x^2) + eps) * weight over `width` values; padding comes out as zeros.
  void (*norm)(const float* x, const float* weight, std::size_t width, float eps, float* out);
  // The same, rounded to bf16.
  void (*norm_round)(const float* x, const float* weight, std::size_t width, float eps,
                     std::uint16_t* out);
  // Nearest bf16, ties to even, of `count` values.
  void (*round)(const float* x, std::size_t count, std::uint16_t* out);
  void (*add)(const float* x, std::size_t padded, float* out);  // out += x; padded to 16
  // out = silu(gate) * up, in blocks of 16; the inputs' blocks stand `step` floats apart.
  void (*silu_multiply)(const float* gate, const float* up, std::size_t blocks, std::size_t step,
                        float* out);
  // The same with gelu_tanh(x) = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))).
  void (*gelu_multiply)(const float* gate, const float* up, std::size_t blocks, std::size_t step,
                        float* out);
  // The same with min(g, limit) / (1 + exp(-alpha min(g, limit))) * (clip(u, -limit, limit) + 1).
  void (*clamped_multiply)(const float* gate, const float* up, std::size_t blocks, std::size_t step,
                           float alpha, float limit, float* out);
  // Rotates one head's halves: (x1 cos - x2 sin, x2 cos + x1 sin); out may be x.
  void (*rotate)(const float* x, const float* cos, const float* sin, std::size_t half, float* out);
  // Rotates neighbours: (x[0] cos - x[1] sin, x[1] cos + x[0] sin), and so on; out may be x.
  void (*rotate_pairs)(const float* x, const float* cos, const float* sin, std::size_t half,
                       float* out);
  // Stores one token's key and value [dim], rounded to bf16. Pair i of the key goes to keys[16 i];
  // the value, if any, in words of dims i and i + 16 of each 32, to values[0 ...].
  void (*append)(const float* key, const float* value, std::size_t dim, std::uint32_t* keys,
                 std::uint32_t* values);
  void (*attend)(const AttendTile& tile);
  // Takes `count` logits of ids first_id, first_id + 1, ... into the running argmax.
  void (*scan)(const float* logits, std::size_t count, std::size_t first_id, ArgmaxLanes* lanes);
  // Loads `words` (a multiple of 256) and does nothing with them: one after the other, or four pages
  // of 4 KB side by side.
  void (*read)(const std::uint32_t* data, std::size_t words, bool side_by_side);
};

// The table called `name`, or null when this build or this processor does not have it.
// The empty name means the fastest one available.
const Kernels* find_kernels(const char* name);

extern const Kernels kScalarKernels;
#if defined(HEADRACE_X86)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
extern const Kernels kAvx512Bf16Kernels;
#elif defined(HEADRACE_ARM)
extern const Kernels kNeonKernels;
extern const Kernels kNeonBf16Kernels;
#endif

}  // namespace headrace
