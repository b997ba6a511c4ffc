// What may be declared, and what a batch must look like: nothing past these checks reads out of
// bounds.
#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "headrace/machine.hpp"

namespace headrace {

namespace {

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

void require_in(std::int64_t value, std::size_t end, const char* what, std::size_t row) {
  if (value < 0 || static_cast<std::size_t>(value) >= end) {
    throw std::invalid_argument("row " + std::to_string(row) + ": " + what + " " +
                                std::to_string(value) + " is outside 0.." +
                                std::to_string(static_cast<std::int64_t>(end) - 1));
  }
}

}  // namespace

void Machine::check(const std::optional<NormInput>& norm, Id inp) const {
  require(inp < buffers_.size(), "unknown input buffer");
  if (norm) {
    require(norm->weight < vectors_.size() && vectors_[norm->weight].width == buffers_[inp].width,
            "norm: the weight does not fit its input");
  }
}

void Machine::check(const EmbedPhase& phase) const {
  require(phase.out < buffers_.size() && phase.matrix < matrices_.size(), "embed: unknown id");
  const Matrix& table = matrices_[phase.matrix];
  require(table.format() != Format::kMxfp4, "embed: the table is MXFP4");
  require(table.inputs() == buffers_[phase.out].width && table.source_rows(0) == geometry_.vocab,
          "embed: the table does not fit");
}

void Machine::check(const NormPhase& phase) const {
  require(phase.inp < buffers_.size() && phase.norm.weight < vectors_.size() && phase.heads > 0 &&
              (vectors_[phase.norm.weight].width + phase.rest) * phase.heads ==
                  buffers_[phase.inp].width,
          "norm: the weight does not fit its input");
  require(phase.out < buffers_.size() && buffers_[phase.out].width == buffers_[phase.inp].width,
          "norm: input and output differ in width");
}

void Machine::check(const LinearPhase& phase) const {
  check(phase.norm, phase.inp);
  require(phase.matrix < matrices_.size(), "linear: unknown matrix");
  const Matrix& matrix = matrices_[phase.matrix];
  require(matrix.inputs() == buffers_[phase.inp].width, "linear: the input does not fit");
  const bool gated = is_gated(phase.finish);
  require(phase.outs.size() == (gated ? 1 : matrix.sources()), "linear: one output per source");
  require(phase.biases.size() == matrix.sources(), "linear: one bias, or none, per source");
  for (std::size_t s = 0; s < matrix.sources(); ++s) {
    const Id out = phase.outs[gated ? 0 : s];
    require(out < buffers_.size() && buffers_[out].width == matrix.source_rows(s),
            "linear: an output does not fit");
    const auto& bias = phase.biases[s];
    require(!bias || (*bias < vectors_.size() && vectors_[*bias].width == matrix.source_rows(s)),
            "linear: a bias does not fit");
  }
  if (gated) {
    require(matrix.sources() == 2, "gated linear: two sources");
    const std::vector<Block>& blocks = matrix.blocks();
    for (std::size_t b = 0; b < blocks.size(); b += 2) {
      require(blocks[b].source == 0 && blocks[b + 1].source == 1 &&
                  blocks[b].first_row == b / 2 * kLanes &&
                  blocks[b + 1].first_row == b / 2 * kLanes && matrix.grain() == 2,
              "gated linear: gate and up blocks must alternate");
    }
  }
  if (phase.tap) {
    require(buffers_[phase.outs[0]].width == geometry_.hidden, "tap: not the residual stream");
  }
}

void Machine::check(const HeadLinearPhase& phase) const {
  require(phase.matrix < matrices_.size() && phase.inp < buffers_.size() &&
              phase.out < buffers_.size() && phase.inp != phase.out,
          "head linear: unknown id, or one buffer for input and output");
  const Matrix& matrix = matrices_[phase.matrix];
  const std::size_t heads = matrix.sources();
  const std::size_t outputs = matrix.source_rows(0);
  const std::size_t inp = buffers_[phase.inp].width / heads;
  const std::size_t out = buffers_[phase.out].width / heads;
  require(matrix.apart(), "head linear: the heads' matrices must stay apart");
  const std::vector<Block>& blocks = matrix.blocks();
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    const bool first = b == 0 || blocks[b].source != blocks[b - 1].source;
    require(matrix.source_rows(blocks[b].source) == outputs &&
                blocks[b].first_row == (first ? 0 : blocks[b - 1].first_row + kLanes),
            "head linear: the heads' matrices differ, or their blocks do not follow one another");
  }
  require(inp * heads == buffers_[phase.inp].width && out * heads == buffers_[phase.out].width &&
              inp >= matrix.inputs() && out >= outputs && inp - matrix.inputs() == out - outputs,
          "head linear: input or output do not fit");
}

