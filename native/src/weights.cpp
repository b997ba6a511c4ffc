#include "headrace/weights.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "fp16.hpp"

namespace headrace {

namespace {

// Cuts `units` into contiguous shares that differ by one at most; returns the share's start.
std::size_t share_start(std::size_t units, std::size_t shares, std::size_t index) {
  return units / shares * index + std::min(index, units % shares);
}

std::vector<Run> runs_of(const std::vector<Block>& blocks, std::size_t first, std::size_t count) {
  std::vector<Run> runs;
  for (std::size_t i = 0; i < count; ++i) {
    const Block& block = blocks[first + i];
    if (!runs.empty() && runs.back().source == block.source &&
        runs.back().first_row + runs.back().blocks * kLanes == block.first_row) {
      ++runs.back().blocks;
    } else {
      runs.push_back({block.source, block.first_row, i, 1});
    }
  }
  return runs;
}

}  // namespace

Matrix::Matrix(std::vector<std::size_t> source_rows, std::size_t inputs, std::vector<Block> blocks,
               std::size_t unit, std::size_t grain, bool apart, Format format, std::size_t workers,
               std::size_t max_panel)
    : source_rows_(std::move(source_rows)),
      inputs_(inputs),
      grain_(grain),
      apart_(apart),
      format_(format),
      blocks_(std::move(blocks)) {
  std::size_t expected = 0;
  for (const std::size_t rows : source_rows_) {
    places_.emplace_back((rows + kLanes - 1) / kLanes);
    expected += places_.back().size();
  }
  if (inputs == 0 || grain == 0 || grain > max_panel || (apart && grain > 1) || unit == 0 || unit % grain != 0 ||
      blocks_.size() != expected || blocks_.size() % unit != 0 ||
      (format == Format::kMxfp4 && inputs % kMxfp4Inputs != 0)) {
    throw std::invalid_argument("matrix: sizes do not fit");
  }
  std::vector<std::vector<bool>> seen;
  for (const auto& places : places_) seen.emplace_back(places.size(), false);
  for (const Block& block : blocks_) {
    if (block.source >= seen.size() || block.first_row % kLanes != 0 ||
        block.first_row / kLanes >= seen[block.source].size() ||
        seen[block.source][block.first_row / kLanes]) {
      throw std::invalid_argument("matrix: a block is unknown or stands twice");
    }
    seen[block.source][block.first_row / kLanes] = true;
  }
  const std::size_t units = blocks_.size() / unit;
  for (std::size_t worker = 0; worker < workers; ++worker) {
    panels_.emplace_back();
    const std::size_t end = share_start(units, workers, worker + 1) * unit;
    std::size_t begin = share_start(units, workers, worker) * unit;
    for (std::size_t i = begin; apart && i < end; ++i) {
      if (blocks_[i].source == blocks_[begin].source) continue;
      add_panels(worker, begin, i, max_panel);
      begin = i;
    }
    add_panels(worker, begin, end, max_panel);
  }
}

// Cuts blocks begin..end - 1 into panels that differ by one grain at most.
void Matrix::add_panels(std::size_t worker, std::size_t begin, std::size_t end,
                        std::size_t max_panel) {
  const std::size_t grains_per_panel = max_panel / grain_;
  const std::size_t grains = (end - begin) / grain_;
  const std::size_t panels = (grains + grains_per_panel - 1) / grains_per_panel;
  std::vector<Panel>& mine = panels_[worker];
  for (std::size_t i = 0; i < panels; ++i) {
    Panel panel;
    panel.first_block = begin + share_start(grains, panels, i) * grain_;
    panel.blocks = begin + share_start(grains, panels, i + 1) * grain_ - panel.first_block;
    panel.runs = runs_of(blocks_, panel.first_block, panel.blocks);
    for (std::size_t b = 0; b < panel.blocks; ++b) {
      const Block& block = blocks_[panel.first_block + b];
      places_[block.source][block.first_row / kLanes] = {static_cast<std::uint32_t>(worker),
                                                         static_cast<std::uint32_t>(mine.size()),
                                                         static_cast<std::uint32_t>(b)};
    }
    mine.push_back(std::move(panel));
  }
}

std::size_t Matrix::words(const Panel& panel) const {
  if (format_ == Format::kMxfp4) return groups() * panel.blocks * kMxfp4GroupWords;
  return pairs() * panel.blocks * kLanes;
}

std::size_t Matrix::words(std::size_t worker) const {
  std::size_t total = 0;
  for (const Panel& panel : panels_[worker]) total += words(panel);
  return total;
}

std::size_t Matrix::outputs(std::size_t worker) const {
  std::size_t blocks = 0;
  for (const Panel& panel : panels_[worker]) blocks += panel.blocks;
  return blocks * kLanes;
}

bool Matrix::has_large_panels() const {
  const std::vector<Panel>& panels = panels_[0];
  return !panels.empty() && words(panels[0]) * 4 >= kSharedPanelBytes;
}

void Matrix::place(std::size_t worker, std::uint32_t* memory) {
  for (Panel& panel : panels_[worker]) {
    panel.words = memory;
    memory += words(panel);
  }
}

void Matrix::pack(std::size_t worker, std::size_t source, const std::uint16_t* values) {
  const std::size_t rows = source_rows_[source];
  for (const Panel& panel : panels_[worker]) {
    for (std::size_t b = 0; b < panel.blocks; ++b) {
      const Block& block = blocks_[panel.first_block + b];
      if (block.source != source) continue;
      const std::size_t real = std::min(kLanes, rows - block.first_row);
      const std::uint16_t* from = values + block.first_row * inputs_;
      if (format_ == Format::kFp16) {
        pack_fp16(panel, b, from, real);
      } else {
        pack_pairs(panel, b, from, real);
      }
    }
  }
}

std::uint8_t* Matrix::scales(const Panel& panel, std::size_t group, std::size_t b) const {
  std::uint32_t* start = panel.words + group * panel.blocks * kMxfp4GroupWords;
  return reinterpret_cast<std::uint8_t*>(start + b * kMxfp4ScaleWords);
}

std::uint32_t* Matrix::codes(const Panel& panel, std::size_t group, std::size_t b,
                             std::size_t fourth) const {
  std::uint32_t* start = panel.words + group * panel.blocks * kMxfp4GroupWords;
  return start + panel.blocks * kMxfp4ScaleWords + (fourth * panel.blocks + b) * kLanes;
}

void Matrix::pack_mxfp4(std::size_t worker, std::size_t source, const std::uint8_t* from_codes,
                        const std::uint8_t* from_scales) {
  constexpr std::size_t kBytes = kMxfp4Inputs / 2;
  const std::size_t rows = source_rows_[source];
  for (const Panel& panel : panels_[worker]) {
    for (std::size_t b = 0; b < panel.blocks; ++b) {
      const Block& block = blocks_[panel.first_block + b];
      if (block.source != source) continue;
      for (std::size_t g = 0; g < groups(); ++g) {
        std::uint8_t* to_scales = scales(panel, g, b);
        for (std::size_t lane = 0; lane < kLanes; ++lane) {
          const std::size_t row = block.first_row + lane;
          const bool real = row < rows;
          to_scales[lane] = real ? from_scales[row * groups() + g] : 0;
          const std::uint8_t* bytes = real ? from_codes + (row * groups() + g) * kBytes : nullptr;
          for (std::size_t four = 0; four < kBytes / 4; ++four) {
            std::uint32_t word = 0;
            for (std::size_t i = 0; real && i < 4; ++i) {
              const std::uint32_t byte = bytes[4 * four + i];
              word |= (byte & 15u) << 4 * i | (byte >> 4) << (16 + 4 * i);
            }
            codes(panel, g, b, four)[lane] = word;
          }
        }
      }
    }
  }
}

void Matrix::unpack_mxfp4(std::size_t source, std::uint8_t* to_codes,
                          std::uint8_t* to_scales) const {
  constexpr std::size_t kBytes = kMxfp4Inputs / 2;
  for (std::size_t row = 0; row < source_rows_[source]; ++row) {
    const Place& place = places_[source][row / kLanes];
    const Panel& panel = panels_[place.worker][place.panel];
    const std::size_t lane = row % kLanes;
    for (std::size_t g = 0; g < groups(); ++g) {
      to_scales[row * groups() + g] = scales(panel, g, place.block)[lane];
      for (std::size_t i = 0; i < kBytes; ++i) {
        const std::uint32_t word = codes(panel, g, place.block, i / 4)[lane];
        const std::uint32_t first = word >> i % 4 * 4 & 15u;
        const std::uint32_t second = word >> (16 + i % 4 * 4) & 15u;
        to_codes[(row * groups() + g) * kBytes + i] =
            static_cast<std::uint8_t>(first | second << 4);
      }
    }
  }
}

void Matrix::pack_pairs(const Panel& panel, std::size_t b, const std::uint16_t* rows,
                        std::size_t real) const {
  // Pairs of a row that are copied before the next row's: a cache line of them. Rows often lie a
  // power of two apart, where sixteen of them push each other out of the first cache.
  constexpr std::size_t kAtOnce = 16;
  std::uint32_t* to = panel.words + b * kLanes;
  const std::size_t step = panel.blocks * kLanes;
  const std::size_t whole = inputs_ / 2;
  for (std::size_t first = 0; first < whole; first += kAtOnce) {
    const std::size_t end = std::min(first + kAtOnce, whole);
    for (std::size_t lane = 0; lane < real; ++lane) {
      const std::uint16_t* row = rows + lane * inputs_;
      for (std::size_t pair = first; pair < end; ++pair) {
        std::memcpy(to + pair * step + lane, row + 2 * pair, sizeof *to);
      }
    }
  }
  if (whole < pairs()) {
    for (std::size_t lane = 0; lane < real; ++lane) {
      to[whole * step + lane] = rows[lane * inputs_ + 2 * whole];
    }
  }
  for (std::size_t pair = 0; real < kLanes && pair < pairs(); ++pair) {
    std::fill(to + pair * step + real, to + pair * step + kLanes, 0);
  }
}

void Matrix::pack_fp16(const Panel& panel, std::size_t b, const std::uint16_t* rows,
                       std::size_t real) const {
  std::uint16_t* to = panel.halves() + b * kLanes;
  for (std::size_t i = 0; i < inputs_; ++i, to += panel.blocks * kLanes) {
    for (std::size_t lane = 0; lane < real; ++lane) to[lane] = rows[lane * inputs_ + i];
    for (std::size_t lane = real; lane < kLanes; ++lane) to[lane] = 0;
  }
}

std::uint16_t Matrix::bits(const Panel& panel, std::size_t b, std::size_t lane,
                           std::size_t i) const {
  if (format_ == Format::kFp16) {
    return panel.halves()[(i * panel.blocks + b) * kLanes + lane];
  }
  const std::uint32_t word = panel.words[(i / 2 * panel.blocks + b) * kLanes + lane];
  return static_cast<std::uint16_t>(i % 2 == 0 ? word : word >> 16);
}

void Matrix::unpack(std::size_t source, std::uint16_t* values) const {
  for (std::size_t row = 0; row < source_rows_[source]; ++row) {
    const Place& place = places_[source][row / kLanes];
    const Panel& panel = panels_[place.worker][place.panel];
    for (std::size_t i = 0; i < inputs_; ++i) {
      values[row * inputs_ + i] = bits(panel, place.block, row % kLanes, i);
    }
  }
}

void Matrix::gather(std::size_t row, std::size_t first_input, std::size_t end_input,
                    float* out) const {
  const Place& place = places_[0][row / kLanes];
  const Panel& panel = panels_[place.worker][place.panel];
  for (std::size_t i = first_input; i < end_input; ++i) {
    const std::uint16_t half = bits(panel, place.block, row % kLanes, i);
    if (format_ == Format::kFp16) {
      out[i] = widen_fp16(half);
    } else {
      const std::uint32_t wide = static_cast<std::uint32_t>(half) << 16;
      std::memcpy(out + i, &wide, sizeof wide);
    }
  }
}

}  // namespace headrace
