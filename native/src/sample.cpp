#include "headrace/sample.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace headrace {

namespace {

constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15u;
constexpr double kSlack = 1e-12;
constexpr double kLn2Above = 0.6931471806;  // ln 2 = 0.69314718055994...

// The splitmix64 finaliser.
std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

std::uint64_t row_key(std::uint64_t seed, std::int32_t position) {
  return mix(seed + kGolden * (static_cast<std::uint64_t>(position) + 1));
}

// 53 random bits n of a token; u = (n + 0.5) / 2^53.
std::uint64_t token_bits(std::uint64_t key, std::int32_t id) {
  return mix(key + kGolden * (static_cast<std::uint64_t>(id) + 1)) >> 11;
}

double gumbel(std::uint64_t bits) {
  const double u = (static_cast<double>(bits) + 0.5) * 0x1p-53;
  return -std::log(-std::log(u));
}

// At least gumbel(bits), without a logarithm. -log(u) >= 1 - u, so the noise is at most -log(1 -
// u). 1 - u > m / 2^53 with m = 2^53 - 1 - n, and m >= 2^(width - 1): the bound is (54 - width) ln
// 2, taken a little too high, so that rounding cannot undercut the noise as computed.
double gumbel_bound(std::uint64_t bits) {
  const std::uint64_t m = (std::uint64_t{1} << 53) - 1 - bits;
  if (m == 0) return std::numeric_limits<double>::infinity();
  return kLn2Above * (54 - std::bit_width(m));
}

// The best of the candidates and their scores, ties to the lowest id.
struct Best {
  double score = -std::numeric_limits<double>::infinity();
  std::int32_t id = -1;

  void offer(double score_of_id, std::int32_t candidate) {
    if (id < 0 || score_of_id > score || (score_of_id == score && candidate < id)) {
      score = score_of_id;
      id = candidate;
    }
  }
};

// Draws from all tokens. The likeliest goes first: most of the others then cannot win.
std::int32_t draw_any(const float* logits, std::size_t vocab, double temperature,
                      std::int32_t likeliest, std::uint64_t key) {
  Best best;
  const double highest = logits[likeliest] / temperature;
  best.offer(highest + gumbel(token_bits(key, likeliest)), likeliest);
  // A product instead of a quotient is a few roundings off: kSlack covers them.
  const double reciprocal = 1.0 / temperature;
  const double slack = kSlack * (1.0 + std::fabs(best.score) + std::fabs(highest));
  for (std::int32_t id = 0; id < static_cast<std::int32_t>(vocab); ++id) {
    const double own = logits[id] * reciprocal;
    const std::uint64_t bits = token_bits(key, id);
    if (own + gumbel_bound(bits) + slack < best.score || id == likeliest) continue;
    best.offer(logits[id] / temperature + gumbel(bits), id);
  }
  return best.id;
}

bool likelier(const Candidate& a, const Candidate& b) {
  return a.scaled > b.scaled || (a.scaled == b.scaled && a.id < b.id);
}

auto at(std::vector<Candidate>& list, std::size_t index) {
  return list.begin() + static_cast<std::ptrdiff_t>(index);
}

// The likeliest `count` tokens, in no order. One pass: whoever is below the count-th best seen so
// far is not even looked at.
void take_likeliest(const float* logits, std::size_t vocab, std::size_t count, double temperature,
                    std::vector<Candidate>& list) {
  const std::size_t room = 2 * count + 64;
  float floor = std::numeric_limits<float>::lowest();  // -inf is below it
  list.clear();
  for (std::size_t id = 0; id < vocab; ++id) {
    if (logits[id] < floor) continue;
    list.push_back({logits[id] / temperature, 0.0, static_cast<std::int32_t>(id)});
    if (list.size() < room) continue;
    std::nth_element(list.begin(), at(list, count - 1), list.end(), likelier);
    list.resize(count);
    floor = logits[list[count - 1].id];
  }
  if (list.size() > count) {
    std::nth_element(list.begin(), at(list, count - 1), list.end(), likelier);
    list.resize(count);
  }
}

// Keeps the likeliest tokens, as few as reach `wanted` of the whole weight. Halves what is in
// question until little is left, rather than sorting everything.
void keep_mass(double wanted, double total, std::vector<Candidate>& list) {
  std::size_t low = 0;
  std::size_t high = list.size();
  double before = 0.0;  // weight of [0, low)
  while (high - low > 32) {
    const std::size_t middle = low + (high - low) / 2;
    std::nth_element(at(list, low), at(list, middle), at(list, high), likelier);
    double mass = before;
    for (std::size_t i = low; i < middle; ++i) mass += list[i].weight;
    if (mass / total >= wanted) {
      high = middle;
    } else {
      low = middle;
      before = mass;
    }
  }
  std::sort(at(list, low), at(list, high), likelier);
  std::size_t kept = low;
  while (kept < high) {
    before += list[kept++].weight;
    if (before / total >= wanted) break;
  }
  list.resize(kept);
}

// Leaves in `list` what top-k, top-p and min-p let pass.
void keep_survivors(const float* logits, std::size_t vocab, const Draw& draw, double highest,
                    std::vector<Candidate>& list) {
  const std::size_t most =
      draw.top_k > 0 ? std::min(static_cast<std::size_t>(draw.top_k), vocab) : vocab;
  take_likeliest(logits, vocab, most, draw.temperature, list);
  if (draw.top_p >= 1.0f && draw.min_p <= 0.0f) return;
  if (draw.top_p >= 1.0f) {
    // Only min-p is left: most tokens are so far below it that their weight need not be known.
    const double floor = highest + std::log(static_cast<double>(draw.min_p));
    const double surely = floor - kSlack * (1.0 + std::fabs(floor));
    std::erase_if(list, [surely](const Candidate& each) { return each.scaled < surely; });
  }
  double total = 0.0;
  for (Candidate& candidate : list) {
    candidate.weight = std::exp(candidate.scaled - highest);
    total += candidate.weight;
  }
  if (draw.top_p < 1.0f) keep_mass(draw.top_p, total, list);
  if (draw.min_p > 0.0f) {
    const double least = draw.min_p;
    std::erase_if(list, [least](const Candidate& each) { return each.weight < least; });
  }
}

}  // namespace

std::int32_t argmax(const float* logits, std::size_t vocab) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < vocab; ++i) {
    if (logits[i] > logits[best]) best = i;
  }
  return static_cast<std::int32_t>(best);
}

std::int32_t sample(const float* logits, std::size_t vocab, std::int32_t likeliest,
                    const Draw& draw, std::int32_t position, std::vector<Candidate>& list) {
  if (draw.temperature == 0.0f) return likeliest;
  const double temperature = draw.temperature;
  const std::uint64_t key = row_key(draw.seed, position);
  if (draw.top_k <= 0 && draw.top_p >= 1.0f && draw.min_p <= 0.0f) {
    return draw_any(logits, vocab, temperature, likeliest, key);
  }
  keep_survivors(logits, vocab, draw, logits[likeliest] / temperature, list);
  Best best;
  for (const Candidate& candidate : list) {
    best.offer(candidate.scaled + gumbel(token_bits(key, candidate.id)), candidate.id);
  }
  return best.id;
}

}  // namespace headrace
