#include "headrace/arena.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
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

bool Arena::commit(std::size_t index, std::size_t shares) const {
  for (std::size_t at = index * kHugePage; at < bytes_; at += shares * kHugePage) {
    std::uint8_t* stripe = as<std::uint8_t>() + at;
    const std::size_t length = std::min(kHugePage, bytes_ - at);
#if defined(MADV_POPULATE_WRITE)
    if (madvise(stripe, length, MADV_POPULATE_WRITE) == 0) continue;
    if (errno != EINVAL) return false;  // EINVAL: a kernel before 5.14
#endif
    // Zeroed already; the write is what takes the page.
    for (std::size_t i = 0; i < length; i += 4096) static_cast<volatile std::uint8_t*>(stripe)[i] = 0;
  }
  return true;
}

Arena::~Arena() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

}  // namespace headrace
