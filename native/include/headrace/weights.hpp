// Packed matrices: the layout, the packing, and the way back.
//
// A matrix [outputs, inputs] is cut into blocks of 16 outputs. Blocks are dealt to workers in
// contiguous ranges, each range into panels of up to kMaxPanel blocks, and a panel is stored as
//
//     [inputs / 2][blocks][16 outputs][2 inputs]  bf16
//
// or, as fp16 is widened and multiplied input by input,
//
//     [inputs][blocks][16 outputs]  fp16
//
// or, of MXFP4, whose 32 inputs share a scale,
//
//     [inputs / 32]{[blocks][16 outputs] scales, [4][blocks][16 outputs] words}  mxfp4
//
// where a word has the codes of four pairs of inputs: in its lower half those of the pairs' first
// inputs, in the upper half of the second ones. All of it
// so that one worker reads one contiguous stream, and one 64-byte vector of bf16 is 16 outputs times
// a pair of inputs: what a bf16 pair dot product takes. Odd input counts and part-filled blocks are
// padded with zeros. A matrix may stack several checkpoint tensors (its sources) in any block
// order: q, k and v one after the other, gate and up block by block in turn.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "headrace/arena.hpp"
#include "headrace/platform.hpp"

namespace headrace {

// What the 16 bits of a weight are, or that it has four.
enum class Format { kBf16, kFp16, kMxfp4 };

// 16 outputs of one source.
struct Block {
  std::uint32_t source;
  std::uint32_t first_row;  // in the source; a multiple of kLanes
};

// Neighbouring blocks of a panel that are neighbours in one source, too.
struct Run {
  std::uint32_t source;
  std::size_t first_row;
  std::size_t panel_block;  // where the run starts in the panel
  std::size_t blocks;
};

struct Panel {
  std::uint32_t* words = nullptr;
  std::uint16_t* halves() const { return reinterpret_cast<std::uint16_t*>(words); }
  std::size_t first_block = 0;  // in the matrix
  std::size_t blocks = 0;
  std::vector<Run> runs;
};

class Matrix {
 public:
  // `source_rows`: outputs of each source; `unit`: blocks that must stay with one worker (those of
  // a kv head, say); `grain`: blocks that must stay in one panel (2 for gate and up); `apart`: no
  // panel holds blocks of two sources. Throws std::invalid_argument unless `blocks` holds every
  // block once.
  Matrix(std::vector<std::size_t> source_rows, std::size_t inputs, std::vector<Block> blocks,
         std::size_t unit, std::size_t grain, bool apart, Format format, std::size_t workers,
         std::size_t max_panel);

  Format format() const { return format_; }
  std::size_t inputs() const { return inputs_; }
  std::size_t grain() const { return grain_; }
  bool apart() const { return apart_; }
  std::size_t pairs() const { return (inputs_ + 1) / 2; }
  std::size_t sources() const { return source_rows_.size(); }
  std::size_t source_rows(std::size_t source) const { return source_rows_[source]; }
  const std::vector<Block>& blocks() const { return blocks_; }
  const std::vector<Panel>& panels(std::size_t worker) const { return panels_[worker]; }
  std::size_t groups() const { return inputs_ / kMxfp4Inputs; }
  std::size_t words(std::size_t worker) const;   // 32-bit words of this worker's panels
  std::size_t outputs(std::size_t worker) const;  // of this worker's panels, padding included
  // Whether reading one takes so long that a worker that is done might as well help.
  bool has_large_panels() const;
  std::size_t owner(std::size_t source, std::size_t row) const {
    return places_[source][row / kLanes].worker;
  }

  // Says where worker's panels lie: `words(worker)` words from `memory` on.
  void place(std::size_t worker, std::uint32_t* memory);
  // Copies worker's share of source [rows, inputs], row-major, into its panels.
  void pack(std::size_t worker, std::size_t source, const std::uint16_t* values);
  // The same for MXFP4: codes [rows, inputs / 2], two in a byte, and scales [rows, inputs / 32].
  void pack_mxfp4(std::size_t worker, std::size_t source, const std::uint8_t* codes,
                  const std::uint8_t* scales);
  // The inverse, over all workers: the exact bits that were packed.
  void unpack(std::size_t source, std::uint16_t* values) const;
  void unpack_mxfp4(std::size_t source, std::uint8_t* codes, std::uint8_t* scales) const;
  // Output `row` of source 0 as `inputs()` float32 values.
  void gather(std::size_t row, std::size_t first_input, std::size_t end_input, float* out) const;

 private:
  std::size_t words(const Panel& panel) const;
  // Of MXFP4, for block `b` and the inputs of a group: the scales, a byte each, and the words with
  // the codes of every fourth of the inputs.
  std::uint8_t* scales(const Panel& panel, std::size_t group, std::size_t b) const;
  std::uint32_t* codes(const Panel& panel, std::size_t group, std::size_t b,
                       std::size_t fourth) const;
  void add_panels(std::size_t worker, std::size_t begin, std::size_t end, std::size_t max_panel);

  struct Place {
    std::uint32_t worker;
    std::uint32_t panel;
    std::uint32_t block;
  };
  // Copies `real` rows of a source into block `b` of a panel, and zeros after them.
  void pack_pairs(const Panel& panel, std::size_t b, const std::uint16_t* rows,
                  std::size_t real) const;
  void pack_fp16(const Panel& panel, std::size_t b, const std::uint16_t* rows,
                 std::size_t real) const;
  // The bits of input `i` for `lane` of block `b`.
  std::uint16_t bits(const Panel& panel, std::size_t b, std::size_t lane, std::size_t i) const;

  std::vector<std::size_t> source_rows_;
  std::size_t inputs_;
  std::size_t grain_;
  bool apart_;
  Format format_;
  std::vector<Block> blocks_;
  std::vector<std::vector<Panel>> panels_;  // [worker]
  std::vector<std::vector<Place>> places_;  // [source][row / 16]
};

}  // namespace headrace
