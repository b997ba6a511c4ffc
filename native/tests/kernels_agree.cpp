// Holds every kernel that computes, of every instruction set of this processor to the scalar one, and to itself:
// a row's bits must not depend on the rows and blocks beside it.
//
//     kernels_agree [--seed N] [ISA ...]
//
// Each ISA named must be there. Sizes are odd on purpose; the data holds subnormal numbers, zeros of
// both signs, infinities and NaNs. Prints a line per instruction set, or what differs and where.
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "headrace/kernels.hpp"
#include "headrace/platform.hpp"
#include "headrace/probe.hpp"

namespace headrace {
namespace {

using Floats = std::vector<float>;
using Words = std::vector<std::uint32_t>;
using Halves = std::vector<std::uint16_t>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kSmallestNormal = 0x1p-126f;
constexpr float kUntouched = 12345.0f;  // what stands where a kernel must not write

float widen(std::uint16_t bf16) { return std::bit_cast<float>(std::uint32_t{bf16} << 16); }
std::uint16_t cut(float x) {
  return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x) >> 16);
}
bool same_bits(float x, float y) {
  return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
}

// What the data may hold beside ordinary numbers.
enum class Spice { kSubnormal, kNonFinite, kWide, kTiny, kHuge };
constexpr Spice kSpices[] = {Spice::kSubnormal, Spice::kNonFinite};

class Data {
 public:
  explicit Data(std::uint64_t seed) : bits_(seed) {}

  std::size_t below(std::size_t end) { return bits_() % end; }
  // Evenly spread over -1..1.
  float number() { return static_cast<float>(static_cast<std::int64_t>(bits_()) * 0x1p-63); }
  // Mostly ordinary; one in sixteen is not.
  float spiced(Spice spice) {
    if (spice == Spice::kTiny) return number() * 0x1p-100f;
    if (spice == Spice::kHuge) return number() * 0x1p105f;
    if (below(16) != 0) return number();
    if (spice == Spice::kSubnormal) {
      const float tiny[] = {0.0f, -0.0f, 0x1p-149f, -0x1.8p-130f, 0x1.fp-127f, kSmallestNormal};
      return tiny[below(std::size(tiny))];
    }
    if (spice == Spice::kWide) {
      // Products and sums of these are normal numbers, with scales of 2^-31 to 1.
      const float wide[] = {0.0f, -0.0f, 0x1p-87f, -0x1.fep-87f, 0x1p-40f, -0x1.fep40f};
      return wide[below(std::size(wide))];
    }
    const float wild[] = {0.0f, kInfinity, -kInfinity, kNan};
    return wild[below(std::size(wild))];
  }
  Floats row(std::size_t count, std::size_t padded, Spice spice) {
    Floats values(padded);
    for (std::size_t i = 0; i < count; ++i) values[i] = spiced(spice);
    return values;
  }
  std::uint16_t bf16(Spice spice) { return cut(spiced(spice)); }
  std::uint32_t pair(Spice spice) { return bf16(spice) | std::uint32_t{bf16(spice)} << 16; }
  Words pairs(std::size_t count, Spice spice) {
    Words words(count);
    for (std::uint32_t& word : words) word = pair(spice);
    return words;
  }
  // Any fp16 of -2..2, and what there is beyond the ordinary.
  std::uint16_t fp16(Spice spice) {
    const auto sign = static_cast<std::uint16_t>(below(2) << 15);
    if (below(16) == 0 && spice == Spice::kNonFinite) {
      return static_cast<std::uint16_t>(sign | (below(2) ? 0x7C00 : 0x7E01));
    }
    return static_cast<std::uint16_t>(sign | below(0x4000));  // subnormal fp16 below 0x0400
  }

 private:
  std::mt19937_64 bits_;
};

// Counts what was compared, and tells the first differences.
class Verdict {
 public:
  explicit Verdict(std::string isa) : isa_(std::move(isa)) {}