void Machine::check(const AttentionPhase& phase) const {
  require(phase.layer < layers_.size(), "attention: unknown layer");
  require(phase.window > 0, "attention: a window holds at least the row's own token");
  const KvLayer& layer = layers_[phase.layer];
  require(phase.v.has_value() == (phase.k.has_value() && !layer.shared()) &&
              phase.q.has_value() == phase.out.has_value(),
          "attention: k and v, unless keys hold the values, and q and out go together");
  for (const auto& buffer : {phase.k, phase.v}) {
    require(!buffer || (*buffer < buffers_.size() &&
                        buffers_[*buffer].width == layer.kv_heads * layer.head_dim),
            "attention: k or v does not fit");
  }
  require(!phase.q || (phase.heads > 0 && phase.heads % layer.kv_heads == 0),
          "attention: query heads do not share kv heads evenly");
  require(!phase.q || (*phase.q < buffers_.size() && *phase.out < buffers_.size() &&
                       buffers_[*phase.q].width == phase.heads * layer.head_dim &&
                       buffers_[*phase.out].width == phase.heads * layer.value_dim),
          "attention: q or its output does not fit");
  require(!phase.sinks || (phase.q && *phase.sinks < vectors_.size() &&
                           vectors_[*phase.sinks].width == phase.heads),
          "attention: the sinks do not fit");
  for (const auto& rope : {phase.rope_q, phase.rope_k}) {
    require(!rope || (*rope < ropes_.size() && ropes_[*rope].end() <= layer.head_dim),
            "attention: the rotation does not fit");
  }
}

void Machine::check(const RopePhase& phase) const {
  require(phase.buffer < buffers_.size() && phase.rope < ropes_.size(), "rope: unknown id");
  const std::size_t width = buffers_[phase.buffer].width;
  require(phase.heads > 0 && width % phase.heads == 0 &&
              ropes_[phase.rope].end() <= width / phase.heads,
          "rope: heads and frequencies do not fit the buffer");
}

void Machine::check(const ActivatePhase& phase) const {
  require(is_gated(phase.finish), "activate: unknown function");
  for (const Id id : {phase.gate, phase.up, phase.out}) {
    require(id < buffers_.size() && buffers_[id].width == buffers_[phase.gate].width,
            "activate: buffers differ in width");
  }
}

void Machine::check(const AddPhase& phase) const {
  require(phase.inp < buffers_.size() && phase.out < buffers_.size() &&
              buffers_[phase.inp].width == buffers_[phase.out].width,
          "add: buffers differ in width");
}

void Machine::check(const TapPhase& phase) const {
  require(phase.inp < buffers_.size() && buffers_[phase.inp].width == geometry_.hidden,
          "tap: not the residual stream");
}

void Machine::check(const HeadPhase& phase) const {
  check(phase.norm, phase.inp);
  require(phase.matrix < matrices_.size() &&
              matrices_[phase.matrix].inputs() == buffers_[phase.inp].width &&
              matrices_[phase.matrix].sources() == 1 &&
              matrices_[phase.matrix].source_rows(0) == geometry_.vocab,
          "head: the matrix does not fit");
}

void Machine::check(const StepInput& input) const {
  const std::size_t rows = input.token_ids.size();
  const std::size_t samples = input.sample_rows.size();
  require(input.positions.size() == rows && input.row_sequence.size() == rows,
          "token_ids, positions and row_sequence differ in length");
  require(input.temperature.size() == samples && input.top_k.size() == samples &&
              input.top_p.size() == samples && input.min_p.size() == samples &&
              input.seed.size() == samples,
          "sample_rows and the sampling parameters differ in length");
  check_bias(input);
  check_masks(input);
  check_steps(input);
  const std::size_t more = input.steps - 1;  // positions a row goes on for
  const std::size_t sequences =
      input.table_width == 0 ? 0 : input.block_tables.size() / input.table_width;
  for (std::size_t row = 0; row < rows; ++row) {
    require_in(input.token_ids[row], geometry_.vocab, "token id", row);
    require_in(input.positions[row], geometry_.max_positions - more, "position", row);
    require_in(input.row_sequence[row], sequences, "sequence", row);
    const auto block = (static_cast<std::size_t>(input.positions[row]) + more) / kBlockTokens;
    require_in(static_cast<std::int64_t>(block), input.table_width, "block table entry", row);
    // The blocks before the row's own were checked with the row before it, if that is of the same
    // sequence and in the place the contract gives it.
    std::size_t checked = 0;
    if (row > 0 && input.row_sequence[row] == input.row_sequence[row - 1] &&
        input.positions[row] >= input.positions[row - 1]) {
      checked = static_cast<std::size_t>(input.positions[row - 1]) / kBlockTokens;
    }
    const auto sequence = static_cast<std::size_t>(input.row_sequence[row]);
    const std::int32_t* table = input.block_tables.data() + sequence * input.table_width;
    for (std::size_t i = checked; i <= block; ++i) {
      require_in(table[i], geometry_.num_blocks, "block", row);
    }
  }
  for (std::size_t m = 0; m < samples; ++m) {
    require_in(input.sample_rows[m], rows, "sample row", m);
  }
  for (const std::int32_t tap : input.taps) {
    const bool known = std::find(tap_layers_.begin(), tap_layers_.end(), tap) != tap_layers_.end();
    if (!known) throw std::invalid_argument("layer " + std::to_string(tap) + " has no tap");
  }
}

