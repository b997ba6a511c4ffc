// Zeroed memory in huge pages where the system grants them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <utility>

namespace headrace {

constexpr std::size_t round_up(std::size_t value, std::size_t step) {
  return (value + step - 1) / step * step;
}

// Owns `bytes` of zeroed, untouched memory: a page belongs to the thread that writes it first.
// Throws std::bad_alloc when the system has no room.
class Arena {
 public:
  Arena() = default;
  explicit Arena(std::size_t bytes);
  Arena(Arena&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Arena& operator=(Arena&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  std::size_t bytes() const { return bytes_; }

  // Its first `bytes` are those of the file from `offset` on (a multiple of the page size), and may
  // not be written. The file must be that long, and stay so. False when the system does not map it.
  bool map_file(int descriptor, std::size_t offset, std::size_t bytes);
  // Asks the system to keep in memory what was mapped; false when this process may not.
  bool pin(std::size_t bytes) const;
  // All of it is zeroed memory of our own again.
  void clear();

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// Takes the pages of an arena from now on, in order, on a thread of its own that runs when nobody
// else wants the processor: what was promised is soon there, and no one waits for it. Whoever
// writes to a page before gets it then, as always. While the machine is in use it spends a
// thousandth of the time on it: a virtual processor that waits for its host to find memory stands
// still for everybody.
class Commitment {
 public:
  // `arena` must outlive it.
  explicit Commitment(const Arena& arena);
  Commitment(const Commitment&) = delete;
  Commitment& operator=(const Commitment&) = delete;
  ~Commitment();

  // The machine has just been used.
  void note_use() { last_use_.store(now(), std::memory_order_relaxed); }
  // False once the system had no page to give.
  bool has_room() const { return has_room_.load(std::memory_order_relaxed); }

 private:
  static std::int64_t now();  // nanoseconds
  void take();
  bool is_in_use() const;

  const Arena& arena_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> has_room_{true};
  std::atomic<std::int64_t> last_use_{now()};
  std::thread thread_;  // last: it uses the others
};

}  // namespace headrace
