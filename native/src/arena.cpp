#include "headrace/arena.hpp"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <new>

namespace headrace {

namespace {
constexpr std::size_t kHugePage = std::size_t{2} << 20;
}

Arena::Arena(std::size_t bytes) {
  if (bytes == 0) return;
  // Anonymous memory comes zeroed. Map one huge page more than asked, then give back both ends, so
  // that the start is aligned to a huge page. Small arenas stay in small pages.
  const bool huge = bytes >= kHugePage / 2;
  bytes_ = round_up(bytes, huge ? kHugePage : 4096);
  const std::size_t mapped = bytes_ + (huge ? kHugePage : 0);
  void* raw = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) {
    bytes_ = 0;
    throw std::bad_alloc();
  }
  data_ = raw;
  if (!huge) return;
  auto* start = static_cast<std::uint8_t*>(raw);
  const auto address = reinterpret_cast<std::uintptr_t>(raw);
  const std::size_t skip = round_up(address, kHugePage) - address;
  if (skip > 0) munmap(start, skip);
  if (skip < kHugePage) munmap(start + skip + bytes_, kHugePage - skip);
  data_ = start + skip;
#if defined(MADV_HUGEPAGE)
  madvise(data_, bytes_, MADV_HUGEPAGE);  // a hint: small pages work as well, a little slower
#endif
}

Arena::~Arena() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

bool Arena::map_file(int descriptor, std::size_t offset, std::size_t bytes) {
  void* mapped = mmap(data_, bytes, PROT_READ, MAP_SHARED | MAP_FIXED, descriptor,
                      static_cast<off_t>(offset));
  return mapped != MAP_FAILED;
}

bool Arena::pin(std::size_t bytes) const { return mlock(data_, bytes) == 0; }

void Arena::clear() {
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  if (mmap(data_, bytes_, PROT_READ | PROT_WRITE, kFlags, -1, 0) == MAP_FAILED) {
    throw std::bad_alloc();
  }
#if defined(MADV_HUGEPAGE)
  madvise(data_, bytes_, MADV_HUGEPAGE);
#endif
}

namespace {

constexpr std::chrono::nanoseconds kQuiet = std::chrono::milliseconds{200};  // without a step
constexpr std::chrono::milliseconds kLook{50};  // how soon a quiet machine is noticed
// While steps are made, a page is taken after a pause of so many times what the last one took: one
// that the host has to find takes over a millisecond, in which a processor stands still.
constexpr std::int64_t kRest = 1000;

// False when the system has no room for `bytes` at `start`.
bool take_pages(std::uint8_t* start, std::size_t bytes) {
#if defined(MADV_POPULATE_WRITE)
  if (madvise(start, bytes, MADV_POPULATE_WRITE) == 0) return true;
  if (errno != EINVAL) return false;  // EINVAL: a kernel before 5.14
#endif
  // A write is what takes a page; this one changes nothing, whoever else writes there.
  for (std::size_t i = 0; i < bytes; i += 4096) {
    std::atomic_ref<std::uint8_t>(start[i]).fetch_or(0, std::memory_order_relaxed);
  }
  return true;
}

}  // namespace

Commitment::Commitment(const Arena& arena) : arena_(arena), thread_([this] { take(); }) {}

Commitment::~Commitment() {
  stopping_.store(true);
  thread_.join();
}

std::int64_t Commitment::now() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

void Commitment::take() {
#if defined(SCHED_IDLE)
  const sched_param none{};
  pthread_setschedparam(pthread_self(), SCHED_IDLE, &none);
#endif
  std::int64_t rest = 0;
  for (std::size_t at = 0; at < arena_.bytes(); at += kHugePage) {
    const std::int64_t paused = now();
    while (!stopping_.load() && is_in_use() && now() - paused < rest) {
      std::this_thread::sleep_for(kLook);
    }
    if (stopping_.load()) return;
    const std::int64_t began = now();
    const std::size_t bytes = std::min(kHugePage, arena_.bytes() - at);
    if (!take_pages(arena_.as<std::uint8_t>() + at, bytes)) {
      has_room_.store(false);
      return;
    }
    rest = kRest * (now() - began);
  }
}

bool Commitment::is_in_use() const {
  return now() - last_use_.load(std::memory_order_relaxed) < kQuiet.count();
}

}  // namespace headrace