  void expect(bool holds, const std::string& what) {
    ++checks_;
    if (holds) return;
    if (++failures_ <= 20) std::printf("%s: %s\n", isa_.c_str(), what.c_str());
  }
  // Of one class (a NaN, an infinity of one sign, finite), and finite ones `error` apart at most.
  void expect_near(float mine, float scalar, double error, const std::string& what) {
    const bool near = std::isnan(scalar)   ? std::isnan(mine)
                      : std::isinf(scalar) ? mine == scalar
                                           : std::abs(double{mine} - double{scalar}) <= error;
    expect(near, what + ": " + std::to_string(mine) + " for " + std::to_string(scalar));
  }
  void expect_same(float mine, float other, const std::string& what) {
    const bool same = same_bits(mine, other) || (std::isnan(mine) && std::isnan(other));
    expect(same, what + ": " + std::to_string(mine) + " for " + std::to_string(other));
  }
  // bf16 of `from`: exact, but that some processors round subnormal numbers to 0.
  void expect_rounded(std::uint16_t mine, std::uint16_t scalar, float from, const std::string& what) {
    const bool flushed = std::abs(from) < kSmallestNormal && (mine & 0x7FFF) == 0;
    const bool both_nan = std::isnan(widen(mine)) && std::isnan(widen(scalar));
    expect(mine == scalar || both_nan || flushed, what + ": bf16 of " + std::to_string(from));
  }
  bool conclude() const {
    std::printf("%-12s %zu comparisons, %zu differ\n", isa_.c_str(), checks_, failures_);
    return failures_ == 0 && checks_ > 0;
  }

 private:
  std::string isa_;
  std::size_t checks_ = 0;
  std::size_t failures_ = 0;
};

std::string at(const char* kernel, std::initializer_list<std::size_t> sizes) {
  std::string text = kernel;
  for (const std::size_t size : sizes) text += " " + std::to_string(size);
  return text;
}

// A product of `rows` rows with a panel, by either kind of weight.
struct Bf16Product {
  static constexpr const char* kName = "linear";
  using Input = std::uint32_t;
  using Weight = std::uint32_t;
  static Input input(Data& data, Spice spice) { return data.pair(spice); }
  static Weight weight(Data& data, Spice spice) { return data.pair(spice); }
  static constexpr auto kKernel = &Kernels::linear;
  // Sum of the products' sizes: what rounding errors are measured by.
  static double size(Input x, Weight w) {
    const auto product = [](std::uint32_t a, std::uint32_t b) {
      return std::abs(double{widen(static_cast<std::uint16_t>(a))} *
                      widen(static_cast<std::uint16_t>(b)));
    };
    return product(x, w) + product(x >> 16, w >> 16);
  }
};
struct Fp16Product {
  static constexpr const char* kName = "linear_fp16";
  using Input = float;
  using Weight = std::uint16_t;
  static Input input(Data& data, Spice spice) { return data.spiced(spice); }
  static Weight weight(Data& data, Spice spice) { return data.fp16(spice); }
  static constexpr auto kKernel = &Kernels::linear_fp16;
  static double size(Input x, Weight) { return std::abs(double{x}) * 2; }  // weights are below 2
};

