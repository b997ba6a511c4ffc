// Persistent workers that run one task together, and the barrier between its phases.
//
// The calling thread is worker 0. Between tasks the others spin for a while, as long as the next task
// usually takes to come and at most a quarter of a millisecond, then sleep until woken: the cores are
// shared, and a worker that spins gives its core to whoever wants it.
#pragma once

#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "headrace/platform.hpp"

namespace headrace {

class Workers {
 public:
  using Task = void (*)(void* context, int worker);

  // Starts `count` - 1 threads, `count` >= 1. Each keeps off the processors of the workers before
  // it, if the process may use enough of them. The caller is never pinned: it is not ours.
  explicit Workers(int count);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  int count() const { return count_; }

  // Runs task(context, worker) on every worker; returns when worker 0's call has returned. The
  // task must end with a barrier if the caller needs what other workers wrote after their last one.
  void run(Task task, void* context);

  // Waits until every worker is here. Every worker must come equally often.
  void barrier(int worker);

 private:
  struct alignas(2 * kCacheLine) Line {
    std::atomic<std::uint32_t> round{0};
    std::atomic<int> cpu{0};  // the processor the worker was on when its last task began
  };

  void note_pause(std::chrono::nanoseconds pause);
  void serve(int worker);
  bool spin_for_task(std::uint32_t seen) const;
  void keep_apart(int worker);

  const int count_;
  std::unique_ptr<Line[]> arrived_;  // one per worker: how many barriers it has reached
  Line released_;                    // how many barriers are complete, when there are many workers
  alignas(2 * kCacheLine) std::atomic<std::uint32_t> epoch_{0};
  alignas(2 * kCacheLine) std::atomic<int> sleeping_{0};
  std::atomic<bool> stopping_{false};
  std::atomic<std::int64_t> stay_awake_ns_{20'000};
  std::chrono::steady_clock::time_point ended_;  // the last task, as worker 0 saw it
  Task task_ = nullptr;
  void* context_ = nullptr;
  cpu_set_t allowed_;  // processors of this process
  bool enough_;        // one for each worker
  std::vector<std::thread> threads_;
};

}  // namespace headrace
