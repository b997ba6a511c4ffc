// Finds out, while decoding, which Fetch reads the weights fastest here.
#pragma once

#include <cstddef>

#include "headrace/kernels.hpp"

namespace headrace {

// Now and then it tries all in turn for some calls and keeps the one whose fastest call was fastest:
// other processes can only slow a call down. It tries again later, because the model's neighbours in
// the caches change, and so do virtual processors. No result depends on what it chooses.
class FetchTuner {
 public:
  // How the next call, of so many rows a step, shall read.
  Fetch choose(std::size_t rows);
  // How the last trial says to read.
  Fetch kept() const { return kept_; }
  // The call that was chosen for took so many seconds a step.
  void note(double step_s);

 private:
  static constexpr int kTrials = 4 * kFetches;  // calls of a trial, four of them each way
  static constexpr int kHold = 63 * kTrials;    // calls until the next one: trials are 1 in 64 calls

  int call_ = 0;          // of the trial, and then of the time until the next one
  std::size_t rows_ = 0;  // of the trial: only like is compared with like
  double best_s_[kFetches] = {};  // by Fetch, in this trial
  Fetch kept_ = Fetch::kAhead;
};

}  // namespace headrace