template <typename Product>
void check_product(const Kernels& isa, Data& data, Verdict& verdict) {
  const auto mine = isa.*Product::kKernel;
  const auto scalar = kScalarKernels.*Product::kKernel;
  for (const Spice spice : kSpices) {
    for (std::size_t rows = 1; rows <= kTileRows; ++rows) {
      for (std::size_t blocks = 1; blocks <= kMaxPanel; ++blocks) {
        const std::size_t steps = 1 + data.below(40);
        const std::size_t x_stride = steps + data.below(3);
        const std::size_t width = blocks * kLanes;
        const std::size_t stride = width + data.below(5);
        std::vector<typename Product::Input> x(rows * x_stride);
        for (auto& value : x) value = Product::input(data, spice);
        std::vector<typename Product::Weight> panel(steps * width);
        for (auto& value : panel) value = Product::weight(data, spice);
        Floats out(rows * stride, kUntouched);
        Floats expected(rows * stride, kUntouched);
        const auto fetch = static_cast<Fetch>(data.below(kFetches));
        mine(x.data(), x_stride, rows, panel.data(), blocks, steps, out.data(), stride, fetch);
        scalar(x.data(), x_stride, rows, panel.data(), blocks, steps, expected.data(), stride,
               Fetch::kHardware);
        const std::string what = at(Product::kName, {rows, blocks, steps});
        for (std::size_t r = 0; r < rows; ++r) {
          Floats alone(width);
          mine(x.data() + r * x_stride, x_stride, 1, panel.data(), blocks, steps, alone.data(), width,
               Fetch::kHardware);
          for (std::size_t o = 0; o < stride; ++o) {
            const float value = out[r * stride + o];
            if (o >= width) {
              verdict.expect(value == kUntouched, what + " writes beside its outputs");
              continue;
            }
            double size = 0;
            for (std::size_t k = 0; k < steps; ++k) {
              size += Product::size(x[r * x_stride + k], panel[k * width + o]);
            }
            // Two roundings a step, by a unit in the last place each; subnormal numbers count as 0.
            const double steps_of = static_cast<double>(steps);
            const double error = size * 0x1p-23 * 2 * (steps_of + 1) + steps_of * 0x1p-123;
            verdict.expect_near(value, expected[r * stride + o], error, what);
            verdict.expect_same(value, alone[o], what + ", a row alone");
          }
        }
        // A block in a panel of its own: the same bits again.
        const std::size_t b = data.below(blocks);
        std::vector<typename Product::Weight> block(steps * kLanes);
        for (std::size_t k = 0; k < steps; ++k) {
          for (std::size_t lane = 0; lane < kLanes; ++lane) {
            block[k * kLanes + lane] = panel[k * width + b * kLanes + lane];
          }
        }
        Floats apart(rows * kLanes);
        mine(x.data(), x_stride, rows, block.data(), 1, steps, apart.data(), kLanes, Fetch::kAhead);
        for (std::size_t r = 0; r < rows; ++r) {
          for (std::size_t lane = 0; lane < kLanes; ++lane) {
            verdict.expect_same(out[r * stride + b * kLanes + lane], apart[r * kLanes + lane],
                                what + ", a block alone");
          }
        }
      }
    }
  }
}

// What an MXFP4 weight is worth, as bf16.
std::uint16_t worth(std::uint32_t code, std::uint8_t scale) {
  constexpr float kMagnitudes[] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
  const float value = std::ldexp(kMagnitudes[code & 7], scale - 127);
  return cut(code & 8 ? -value : value);
}

