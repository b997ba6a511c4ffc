// Drawing a token from one row of logits, exactly as backends/sampling.py defines it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace headrace {

struct Draw {
  float temperature;  // 0: greedy
  std::int32_t top_k;  // 0: all
  float top_p;
  float min_p;
  std::uint64_t seed;
};

// A candidate and its logit over the temperature.
struct Scored {
  double scaled;
  std::int32_t id;
};

// Reusable memory of one sampling thread.
struct SampleScratch {
  std::vector<double> scaled;
  std::vector<Scored> order;
  std::vector<double> weights;
};

// The token for `position`, from finite logits [vocab].
std::int32_t sample(const float* logits, std::size_t vocab, const Draw& draw, std::int32_t position,
                    SampleScratch& scratch);

}  // namespace headrace
