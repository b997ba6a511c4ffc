#include "headrace/fetch_tuner.hpp"

#include <algorithm>
#include <iterator>
#include <limits>

namespace headrace {

Fetch FetchTuner::choose(std::size_t rows) {
  if (call_ >= kTrials) return kept_;
  if (call_ == 0 || rows != rows_) {
    call_ = 0;
    rows_ = rows;
    std::fill(std::begin(best_s_), std::end(best_s_), std::numeric_limits<double>::infinity());
  }
  return static_cast<Fetch>(call_ % kFetches);
}

void FetchTuner::note(double step_s) {
  if (call_ < kTrials) {
    double& best_s = best_s_[call_ % kFetches];
    best_s = std::min(best_s, step_s);
  }
  ++call_;
  if (call_ == kTrials) {
    kept_ = static_cast<Fetch>(std::min_element(std::begin(best_s_), std::end(best_s_)) - best_s_);
  }
  if (call_ == kTrials + kHold) call_ = 0;
}

}  // namespace headrace