// A panel of MXFP4 and the same in bf16 make the same sums, bit for bit, for any number of rows.
void check_mxfp4(const Kernels& isa, Data& data, Verdict& verdict) {
  for (const Spice spice :
       {Spice::kSubnormal, Spice::kNonFinite, Spice::kWide, Spice::kTiny, Spice::kHuge}) {
    for (std::size_t blocks = 1; blocks <= kMaxPanel; ++blocks) {
      const std::size_t groups = 1 + data.below(6);
      const std::size_t pairs = groups * kMxfp4Inputs / 2;
      Words panel(groups * blocks * kMxfp4GroupWords);
      Words wide(pairs * blocks * kLanes);
      // Scales far apart, but that sums stay finite, where with the least ones inputs are large; or
      // those of trained weights, one of which may be far from the others.
      const std::size_t kind = data.below(4);
      const std::uint8_t least = kind == 0 ? 2 : kind == 1 ? 100 : 96;
      const std::size_t scales = kind < 2 ? 60 : 32;
      const std::size_t stranger = kind == 2 ? data.below(groups * blocks * kLanes) : ~std::size_t{0};
      for (std::size_t i = 0; i < groups * blocks * kLanes; ++i) {
        const std::size_t group = i / (blocks * kLanes);
        const std::size_t block = i / kLanes % blocks;
        const std::size_t lane = i % kLanes;
        const auto scale =
            static_cast<std::uint8_t>(i == stranger ? 2 + data.below(140) : least + data.below(scales));
        std::uint32_t* start = panel.data() + group * blocks * kMxfp4GroupWords;
        reinterpret_cast<std::uint8_t*>(start + block * kMxfp4ScaleWords)[lane] = scale;
        std::uint32_t* codes = start + blocks * kMxfp4ScaleWords + block * kLanes + lane;
        for (std::size_t pair = 0; pair < kMxfp4Inputs / 2; ++pair) {
          const auto first = static_cast<std::uint32_t>(data.below(16));
          const auto second = static_cast<std::uint32_t>(data.below(16));
          codes[pair / 4 * blocks * kLanes] |= first << pair % 4 * 4 | second << (16 + pair % 4 * 4);
          wide[((group * kMxfp4Inputs / 2 + pair) * blocks + block) * kLanes + lane] =
              worth(first, scale) | std::uint32_t{worth(second, scale)} << 16;
        }
      }
      const std::size_t width = blocks * kLanes;
      for (std::size_t rows = 1; rows <= kTileRows; ++rows) {
        const std::size_t x_stride = pairs + data.below(3);
        const std::size_t stride = width + data.below(5);
        const Words x = data.pairs(rows * x_stride, spice);
        Floats out(rows * stride, kUntouched), expected(rows * stride, kUntouched);
        const auto fetch = static_cast<Fetch>(data.below(kFetches));
        isa.linear_mxfp4(x.data(), x_stride, rows, panel.data(), blocks, groups, out.data(), stride,
                         fetch);
        isa.linear(x.data(), x_stride, rows, wide.data(), blocks, pairs, expected.data(), stride,
                   Fetch::kHardware);
        const std::string what = at("linear_mxfp4", {rows, blocks, groups});
        for (std::size_t o = 0; o < out.size(); ++o) {
          // Minus zero counts as zero: a sum of nothing but zeros may have the other sign.
          const bool zero = out[o] == 0.0f && expected[o] == 0.0f;
          if (!zero) verdict.expect_same(out[o], expected[o], what);
        }
      }
    }
  }
}

void check_norm(const Kernels& isa, Data& data, Verdict& verdict) {
  for (const Spice spice : kSpices) {
    for (const std::size_t width : {1u, 5u, 16u, 45u, 64u, 80u, 131u, 200u}) {
      const std::size_t padded = (width + 15) / 16 * 16;
      const Floats x = data.row(width, padded, spice);
      const Floats weight = data.row(width, padded, Spice::kSubnormal);
      Floats out(padded), expected(padded);
      Halves rounded(padded);
      isa.norm(x.data(), weight.data(), width, 1e-5f, out.data());
      kScalarKernels.norm(x.data(), weight.data(), width, 1e-5f, expected.data());
      isa.norm_round(x.data(), weight.data(), width, 1e-5f, rounded.data());
      for (std::size_t i = 0; i < padded; ++i) {
        const double error = std::abs(expected[i]) * 1e-5 + kSmallestNormal;
        verdict.expect_near(out[i], expected[i], error, at("norm", {width}));
        const double grid = std::abs(out[i]) * 0x1p-8 + kSmallestNormal;  // half a bf16 unit
        verdict.expect_near(widen(rounded[i]), out[i], grid, at("norm_round", {width}));
      }
    }
  }
}

void check_round(const Kernels& isa, Data& data, Verdict& verdict) {
  for (const Spice spice : kSpices) {
    for (const std::size_t count : {1u, 7u, 16u, 33u, 100u}) {
      Floats x = data.row(count, count, spice);
      for (float& value : x) {  // a third of them stand half way between two bf16
        if (data.below(3) == 0 && std::isfinite(value)) {
          value = std::bit_cast<float>((std::bit_cast<std::uint32_t>(value) & ~0xFFFFu) | 0x8000u);
        }
      }
      Halves out(count), expected(count);
      isa.round(x.data(), count, out.data());
      kScalarKernels.round(x.data(), count, expected.data());
      for (std::size_t i = 0; i < count; ++i) {
        verdict.expect_rounded(out[i], expected[i], x[i], at("round", {count}));
      }
    }
  }
}

