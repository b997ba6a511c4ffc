// Which panels of one matrix are taken, where a worker that is done helps the others.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "headrace/platform.hpp"

namespace headrace {

// A product is one use: every worker begins it, takes its own panels first and then what is left of
// the others'; a barrier stands between two uses. A core that has other things to do, or less of the
// memory's bandwidth, then holds the others up by a panel at most.
class PanelQueue {
 public:
  explicit PanelQueue(std::size_t workers) : lines_(new Line[workers]) {}

  void begin(std::size_t worker) {
    Line& own = lines_[worker];
    own.use ^= 1;
    own.taken[own.use ^ 1].store(0, std::memory_order_relaxed);  // for the next use
  }
  // The index of `owner`'s next panel that nobody has; past its last when there is none.
  std::size_t take(std::size_t owner, std::size_t worker) {
    return lines_[owner].taken[lines_[worker].use].fetch_add(1, std::memory_order_relaxed);
  }

 private:
  struct alignas(2 * kCacheLine) Line {
    // Of even and of odd uses: a worker may take from one that has not begun the use yet.
    std::atomic<std::uint32_t> taken[2] = {0, 0};
    std::uint32_t use = 0;
  };
  std::unique_ptr<Line[]> lines_;  // one per worker
};

}  // namespace headrace
