// Drawing a token from one row of logits, exactly as backends/sampling.py defines it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace headrace {

struct Draw {
  float temperature;   // 0: greedy
  std::int32_t top_k;  // 0: all
  float top_p;
  float min_p;
  std::uint64_t seed;
};

// A token that may be drawn.
struct Candidate {
  double scaled;  // its logit over the temperature
  double weight;  // exp(scaled - the highest), where needed
  std::int32_t id;
};

// The id of the greatest logit, ties to the lowest.
std::int32_t argmax(const float* logits, std::size_t vocab);

// The token for `position`, from logits [vocab] whose argmax is `likeliest`. A logit is finite, or
// -inf: that token is not drawn; one at least is finite. `list` is memory to reuse.
std::int32_t sample(const float* logits, std::size_t vocab, std::int32_t likeliest,
                    const Draw& draw, std::int32_t position, std::vector<Candidate>& list);

}  // namespace headrace