void check_elementwise(const Kernels& isa, Data& data, Verdict& verdict) {
  for (const Spice spice : kSpices) {
    for (std::size_t blocks = 1; blocks <= 5; ++blocks) {
      const std::size_t step = 16 * (1 + data.below(3));
      Floats gate = data.row(blocks * step, blocks * step, spice);
      for (float& value : gate) value *= 100.0f;  // beyond where exp is cut off
      const Floats up = data.row(blocks * step, blocks * step, spice);
      const auto gated = [&](auto kernel, const char* name) {
        Floats out(blocks * 16), expected(blocks * 16);
        (isa.*kernel)(gate.data(), up.data(), blocks, step, out.data());
        (kScalarKernels.*kernel)(gate.data(), up.data(), blocks, step, expected.data());
        for (std::size_t i = 0; i < out.size(); ++i) {
          // exp's argument is up to 88 with a relative error of 2^-24.
          const double error = std::abs(expected[i]) * 2e-5 + 1e-30;
          verdict.expect_near(out[i], expected[i], error, at(name, {blocks, step}));
        }
      };
      gated(&Kernels::silu_multiply, "silu_multiply");
      gated(&Kernels::gelu_multiply, "gelu_multiply");
      Floats clamped(blocks * 16), judge(blocks * 16);
      isa.clamped_multiply(gate.data(), up.data(), blocks, step, 1.702f, 0.75f, clamped.data());
      kScalarKernels.clamped_multiply(gate.data(), up.data(), blocks, step, 1.702f, 0.75f,
                                      judge.data());
      for (std::size_t i = 0; i < clamped.size(); ++i) {
        const double error = std::abs(judge[i]) * 4e-5 + 1e-30;
        verdict.expect_near(clamped[i], judge[i], error, at("clamped_multiply", {blocks, step}));
      }

      Floats sum = up;
      Floats expected = up;
      isa.add(gate.data(), sum.size(), sum.data());
      kScalarKernels.add(gate.data(), expected.size(), expected.data());
      for (std::size_t i = 0; i < sum.size(); ++i) {
        verdict.expect_same(sum[i], expected[i], at("add", {sum.size()}));
      }
    }
  }
}

void check_rotation(const Kernels& isa, Data& data, Verdict& verdict) {
  for (const Spice spice : kSpices) {
    for (const std::size_t half : {1u, 5u, 16u, 17u, 32u, 61u}) {
      const Floats x = data.row(2 * half, 2 * half, spice);
      const Floats cos = data.row(half, half, Spice::kSubnormal);
      const Floats sin = data.row(half, half, Spice::kSubnormal);
      const auto turned = [&](auto kernel, const char* name) {
        Floats out = x;  // in place
        Floats expected(2 * half);
        (isa.*kernel)(out.data(), cos.data(), sin.data(), half, out.data());
        (kScalarKernels.*kernel)(x.data(), cos.data(), sin.data(), half, expected.data());
        // Two products and one sum, each rounded: no instruction set may fuse them.
        for (std::size_t i = 0; i < 2 * half; ++i) {
          verdict.expect_same(out[i], expected[i], at(name, {half}));
        }
      };
      turned(&Kernels::rotate, "rotate");
      turned(&Kernels::rotate_pairs, "rotate_pairs");
    }
  }
}

void check_append(const Kernels& isa, Data& data, Verdict& verdict) {
  for (const Spice spice : kSpices) {
    for (const std::size_t dim : {2u, 10u, 16u, 34u, 64u, 80u}) {
      const Floats key = data.row(dim, dim, spice);
      const Floats value = data.row(dim, dim, spice);
      const std::size_t words = (dim + 31) / 32 * 16;
      Words keys(dim / 2 * 16, 7), expected_keys(dim / 2 * 16, 7);
      Words values(words, 7), expected_values(words, 7);
      isa.append(key.data(), value.data(), dim, keys.data(), values.data());
      kScalarKernels.append(key.data(), value.data(), dim, expected_keys.data(),
                            expected_values.data());
      for (std::size_t i = 0; i < keys.size(); ++i) {
        if (i % 16 != 0) {
          verdict.expect(keys[i] == 7, at("append writes other tokens' keys", {dim}));
          continue;
        }
        for (const unsigned half : {0u, 1u}) {
          verdict.expect_rounded(static_cast<std::uint16_t>(keys[i] >> 16 * half),
                                 static_cast<std::uint16_t>(expected_keys[i] >> 16 * half),
                                 key[i / 8 + half], at("append, key", {dim}));
        }
      }
      for (std::size_t i = 0; i < words; ++i) {
        for (const unsigned half : {0u, 1u}) {
          const std::size_t d = i / 16 * 32 + half * 16 + i % 16;
          verdict.expect_rounded(static_cast<std::uint16_t>(values[i] >> 16 * half),
                                 static_cast<std::uint16_t>(expected_values[i] >> 16 * half),
                                 d < dim ? value[d] : 0.0f, at("append, value", {dim}));
        }
      }
    }
  }
}

