// Attention of a few queries over one kv head, span by span of kSpanTokens tokens.
//
// Within a span: all scores (tokens across lanes), their maximum, the exponentials, then the sum of
// values. Between spans the running sums are rescaled. A query's arithmetic does not depend on
// the other queries of the tile: tokens it does not see weigh exactly 0.

namespace headrace::HEADRACE_ISA {
namespace {

constexpr float kNever = -__builtin_inff();

// Blocks of keys and values lie apart, so that no hardware follows them: each line is asked for this
// many blocks of 16 tokens ahead.
constexpr std::size_t kAheadBlocks = 4;

// Scores of `Queries` queries over `Blocks` KV blocks; masked, scaled, written to `scores`.
// `last_block`: the last that may be looked up in the table.
template <int Queries, int Blocks>
HEADRACE_INLINE void score_blocks(const AttendTile& t, std::size_t first_block, std::size_t start,
                                  std::size_t last_block, F* highest) {
  const std::uint32_t* keys[Blocks];
  const std::uint32_t* later[Blocks];
  for (int b = 0; b < Blocks; ++b) {
    const std::size_t block = first_block + b;
    const std::size_t ahead =
        block + kAheadBlocks < last_block ? block + kAheadBlocks : last_block;
    keys[b] = t.keys + static_cast<std::size_t>(t.table[block]) * t.key_stride;
    later[b] = t.keys + static_cast<std::size_t>(t.table[ahead]) * t.key_stride;
  }
  F acc[Queries][Blocks];
#pragma GCC unroll 8
  for (int q = 0; q < Queries; ++q) {
#pragma GCC unroll 8
    for (int b = 0; b < Blocks; ++b) acc[q][b] = splat(0.0f);
  }
  for (int d = 0; d < t.head_dim; d += 2) {
#pragma GCC unroll 8
    for (int b = 0; b < Blocks; ++b) {
      __builtin_prefetch(later[b] + d * 8);
      const P pairs = load_pairs(keys[b] + d * 8);
      const F even = low(pairs);
      const F odd = high(pairs);
#pragma GCC unroll 8
      for (int q = 0; q < Queries; ++q) {
        acc[q][b] = fma(even, splat(t.q[q * t.q_stride + d]), acc[q][b]);
        acc[q][b] = fma(odd, splat(t.q[q * t.q_stride + d + 1]), acc[q][b]);
      }
    }
  }
  for (int q = 0; q < Queries; ++q) {
    for (int b = 0; b < Blocks; ++b) {
      const std::size_t token = (first_block + b) * 16;
      const int left = t.visible[q] - static_cast<int>(token);
      const M seen = gt(splat(static_cast<float>(left < 16 ? left : 16)), lanes());
      F score = select(seen, mul(acc[q][b], splat(t.scale)), splat(kNever));
      const int skipped = t.hidden[q] - static_cast<int>(token);
      if (skipped > 0) {
        const M gone = gt(splat(static_cast<float>(skipped < 16 ? skipped : 16)), lanes());
        score = select(gone, splat(kNever), score);
      }
      store(t.scores + q * kSpanTokens + (token - start), score);
      highest[q] = maximum(highest[q], score);
    }
  }
}

// Adds the values of the tokens from..end - 1 of the span, `Chunks` chunks of 32 dims at a time.
template <int Queries, int Chunks>
HEADRACE_INLINE void add_chunks(const AttendTile& t, std::size_t start, std::size_t from,
                                std::size_t end, int first_chunk) {
  F low_acc[Queries][Chunks];
  F high_acc[Queries][Chunks];
  float* sums[Queries];
#pragma GCC unroll 8
  for (int q = 0; q < Queries; ++q) {
    sums[q] = t.sums + (q * t.chunks + first_chunk) * 32;
#pragma GCC unroll 8
    for (int c = 0; c < Chunks; ++c) {
      low_acc[q][c] = load(sums[q] + c * 32);
      high_acc[q][c] = load(sums[q] + c * 32 + 16);
    }
  }
  const std::size_t last_block = (end - 1) / 16;
  for (std::size_t block = from / 16; block <= last_block; ++block) {
    const std::size_t ahead =
        block + kAheadBlocks < last_block ? block + kAheadBlocks : last_block;
    const std::uint32_t* values =
        t.values + static_cast<std::size_t>(t.table[block]) * t.value_stride + first_chunk * 16;
    const std::uint32_t* later =
        t.values + static_cast<std::size_t>(t.table[ahead]) * t.value_stride + first_chunk * 16;
    const float* weights = t.scores + (block * 16 - start);
    // Slots past the last visible token may hold anything: they are never read.
    const auto add_token = [&](std::size_t i) __attribute__((always_inline)) {
#pragma GCC unroll 8
      for (int c = 0; c < Chunks; ++c) {
        __builtin_prefetch(later + (i * t.chunks + c) * 16);
        const P pairs = load_pairs(values + (i * t.chunks + c) * 16);
        const F first = low(pairs);
        const F second = high(pairs);
#pragma GCC unroll 8
        for (int q = 0; q < Queries; ++q) {
          const F weight = splat(weights[q * kSpanTokens + i]);
          low_acc[q][c] = fma(first, weight, low_acc[q][c]);
          high_acc[q][c] = fma(second, weight, high_acc[q][c]);
        }
      }
    };
    if (end - block * 16 >= 16) {
#pragma GCC unroll 4
      for (std::size_t i = 0; i < 16; ++i) add_token(i);
    } else {
      for (std::size_t i = 0; i < end - block * 16; ++i) add_token(i);
    }
  }
#pragma GCC unroll 8
  for (int q = 0; q < Queries; ++q) {
#pragma GCC unroll 8
    for (int c = 0; c < Chunks; ++c) {
      store(sums[q] + c * 32, low_acc[q][c]);
      store(sums[q] + c * 32 + 16, high_acc[q][c]);
    }
  }
}

template <int Queries>
HEADRACE_INLINE void add_values(const AttendTile& t, std::size_t start, std::size_t from,
                                std::size_t end) {
  int chunk = 0;
  for (; chunk + kValueChunks <= t.chunks; chunk += kValueChunks) {
    add_chunks<Queries, kValueChunks>(t, start, from, end, chunk);
  }
  for (; chunk < t.chunks; ++chunk) add_chunks<Queries, 1>(t, start, from, end, chunk);
}

// The same where a value is the beginning of its key: tokens lie across lanes there, so a span's
// sum is taken by lane, and over the lanes at its end. `Pairs` pairs of dims at a time.
template <int Queries, int Pairs>
HEADRACE_INLINE void add_pairs_of_keys(const AttendTile& t, std::size_t start, std::size_t from,
                                       std::size_t end, int first_pair) {
  F even[Queries][Pairs];
  F odd[Queries][Pairs];
#pragma GCC unroll 8
  for (int q = 0; q < Queries; ++q) {
#pragma GCC unroll 8
    for (int i = 0; i < Pairs; ++i) even[q][i] = odd[q][i] = splat(0.0f);
  }
  for (std::size_t block = from / 16; block * 16 < end; ++block) {
    const std::uint32_t* keys = t.keys +
                                static_cast<std::size_t>(t.table[block]) * t.key_stride +
                                static_cast<std::size_t>(first_pair) * 16;
    const float* weights = t.scores + (block * 16 - start);
    // Slots past the last visible token may hold anything, infinities too: they count as 0.
    const bool whole = end - block * 16 >= 16;
    const M real = gt(splat(whole ? 16.0f : static_cast<float>(end - block * 16)), lanes());
    F weight[Queries];
#pragma GCC unroll 8
    for (int q = 0; q < Queries; ++q) weight[q] = load(weights + q * kSpanTokens);
#pragma GCC unroll 8
    for (int i = 0; i < Pairs; ++i) {
      const P pairs = load_pairs(keys + i * 16);
      const F first = whole ? low(pairs) : select(real, low(pairs), splat(0.0f));
      const F second = whole ? high(pairs) : select(real, high(pairs), splat(0.0f));
#pragma GCC unroll 8
      for (int q = 0; q < Queries; ++q) {
        even[q][i] = fma(first, weight[q], even[q][i]);
        odd[q][i] = fma(second, weight[q], odd[q][i]);
      }
    }
  }
  for (int q = 0; q < Queries; ++q) {
    float* sums = t.sums + q * t.chunks * 32 + 2 * first_pair;
    for (int i = 0; i < Pairs; ++i) {
      sums[2 * i] += hsum(even[q][i]);
      sums[2 * i + 1] += hsum(odd[q][i]);
    }
  }
}

template <int Queries>
HEADRACE_INLINE void add_keys(const AttendTile& t, std::size_t start, std::size_t from,
                              std::size_t end) {
  constexpr int kPairs = Queries == 1 ? 8 : Queries == 2 ? 4 : 2;
  const int pairs = (t.value_dim + 1) / 2;
  int pair = 0;
  for (; pair + kPairs <= pairs; pair += kPairs) {
    add_pairs_of_keys<Queries, kPairs>(t, start, from, end, pair);
  }
  for (; pair < pairs; ++pair) add_pairs_of_keys<Queries, 1>(t, start, from, end, pair);
}

// Turns the span's scores from `skip` to `tokens` (multiples of 16) into weights against the
// running maximum; rescales what was summed.
HEADRACE_INLINE void weigh(const AttendTile& t, int q, std::size_t skip, std::size_t tokens,
                           float highest, float* maximum_so_far, float* total) {
  float* scores = t.scores + q * kSpanTokens;
  float* sums = t.sums + q * t.chunks * 32;
  const float before = *maximum_so_far;
  const float now = highest > before ? highest : before;
  if (!(now > kNever)) {  // this query sees nothing yet; another of the tile does
    for (std::size_t i = skip; i < tokens; i += 16) store(scores + i, splat(0.0f));
    return;
  }
  if (now > before && before > kNever) {
    const F shrink = exp(splat(before - now));
    for (int i = 0; i < t.chunks * 32; i += 16) store(sums + i, mul(load(sums + i), shrink));
    float lanes_of_shrink[16];
    store(lanes_of_shrink, shrink);
    *total *= lanes_of_shrink[0];
  }
  F sum = splat(0.0f);
#pragma GCC unroll 2
  for (std::size_t i = skip; i < tokens; i += 16) {
    const F score = load(scores + i);
    // Unseen tokens hold -inf, and exp gives exactly 0 there.
    const F weight = exp(sub(score, splat(now)));
    store(scores + i, weight);
    sum = add(sum, weight);
  }
  *total += hsum(sum);
  *maximum_so_far = now;
}

template <int Queries>
void attend_queries(const AttendTile& t) {
  constexpr int kTogether = kScoreBlocks * (Queries == 1 ? 4 : Queries == 2 ? 2 : 1);
  float highest_so_far[Queries];
  float total[Queries];
  int last = 0;
  int hidden = t.hidden[0];
  for (int q = 0; q < Queries; ++q) {
    // A sink is a score like others, seen first, whose value is 0.
    highest_so_far[q] = t.sinks == nullptr ? kNever : t.sinks[q];
    total[q] = highest_so_far[q] > kNever ? 1.0f : 0.0f;
    if (t.visible[q] > last) last = t.visible[q];
    if (t.hidden[q] < hidden) hidden = t.hidden[q];
  }
  for (int i = 0; i < Queries * t.chunks * 32; i += 16) store(t.sums + i, splat(0.0f));
  const auto visible = static_cast<std::size_t>(last);
  const std::size_t last_block = (visible - 1) / 16;
  // Blocks that no query sees are not read; spans keep their places, so that a query's sums are
  // taken in the same order whatever the others of its tile see.
  const std::size_t begin = static_cast<std::size_t>(hidden) / 16 * 16;
  for (std::size_t start = begin / kSpanTokens * kSpanTokens; start < visible;
       start += kSpanTokens) {
    const std::size_t from = begin > start ? begin : start;
    const std::size_t end = visible - start < kSpanTokens ? visible : start + kSpanTokens;
    F highest[Queries];
    for (int q = 0; q < Queries; ++q) highest[q] = splat(kNever);
    std::size_t block = from / 16;
    const std::size_t end_block = (end + 15) / 16;
    for (; block + kTogether <= end_block; block += kTogether) {
      score_blocks<Queries, kTogether>(t, block, start, last_block, highest);
    }
    for (; block < end_block; ++block) {
      score_blocks<Queries, 1>(t, block, start, last_block, highest);
    }
    for (int q = 0; q < Queries; ++q) {
      weigh(t, q, from - start, (end_block - start / 16) * 16, hmax(highest[q]), &highest_so_far[q],
            &total[q]);
    }
    if (t.values == nullptr) {
      add_keys<Queries>(t, start, from, end);
    } else {
      add_values<Queries>(t, start, from, end);
    }
  }
  for (int q = 0; q < Queries; ++q) {
    // Chunks hold dims [0, 16) and [16, 32) of each 32, in order; the last may be part-filled.
    const float* sums = t.sums + q * t.chunks * 32;
    const float share = 1.0f / total[q];
    int d = 0;
    for (; d + 16 <= t.value_dim; d += 16) store(t.out[q] + d, mul(load(sums + d), splat(share)));
    for (; d < t.value_dim; ++d) t.out[q][d] = sums[d] * share;
  }
}

void attend(const AttendTile& t) {
  switch (t.queries) {
    case 1:
      return attend_queries<1>(t);
    case 2:
      return attend_queries<2>(t);
    case 3:
      return attend_queries<3>(t);
    default:
      return attend_queries<4>(t);
  }
}

}  // namespace
}  // namespace headrace::HEADRACE_ISA
