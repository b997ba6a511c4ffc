// Reading and nothing else: what a bandwidth is measured with.
//
// The loads' results are not even combined: an exclusive or made this read 7 % slower out of the
// second-level cache, which would have flattered whatever is compared with it (Emerald Rapids).

namespace headrace::HEADRACE_ISA {
namespace {

// Reads whole groups of `Pages` pages of 4 KB side by side; returns how many words that was.
template <int Pages>
HEADRACE_INLINE std::size_t read_pages(const std::uint32_t* data, std::size_t words) {
  constexpr std::size_t kPage = 1024;  // words
  std::size_t group = 0;
  for (; group + Pages * kPage <= words; group += Pages * kPage) {
    for (std::size_t i = 0; i < kPage; i += 32) {
#pragma GCC unroll 8
      for (int page = 0; page < Pages; ++page) {
        const std::uint32_t* from = data + group + page * kPage + i;
        touch(load_pairs(from));
        touch(load_pairs(from + 16));
      }
    }
  }
  return group;
}

void read(const std::uint32_t* data, std::size_t words, bool side_by_side) {
  std::size_t i = side_by_side ? read_pages<4>(data, words) : 0;
  for (; i < words; i += 128) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) touch(load_pairs(data + i + j * 16));
  }
}

}  // namespace
}  // namespace headrace::HEADRACE_ISA