struct AttendCase {
  int head_dim;
  int value_dim;
  bool values_apart;  // else a value is the beginning of its key
  Spice spice;        // of the keys; values are finite, because a token that one query of a tile does
                      // not see and another does weighs 0, which times infinity is NaN
};

void check_attend_case(const Kernels& isa, const AttendCase& shape, Data& data, Verdict& verdict) {
  const std::size_t blocks = 1 + data.below(40);  // up to 640 tokens: more than one span
  const auto dim = static_cast<std::size_t>(shape.head_dim);
  const auto chunks = (static_cast<std::size_t>(shape.value_dim) + 31) / 32;
  const std::size_t key_stride = dim / 2 * kBlockTokens;
  const std::size_t value_stride = chunks * 16 * kBlockTokens;
  const Words keys_of_head = data.pairs(blocks * key_stride, shape.spice);
  const Words values_of_head = data.pairs(blocks * value_stride, Spice::kSubnormal);
  std::vector<std::int32_t> table(blocks);
  for (std::size_t b = 0; b < blocks; ++b) table[b] = static_cast<std::int32_t>(blocks - 1 - b);

  const auto queries = 1 + data.below(kMaxQueries);
  const std::size_t q_stride = dim + data.below(3);
  Floats q = data.row(queries * q_stride, queries * q_stride, Spice::kSubnormal);
  int visible[kMaxQueries];
  int hidden[kMaxQueries];
  float sinks[kMaxQueries];
  const bool has_sinks = data.below(2) != 0;
  int last = 0;
  for (std::size_t i = 0; i < queries; ++i) {
    sinks[i] = 3 * data.number();
    visible[i] = static_cast<int>(1 + data.below(blocks * kBlockTokens));
    hidden[i] = data.below(2) ? 0 : static_cast<int>(data.below(static_cast<std::size_t>(visible[i])));
    last = std::max(last, visible[i]);
  }
  // Past the last token any query sees there may be anything: no result may show it.
  Words keys = keys_of_head;
  Words values = values_of_head;
  for (auto token = static_cast<std::size_t>(last); token < blocks * kBlockTokens; ++token) {
    const auto block = static_cast<std::size_t>(table[token / kBlockTokens]);
    const std::size_t slot = token % kBlockTokens;
    for (std::size_t i = 0; i < dim / 2; ++i) keys[block * key_stride + i * 16 + slot] = 0x7FC07FC0u;
    for (std::size_t i = 0; i < chunks * 16; ++i) {
      values[block * value_stride + slot * chunks * 16 + i] = 0x7FC07FC0u;
    }
  }

  const auto attended = [&](const Kernels& kernels, std::size_t first, std::size_t count) {
    Floats scores(kMaxQueries * kSpanTokens);
    Floats sums(kMaxQueries * chunks * 32);
    std::vector<Floats> rows(count, Floats(static_cast<std::size_t>(shape.value_dim)));
    float* out[kMaxQueries] = {};
    for (std::size_t i = 0; i < count; ++i) out[i] = rows[i].data();
    AttendTile tile{};
    tile.q = q.data() + first * q_stride;
    tile.q_stride = q_stride;
    tile.visible = visible + first;
    tile.hidden = hidden + first;
    tile.queries = static_cast<int>(count);
    tile.table = table.data();
    tile.keys = keys.data();
    tile.key_stride = key_stride;
    tile.values = shape.values_apart ? values.data() : nullptr;
    tile.value_stride = value_stride;
    tile.head_dim = shape.head_dim;
    tile.value_dim = shape.value_dim;
    tile.chunks = static_cast<int>(chunks);
    tile.scale = 1.0f / std::sqrt(static_cast<float>(dim));
    tile.sinks = has_sinks ? sinks + first : nullptr;
    tile.scores = scores.data();
    tile.sums = sums.data();
    tile.out = out;
    kernels.attend(tile);
    return rows;
  };
  const std::string what = at("attend", {dim, static_cast<std::size_t>(shape.value_dim), queries,
                                         static_cast<std::size_t>(last), shape.values_apart});
  const std::vector<Floats> mine = attended(isa, 0, queries);
  const std::vector<Floats> scalar = attended(kScalarKernels, 0, queries);
  for (std::size_t i = 0; i < queries; ++i) {
    const std::vector<Floats> alone = attended(isa, i, 1);
    for (std::size_t d = 0; d < mine[i].size(); ++d) {
      verdict.expect_near(mine[i][d], scalar[i][d], 2e-5, what);  // values are below 1
      verdict.expect_same(mine[i][d], alone[0][d], what + ", a query alone");
    }
  }
}

