#include "headrace/workers.hpp"

#include <pthread.h>
#include <sched.h>

#include <chrono>

namespace headrace {

namespace {

// With few workers everybody watches everybody, one cache line transfer; with more, worker 0
// collects and releases.
constexpr int kAllToAll = 4;
// Pauses before a waiting worker offers its core to others (some 20 us).
constexpr int kPatience = 512;
constexpr std::chrono::microseconds kStayAwake{20};

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Rounds wrap around after 2^32 barriers, so "reached" is a signed distance.
inline void wait_until(const std::atomic<std::uint32_t>& counter, std::uint32_t round) {
  int spins = 0;
  while (static_cast<std::int32_t>(counter.load(std::memory_order_acquire) - round) < 0) {
    if (++spins < kPatience) {
      relax();
    } else {
      sched_yield();
    }
  }
}

void pin_to(int worker) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  int left = worker;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || left-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    pthread_setaffinity_np(pthread_self(), sizeof one, &one);
    return;
  }
}

}  // namespace

Workers::Workers(int count, bool pin) : count_(count), arrived_(new Line[count]) {
  threads_.reserve(static_cast<std::size_t>(count - 1));
  for (int worker = 1; worker < count; ++worker) {
    threads_.emplace_back([this, worker, pin] {
      if (pin) pin_to(worker);
      serve(worker);
    });
  }
}

Workers::~Workers() {
  stopping_.store(true);
  epoch_.fetch_add(1);
  epoch_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Workers::run(Task task, void* context) {
  if (count_ > 1) {
    task_ = task;
    context_ = context;
    // Sequentially consistent on both sides: either we see the sleeper, or it sees the new epoch.
    epoch_.fetch_add(1);
    if (sleeping_.load() > 0) epoch_.notify_all();
  }
  task(context, 0);
}

bool Workers::spin_for_task(std::uint32_t seen) const {
  using Clock = std::chrono::steady_clock;
  const auto until = Clock::now() + kStayAwake;
  do {
    for (int i = 0; i < 32; ++i) {
      if (epoch_.load(std::memory_order_acquire) != seen) return true;
      relax();
    }
  } while (Clock::now() < until);
  return false;
}

void Workers::serve(int worker) {
  std::uint32_t seen = 0;
  while (true) {
    if (!spin_for_task(seen)) {
      sleeping_.fetch_add(1);
      epoch_.wait(seen);
      sleeping_.fetch_sub(1);
    }
    seen = epoch_.load(std::memory_order_acquire);
    if (stopping_.load()) return;
    task_(context_, worker);
  }
}

void Workers::barrier(int worker) {
  if (count_ == 1) return;
  const std::uint32_t round = arrived_[worker].round.load(std::memory_order_relaxed) + 1;
  arrived_[worker].round.store(round, std::memory_order_release);
  if (count_ <= kAllToAll) {
    for (int other = 0; other < count_; ++other) wait_until(arrived_[other].round, round);
    return;
  }
  if (worker == 0) {
    for (int other = 1; other < count_; ++other) wait_until(arrived_[other].round, round);
    released_.round.store(round, std::memory_order_release);
  } else {
    wait_until(released_.round, round);
  }
}

}  // namespace headrace
