// Zeroed memory in huge pages where the system grants them.
#pragma once

#include <cstddef>
#include <memory>
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
  // Takes the pages of share `index` of `shares` now, in huge-page stripes, so that no one finds
  // later that there are none. False when the system has no room.
  bool commit(std::size_t index, std::size_t shares) const;

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace headrace