void check_attend(const Kernels& isa, Data& data, Verdict& verdict) {
  for (const Spice spice : kSpices) {
    for (int repeat = 0; repeat < 8; ++repeat) {
      for (const int dim : {2, 10, 34, 64, 96}) {
        check_attend_case(isa, {dim, dim, true, spice}, data, verdict);
        check_attend_case(isa, {dim, std::max(1, dim - 3), false, Spice::kSubnormal}, data, verdict);
      }
    }
  }
}

void check_scan(const Kernels& isa, Data& data, Verdict& verdict) {
  for (const Spice spice : kSpices) {
    for (const std::size_t count : {1u, 15u, 16u, 17u, 97u, 256u}) {
      Floats logits = data.row(count, (count + 15) / 16 * 16, spice);
      for (std::size_t i = 0; i < count; ++i) {
        if (data.below(4) == 0) logits[i] = 0.5f;  // ties
      }
      for (std::size_t i = count; i < logits.size(); ++i) logits[i] = kNan;  // does not exist
      ArgmaxLanes mine{};
      for (float& best : mine.best) best = -kInfinity;
      ArgmaxLanes scalar = mine;
      isa.scan(logits.data(), count, 48, &mine);
      kScalarKernels.scan(logits.data(), count, 48, &scalar);
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        verdict.expect_same(mine.best[lane], scalar.best[lane], at("scan, best", {count}));
        verdict.expect_same(mine.id[lane], scalar.id[lane], at("scan, id", {count}));
        verdict.expect(std::isnan(mine.poison[lane]) == std::isnan(scalar.poison[lane]),
                       at("scan, poison", {count}));
      }
    }
  }
}

bool agrees(const Kernels& isa, std::uint64_t seed) {
  Data data(seed);
  Verdict verdict(isa.name);
  check_product<Bf16Product>(isa, data, verdict);
  check_product<Fp16Product>(isa, data, verdict);
  check_mxfp4(isa, data, verdict);
  check_norm(isa, data, verdict);
  check_round(isa, data, verdict);
  check_elementwise(isa, data, verdict);
  check_rotation(isa, data, verdict);
  check_append(isa, data, verdict);
  check_attend(isa, data, verdict);
  check_scan(isa, data, verdict);
  return verdict.conclude();
}

int run(int count, char** arguments) {
  std::uint64_t seed = 1;
  bool good = true;
  for (int i = 1; i < count; ++i) {
    if (std::strcmp(arguments[i], "--seed") == 0 && i + 1 < count) {
      seed = std::strtoull(arguments[++i], nullptr, 10);
    } else if (find_kernels(arguments[i]) == nullptr) {
      std::printf("%s does not run here\n", arguments[i]);
      good = false;
    }
  }
  for (const std::string& name : available_isas()) good &= agrees(*find_kernels(name.c_str()), seed);
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace headrace

int main(int count, char** arguments) { return headrace::run(count, arguments); }