void Machine::check_steps(const StepInput& input) const {
  const std::size_t rows = input.token_ids.size();
  require(input.steps > 0 && input.steps <= geometry_.max_positions, "steps are out of range");
  require(input.tokens.size() == input.steps * input.sample_rows.size(),
          "tokens must be [steps, M]");
  if (input.steps == 1) return;
  require(input.sample_rows.size() == rows && input.bias_ids.empty() && input.mask_rows.empty() &&
              input.taps.empty() && input.logits == nullptr,
          "several steps: every row is sampled, without bias, masks, taps and logits");
  for (std::size_t row = 0; row < rows; ++row) {
    require(static_cast<std::size_t>(input.sample_rows[row]) == row,
            "several steps: rows are sampled in order");
    require(row == 0 || input.row_sequence[row] != input.row_sequence[row - 1],
            "several steps: each sequence has one row");
  }
}

void Machine::check_masks(const StepInput& input) const {
  if (input.mask_rows.empty()) return;
  const std::size_t words = (geometry_.vocab + 31) / 32;
  require(input.mask_rows.size() == input.sample_rows.size() && input.mask_words == words,
          "masks do not fit rows and vocabulary");
  const auto masks = static_cast<std::int64_t>(input.mask_bits.size() / words);
  for (std::size_t m = 0; m < input.mask_rows.size(); ++m) {
    const std::int32_t mask = input.mask_rows[m];
    if (mask == -1) continue;
    require(mask >= 0 && mask < masks, "a mask that is not there");
    if (input.await_masks) continue;  // it is being made
    const auto bits = input.mask_bits.subspan(static_cast<std::size_t>(mask) * words, words);
    bool allows = std::any_of(bits.begin(), bits.end() - 1, [](auto word) { return word != 0; });
    const std::uint32_t beyond = geometry_.vocab % 32 == 0 ? 0 : ~0u << geometry_.vocab % 32;
    allows |= (bits.back() & ~beyond) != 0;
    require(allows, "a mask allows no token");
  }
}

void Machine::check_bias(const StepInput& input) const {
  constexpr float kMaxBias = 1e30f;  // backends.base.MAX_BIAS
  const auto& offsets = input.bias_offsets;
  const std::size_t entries = input.bias_ids.size();
  require(input.bias_values.size() == entries, "bias ids and values differ in length");
  if (offsets.empty() && entries == 0) return;
  require(offsets.size() == input.sample_rows.size() + 1 && offsets.front() == 0 &&
              offsets.back() == static_cast<std::int64_t>(entries) &&
              std::is_sorted(offsets.begin(), offsets.end()),
          "bias offsets do not fit rows and ids");
  for (std::size_t m = 0; m + 1 < offsets.size(); ++m) {
    std::int32_t before = -1;
    std::size_t banned = 0;
    for (auto b = static_cast<std::size_t>(offsets[m]);
         b < static_cast<std::size_t>(offsets[m + 1]); ++b) {
      require_in(input.bias_ids[b], geometry_.vocab, "bias id", m);
      require(input.bias_ids[b] > before, "bias ids must rise within a row");
      before = input.bias_ids[b];
      const bool is_ban = input.bias_values[b] == -std::numeric_limits<float>::infinity();
      require(is_ban || std::fabs(input.bias_values[b]) <= kMaxBias, "a bias is out of range");
      banned += is_ban;
    }
    require(banned < geometry_.vocab, "every token of a row is banned");
  }
}

}  // namespace headrace
