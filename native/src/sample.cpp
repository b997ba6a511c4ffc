#include "headrace/sample.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace headrace {

namespace {

constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15u;
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

// At least gumbel(bits), without a logarithm. -log(u) >= 1 - u, so the noise is at most -log(1 - u).
// 1 - u > m / 2^53 with m = 2^53 - 1 - n, and m >= 2^(width - 1): the bound is (54 - width) ln 2,
// taken a little too high, so that rounding cannot undercut the noise as computed.
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

std::int32_t argmax(const float* logits, std::size_t vocab) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < vocab; ++i) {
    if (logits[i] > logits[best]) best = i;
  }
  return static_cast<std::int32_t>(best);
}

// Draws from all tokens. The likeliest goes first: most of the others then cannot win.
std::int32_t draw_any(const std::vector<double>& scaled, std::size_t likeliest, std::uint64_t key) {
  Best best;
  const auto first = static_cast<std::int32_t>(likeliest);
  best.offer(scaled[likeliest] + gumbel(token_bits(key, first)), first);
  const auto vocab = static_cast<std::int32_t>(scaled.size());
  for (std::int32_t id = 0; id < vocab; ++id) {
    if (id == first) continue;
    const double own = scaled[static_cast<std::size_t>(id)];
    const std::uint64_t bits = token_bits(key, id);
    if (own + gumbel_bound(bits) < best.score) continue;
    best.offer(own + gumbel(bits), id);
  }
  return best.id;
}

bool likelier(const Scored& a, const Scored& b) {
  return a.scaled > b.scaled || (a.scaled == b.scaled && a.id < b.id);
}

// Puts the likeliest `count` of `order` in front, sorted.
void sort_front(std::vector<Scored>& order, std::size_t count) {
  if (count < order.size()) {
    std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
                     likelier);
  }
  std::sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), likelier);
}

// Keeps in `order` what top-k, top-p and min-p let pass.
void keep_survivors(const Draw& draw, double highest, SampleScratch& scratch) {
  std::vector<Scored>& order = scratch.order;
  if (draw.top_k > 0 && static_cast<std::size_t>(draw.top_k) < order.size()) {
    sort_front(order, static_cast<std::size_t>(draw.top_k));
    order.resize(static_cast<std::size_t>(draw.top_k));
  }
  const double min_p = draw.min_p;
  if (draw.top_p < 1.0f) {
    double total = 0.0;
    for (const Scored& candidate : order) total += std::exp(candidate.scaled - highest);
    // Sort only as far as the sum has to reach, in growing fronts.
    const double wanted = draw.top_p;
    std::size_t kept = 0;
    double reached = 0.0;
    std::size_t front = std::min<std::size_t>(order.size(), 64);
    for (bool done = false; !done; front = std::min(order.size(), front * 8)) {
      // The sorted part stays; the next likeliest join it.
      if (kept < front) {
        auto middle = order.begin() + static_cast<std::ptrdiff_t>(kept);
        auto end = order.begin() + static_cast<std::ptrdiff_t>(front);
        if (front < order.size()) std::nth_element(middle, end, order.end(), likelier);
        std::sort(middle, end, likelier);
      }
      while (kept < front && !done) {
        reached += std::exp(order[kept++].scaled - highest);
        done = reached / total >= wanted;
      }
      done = done || kept == order.size();
    }
    order.resize(kept);
  }
  if (min_p > 0.0) {
    std::erase_if(order, [&](const Scored& candidate) {
      return std::exp(candidate.scaled - highest) < min_p;
    });
  }
}

}  // namespace

std::int32_t sample(const float* logits, std::size_t vocab, const Draw& draw, std::int32_t position,
                    SampleScratch& scratch) {
  const std::int32_t likeliest = argmax(logits, vocab);
  if (draw.temperature == 0.0f) return likeliest;
  const double temperature = draw.temperature;
  scratch.scaled.resize(vocab);
  for (std::size_t i = 0; i < vocab; ++i) scratch.scaled[i] = logits[i] / temperature;
  const std::uint64_t key = row_key(draw.seed, position);
  const auto first = static_cast<std::size_t>(likeliest);
  if (draw.top_k <= 0 && draw.top_p >= 1.0f && draw.min_p <= 0.0f) {
    return draw_any(scratch.scaled, first, key);
  }
  scratch.order.resize(vocab);
  for (std::size_t i = 0; i < vocab; ++i) {
    scratch.order[i] = {scratch.scaled[i], static_cast<std::int32_t>(i)};
  }
  keep_survivors(draw, scratch.scaled[first], scratch);
  Best best;
  for (const Scored& candidate : scratch.order) {
    best.offer(candidate.scaled + gumbel(token_bits(key, candidate.id)), candidate.id);
  }
  return best.id;
}

}  // namespace headrace
