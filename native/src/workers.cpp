#include "headrace/workers.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>

namespace headrace {

namespace {

// With few workers everybody watches everybody, one cache line transfer; with more, worker 0
// collects and releases.
constexpr int kAllToAll = 4;
// Pauses before a waiting worker offers its core to others (some 20 us).
constexpr int kPatience = 512;
// How long a worker stays awake for the next task: twice what passed before the last ones, within
// these bounds. Waking a sleeper costs some 20 us, and as much again until its caches are warm.
constexpr std::chrono::nanoseconds kLeastAwake{20'000};
constexpr std::chrono::nanoseconds kMostAwake{250'000};

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

}  // namespace

Workers::Workers(int count) : count_(count), arrived_(new Line[count]) {
  CPU_ZERO(&allowed_);
  sched_getaffinity(0, sizeof allowed_, &allowed_);
  enough_ = CPU_COUNT(&allowed_) >= count;
  threads_.reserve(static_cast<std::size_t>(count - 1));
  for (int worker = 1; worker < count; ++worker) {
    threads_.emplace_back([this, worker] { serve(worker); });
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
    const auto start = std::chrono::steady_clock::now();
    note_pause(start - ended_);
    task_ = task;
    context_ = context;
    arrived_[0].cpu.store(sched_getcpu(), std::memory_order_relaxed);
    // Sequentially consistent on both sides: either we see the sleeper, or it sees the new epoch.
    epoch_.fetch_add(1);
    if (sleeping_.load() > 0) epoch_.notify_all();
  }
  task(context, 0);
  ended_ = std::chrono::steady_clock::now();
}

// A pause that is too long to stay awake for says nothing about the next one.
void Workers::note_pause(std::chrono::nanoseconds pause) {
  if (2 * pause > kMostAwake) return;
  const auto awake = std::clamp(2 * pause, kLeastAwake, kMostAwake).count();
  const auto before = stay_awake_ns_.load(std::memory_order_relaxed);
  // Longer at once, shorter slowly: a sleeper costs more than a little spinning.
  stay_awake_ns_.store(awake > before ? awake : before - (before - awake) / 16,
                       std::memory_order_relaxed);
}

bool Workers::spin_for_task(std::uint32_t seen) const {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  const auto until =
      begin + std::chrono::nanoseconds(stay_awake_ns_.load(std::memory_order_relaxed));
  auto now = begin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (epoch_.load(std::memory_order_acquire) != seen) return true;
      relax();
    }
    now = Clock::now();
    if (now - begin > kLeastAwake) sched_yield();
  } while (now < until);
  return false;
}

// Two workers on one processor wait for each other's time slices, a thousand times a barrier's
// cost, and a busy scheduler may leave them there for long. So whoever finds itself on the
// processor of a worker before it moves away.
void Workers::keep_apart(int worker) {
  if (!enough_) return;
  const int here = sched_getcpu();
  bool alone = true;
  for (int other = 0; other < worker; ++other) {
    alone &= arrived_[other].cpu.load(std::memory_order_relaxed) != here;
  }
  arrived_[worker].cpu.store(here, std::memory_order_relaxed);
  if (alone) return;
  cpu_set_t free = allowed_;
  for (int other = 0; other < worker; ++other) {
    const int cpu = arrived_[other].cpu.load(std::memory_order_relaxed);
    if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_CLR(cpu, &free);
  }
  if (CPU_COUNT(&free) > 0 && pthread_setaffinity_np(pthread_self(), sizeof free, &free) == 0) {
    arrived_[worker].cpu.store(sched_getcpu(), std::memory_order_relaxed);
  }
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
    keep_apart(worker);
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
