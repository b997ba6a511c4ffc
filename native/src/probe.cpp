#include "headrace/probe.hpp"

#include <sched.h>
#if defined(HEADRACE_ARM)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <set>
#include <stdexcept>

#include "headrace/arena.hpp"
#include "headrace/kernels.hpp"
#include "headrace/workers.hpp"

namespace headrace {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The tables this processor runs, fastest first.
std::vector<const Kernels*> tables() {
  std::vector<const Kernels*> all;
#if defined(HEADRACE_X86)
  __builtin_cpu_init();
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512 && __builtin_cpu_supports("avx512bf16")) all.push_back(&kAvx512Bf16Kernels);
  if (avx512) all.push_back(&kAvx512Kernels);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("f16c")) {
    all.push_back(&kAvx2Kernels);
  }
#elif defined(HEADRACE_ARM)
  if (getauxval(AT_HWCAP2) & HWCAP2_BF16) all.push_back(&kNeonBf16Kernels);
  all.push_back(&kNeonKernels);  // every AArch64 has it
#endif
  all.push_back(&kScalarKernels);
  return all;
}

// Without the pause that a polite wait makes: it would be most of what is measured.
void wait_for(const std::atomic<std::uint32_t>& line, std::uint32_t number) {
  constexpr int kPatience = 1 << 16;  // then the other has lost its processor
  for (int spins = 0; line.load(std::memory_order_acquire) != number; ++spins) {
    if (spins >= kPatience) sched_yield();
  }
}

// The container's quota in whole processors (cgroup v2), or `otherwise`.
int cpu_quota(int otherwise) {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double quota = 0;
  double period = 0;
  if (!(file >> quota >> period) || period <= 0) return otherwise;  // "max": no quota
  return std::max(1, static_cast<int>(quota / period));
}

}  // namespace

const Kernels* find_kernels(const char* name) {
  for (const Kernels* kernels : tables()) {
    if (name[0] == '\0' || std::strcmp(kernels->name, name) == 0) return kernels;
  }
  return nullptr;
}

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Kernels* kernels : tables()) names.emplace_back(kernels->name);
  std::reverse(names.begin(), names.end());
  return names;
}

int physical_cores() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    const std::string number = std::to_string(cpu);
    std::ifstream file("/sys/devices/system/cpu/cpu" + number + "/topology/thread_siblings_list");
    std::string siblings;
    // A machine that does not say is taken at its word: one core per processor.
    cores.insert(std::getline(file, siblings) ? siblings : number);
  }
  const int count = std::max(1, static_cast<int>(cores.size()));
  return std::min(count, cpu_quota(count));
}

double read_bandwidth(std::size_t bytes, int threads, double seconds) {
  constexpr std::size_t kStep = 1024;  // the kernel reads 256 words at a time
  if (threads < 1 || bytes < kStep * static_cast<std::size_t>(threads)) {
    throw std::invalid_argument("read_bandwidth: at least 1 thread and 1024 bytes for each");
  }
  struct Job {
    const Kernels& kernels;
    std::vector<Arena> parts;
    std::size_t part_bytes;
    std::size_t repeats;
    double best_s;
    double budget_s;
    std::atomic<bool> more;
    Workers workers;  // last: its threads end before anything they use goes
  };
  Job job{*find_kernels(""), {}, 0, 0, 1e30, seconds, true, Workers(threads)};
  job.part_bytes = bytes / static_cast<std::size_t>(threads) / kStep * kStep;
  for (int i = 0; i < threads; ++i) job.parts.emplace_back(job.part_bytes + 2 * kStep);
  // Enough repeats for 2 ms at 100 GB/s: the barriers around them then do not show.
  job.repeats = std::max<std::size_t>(1, 200'000'000 / std::max<std::size_t>(bytes, 1));
  job.workers.run(
      [](void* context, int worker) {
        Job& todo = *static_cast<Job*>(context);
        const Arena& part = todo.parts[static_cast<std::size_t>(worker)];
        std::memset(part.as<char>(), worker + 1, part.bytes());
        const auto start = Clock::now();
        bool more = true;
        // Which order is the faster one depends on the processor and on the cache: try both.
        for (bool side_by_side = false; more; side_by_side = !side_by_side) {
          todo.workers.barrier(worker);
          const auto stretch = Clock::now();
          for (std::size_t i = 0; i < todo.repeats; ++i) {
            todo.kernels.read(part.as<std::uint32_t>(), todo.part_bytes / 4, side_by_side);
          }
          todo.workers.barrier(worker);
          if (worker == 0) {
            todo.best_s = std::min(todo.best_s, seconds_since(stretch));
            todo.more.store(!side_by_side || seconds_since(start) < todo.budget_s);
          }
          todo.workers.barrier(worker);
          more = todo.more.load();
        }
      },
      &job);
  const double moved = static_cast<double>(job.part_bytes) * threads;
  return moved * static_cast<double>(job.repeats) / job.best_s;
}

double barrier_seconds(int threads) {
  if (threads < 1) throw std::invalid_argument("barrier_seconds: at least 1 thread");
  constexpr int kBursts = 50;
  constexpr int kRounds = 2000;
  struct Job {
    double best_s;
    Workers workers;
  } job{1e30, Workers(threads)};
  job.workers.run(
      [](void* context, int worker) {
        Job& todo = *static_cast<Job*>(context);
        for (int burst = 0; burst < kBursts; ++burst) {
          todo.workers.barrier(worker);
          const auto start = Clock::now();
          for (int round = 0; round < kRounds; ++round) todo.workers.barrier(worker);
          if (worker == 0) todo.best_s = std::min(todo.best_s, seconds_since(start) / kRounds);
        }
      },
      &job);
  return job.best_s;
}

std::optional<double> round_trip_seconds() {
  constexpr int kBursts = 40;
  constexpr std::uint32_t kRounds = 1000;
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) < 2) return {};
  struct Job {
    alignas(2 * kCacheLine) std::atomic<std::uint32_t> line{0};
    alignas(2 * kCacheLine) double best_s = 1e30;
    Workers workers{2};
  } job;
  job.workers.run(
      [](void* context, int worker) {
        Job& todo = *static_cast<Job*>(context);
        // Worker 0 answers even numbers with odd ones, worker 1 the other way round.
        std::uint32_t number = static_cast<std::uint32_t>(worker);
        for (int burst = 0; burst < kBursts; ++burst) {
          todo.workers.barrier(worker);
          const auto start = Clock::now();
          for (std::uint32_t round = 0; round < kRounds; ++round, number += 2) {
            wait_for(todo.line, number);
            todo.line.store(number + 1, std::memory_order_release);
          }
          if (worker == 0) todo.best_s = std::min(todo.best_s, seconds_since(start) / kRounds);
        }
        todo.workers.barrier(worker);
      },
      &job);
  return job.best_s;
}

}  // namespace headrace
