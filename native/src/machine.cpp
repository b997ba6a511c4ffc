// Declaring, loading and stepping; the phases themselves are in machine_*.cpp.
#include "headrace/machine.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <new>
#include <stdexcept>
#include <type_traits>

namespace headrace {

namespace {

// Whether a phase that is neither linear nor attention reads or writes `buffer`.
bool touches(const Phase& phase, Id buffer) {
  return std::visit(
      [buffer](const auto& kind) {
        using Kind = std::decay_t<decltype(kind)>;
        if constexpr (std::is_same_v<Kind, EmbedPhase>) return kind.out == buffer;
        if constexpr (std::is_same_v<Kind, NormPhase> || std::is_same_v<Kind, AddPhase> ||
                      std::is_same_v<Kind, HeadLinearPhase> || std::is_same_v<Kind, RoutePhase>) {
          return kind.inp == buffer || kind.out == buffer;
        }
        if constexpr (std::is_same_v<Kind, RopePhase>) return kind.buffer == buffer;
        if constexpr (std::is_same_v<Kind, ActivatePhase>) {
          return kind.gate == buffer || kind.up == buffer || kind.out == buffer;
        }
        if constexpr (std::is_same_v<Kind, ExpertsUpPhase> ||
                      std::is_same_v<Kind, ExpertsDownPhase>) {
          return kind.inp == buffer || kind.routed == buffer || kind.out == buffer;
        }
        if constexpr (std::is_same_v<Kind, TapPhase> || std::is_same_v<Kind, HeadPhase>) {
          return kind.inp == buffer;
        }
        return false;
      },
      phase);
}

}  // namespace

Machine::Machine(const Kernels& kernels, int workers, Geometry geometry)
    : kernels_(kernels), geometry_(geometry), workers_(workers) {}

Id Machine::add_buffer(std::size_t width) {
  buffers_.push_back({width, round_up(width, kLanes), nullptr, nullptr});
  return buffers_.size() - 1;
}

Id Machine::add_vector(std::span<const float> values) {
  Vector vector;
  vector.width = values.size();
  vector.values.assign(round_up(values.size(), kLanes), 0.0f);
  std::copy(values.begin(), values.end(), vector.values.begin());
  vectors_.push_back(std::move(vector));
  return vectors_.size() - 1;
}

Id Machine::add_rope(std::span<const float> frequencies, std::size_t first, bool interleaved,
                     float scale) {
  Rope rope;
  rope.frequencies.assign(frequencies.begin(), frequencies.end());
  rope.first = first;
  rope.interleaved = interleaved;
  rope.scale = scale;
  rope.cos.resize(kMaxRows * frequencies.size());
  rope.sin.resize(kMaxRows * frequencies.size());
  ropes_.push_back(std::move(rope));
  return ropes_.size() - 1;
}

Id Machine::add_layer(std::size_t kv_heads, std::size_t head_dim,
                      std::optional<std::size_t> value_dim) {
  if (value_dim && (*value_dim == 0 || *value_dim > head_dim)) {
    throw std::invalid_argument("layer: a value is longer than the key it lies in");
  }
  const std::size_t values = value_dim.value_or(head_dim);
  const std::size_t chunks = (values + 31) / 32;
  layers_.push_back({kv_heads, head_dim, values, chunks, head_dim / 2 * kLanes,
                     value_dim ? 0 : kBlockTokens * chunks * kLanes, nullptr, nullptr});
  return layers_.size() - 1;
}

Id Machine::add_matrix(std::vector<std::size_t> source_rows, std::size_t inputs,
                       std::vector<Block> blocks, std::size_t unit, std::size_t grain, bool apart,
                       Format format) {
  matrices_.emplace_back(std::move(source_rows), inputs, std::move(blocks), unit, grain, apart,
                         format,
                         static_cast<std::size_t>(workers()), kernels_.max_panel);
  return matrices_.size() - 1;
}

void Machine::add_phase(Phase phase) {
  std::visit([this](const auto& kind) { check(kind); }, phase);
  if (const auto* linear = std::get_if<LinearPhase>(&phase); linear != nullptr && linear->tap) {
    tap_layers_.push_back(*linear->tap);
  }
  if (const auto* tap = std::get_if<TapPhase>(&phase)) tap_layers_.push_back(tap->layer);
  if (auto* attention = std::get_if<AttentionPhase>(&phase)) join_attention(*attention);
  phases_.push_back(std::move(phase));
}

void Machine::join_attention(AttentionPhase& phase) {
  auto* before = phases_.empty() ? nullptr : std::get_if<LinearPhase>(&phases_.back());
  if (before == nullptr || before->finish != Finish::kStore || !phase.v || !phase.q) return;
  if (before->outs != std::vector<Id>{*phase.q, *phase.k, *phase.v} || *phase.out == before->inp) {
    return;
  }
  const Matrix& matrix = matrices_[before->matrix];
  const KvLayer& layer = layers_[phase.layer];
  const std::size_t group = phase.heads / layer.kv_heads;
  std::vector<std::size_t> owners;
  for (std::size_t head = 0; head < layer.kv_heads; ++head) {
    const std::size_t owner = matrix.owner(1, head * layer.head_dim);
    for (std::size_t source = 0; source < 3; ++source) {
      const std::size_t rows = layer.head_dim * (source == 0 ? group : 1);
      for (std::size_t row = head * rows; row < (head + 1) * rows; ++row) {
        if (matrix.owner(source, row) != owner) return;
      }
    }
    owners.push_back(owner);
  }
  phase.owners = std::move(owners);
  before->joined = true;
}

// Whether every writer can write bf16 and every reader, a product with a bf16 matrix, wants it.
bool Machine::only_feeds_products(Id buffer) const {
  bool written = false;
  for (const Phase& phase : phases_) {
    if (const auto* linear = std::get_if<LinearPhase>(&phase)) {
      const bool gated = is_gated(linear->finish);
      const bool out =
          std::find(linear->outs.begin(), linear->outs.end(), buffer) != linear->outs.end();
      const bool exact = linear->norm || matrices_[linear->matrix].format() == Format::kFp16;
      if ((linear->inp == buffer && exact) || (out && !gated)) return false;
      written |= out;
    } else if (const auto* attention = std::get_if<AttentionPhase>(&phase)) {
      const std::optional<Id> id = buffer;
      if (attention->q == id || attention->k == id || attention->v == id) return false;
      written |= attention->out == id;
    } else if (touches(phase, buffer)) {
      return false;
    }
  }
  return written;
}

void Machine::allocate() {
  const auto count = static_cast<std::size_t>(workers());
  // A little room at the end: the kernels prefetch past what they read.
  constexpr std::size_t kSlack = 8192;
  for (std::size_t worker = 0; worker < count; ++worker) {
    std::size_t words = 0;
    for (const Matrix& matrix : matrices_) words += matrix.words(worker);
    Arena& arena = weight_arenas_.emplace_back(words * 4 + kSlack);
    auto* memory = arena.as<std::uint32_t>();
    for (Matrix& matrix : matrices_) {
      matrix.place(worker, memory);
      memory += matrix.words(worker);
    }
  }
  std::size_t sums = kTileRows * kMaxPanel * kLanes;
  for (const Matrix& matrix : matrices_) {
    const bool is_shared = matrix.has_large_panels() && count > 1;
    queues_.push_back(is_shared ? std::make_unique<PanelQueue>(count) : nullptr);
    if (!matrix.has_large_panels()) sums = std::max(sums, matrix.outputs(0));
  }
  std::size_t floats = 0;
  std::size_t widest = 0;
  for (const Buffer& buffer : buffers_) {
    floats += buffer.stride * kMaxRows;
    widest = std::max(widest, buffer.stride);
  }
  std::size_t tile = widest;  // values of the widest input a worker rounds for itself
  std::size_t expert = 0;     // and of the widest that goes through an expert's matrices
  for (const Phase& phase : phases_) {
    if (const auto* up = std::get_if<ExpertsUpPhase>(&phase)) {
      expert = std::max(expert, buffers_[up->inp].stride);
    }
    if (const auto* down = std::get_if<ExpertsDownPhase>(&phase)) {
      expert = std::max(expert, down->width);
    }
    if (const auto* linear = std::get_if<HeadLinearPhase>(&phase)) {
      tile = std::max(tile, 2 * matrices_[linear->matrix].pairs() * kTileRows);
    }
  }
  buffer_arena_ = Arena(floats * sizeof(float));
  auto* data = buffer_arena_.as<float>();
  for (Id id = 0; id < buffers_.size(); ++id) {
    Buffer& buffer = buffers_[id];
    if (only_feeds_products(id)) {
      buffer.rounded = reinterpret_cast<std::uint16_t*>(data);
    } else {
      buffer.data = data;
    }
    data += buffer.stride * kMaxRows;
  }
  std::size_t kv_words = 0;
  std::size_t head_dim = 0;
  for (const KvLayer& layer : layers_) {
    kv_words += geometry_.num_blocks * layer.kv_heads * (layer.key_words + layer.value_words);
    head_dim = std::max({head_dim, layer.head_dim, layer.chunks * 32});
  }
  kv_arena_ = Arena(kv_words * 4);
  auto* words = kv_arena_.as<std::uint32_t>();
  for (KvLayer& layer : layers_) {
    layer.keys = words;
    words += geometry_.num_blocks * layer.kv_heads * layer.key_words;
    layer.values = words;
    words += geometry_.num_blocks * layer.kv_heads * layer.value_words;
  }
  rounded_.resize(kMaxRows * widest);
  const bool has_fp16 = std::any_of(matrices_.begin(), matrices_.end(), [](const Matrix& matrix) {
    return matrix.format() == Format::kFp16;
  });
  if (has_fp16) exact_.resize(kMaxRows * widest);
  scratch_.resize(count);
  for (Scratch& own : scratch_) {
    own.input.resize(tile);
    if (has_fp16) own.exact.resize(widest);
    own.product.resize(sums);
    own.queries.resize(kMaxQueries * head_dim);
    own.scores.resize(kMaxQueries * kSpanTokens);
    own.sums.resize(kMaxQueries * head_dim);
    own.attended.resize(kMaxQueries * head_dim);
    own.key.resize(std::max(head_dim, widest));
    own.argmax.resize(kMaxRows);
    own.slots.resize(kMaxRows);
    own.expert_input.resize(kMaxRows * expert);
    if (has_fp16) own.expert_exact.resize(kMaxRows * expert);
    if (expert > 0) own.chosen.reserve(kMaxRows);
    own.choice.resize(2 * widest);
  }
}

void Machine::pack(Id id, std::size_t source, std::span<const std::uint16_t> values) {
  Matrix& matrix = matrices_.at(id);
  if (source >= matrix.sources() || matrix.format() == Format::kMxfp4 ||
      values.size() != matrix.source_rows(source) * matrix.inputs()) {
    throw std::invalid_argument("pack: the tensor does not have the declared shape");
  }
  struct Job {
    Machine& machine;
    Matrix& matrix;
    std::size_t source;
    const std::uint16_t* values;
  } job{*this, matrix, source, values.data()};
  // Each worker packs what it will read, so the memory is its own.
  workers_.run(
      [](void* context, int worker) {
        Job& todo = *static_cast<Job*>(context);
        todo.matrix.pack(static_cast<std::size_t>(worker), todo.source, todo.values);
        todo.machine.workers_.barrier(worker);
      },
      &job);
}

void Machine::pack_mxfp4(Id id, std::size_t source, std::span<const std::uint8_t> codes,
                         std::span<const std::uint8_t> scales) {
  Matrix& matrix = matrices_.at(id);
  const bool known = source < matrix.sources() && matrix.format() == Format::kMxfp4;
  const std::size_t groups = known ? matrix.source_rows(source) * matrix.groups() : 0;
  if (!known || codes.size() != groups * kMxfp4Inputs / 2 || scales.size() != groups) {
    throw std::invalid_argument("pack: the tensors do not have the declared shape");
  }
  struct Job {
    Machine& machine;
    Matrix& matrix;
    std::size_t source;
    const std::uint8_t *codes, *scales;
  } job{*this, matrix, source, codes.data(), scales.data()};
  workers_.run(
      [](void* context, int worker) {
        Job& todo = *static_cast<Job*>(context);
        const auto w = static_cast<std::size_t>(worker);
        todo.matrix.pack_mxfp4(w, todo.source, todo.codes, todo.scales);
        todo.machine.workers_.barrier(worker);
      },
      &job);
}

std::span<std::uint8_t> Machine::packed(std::size_t worker) const {
  if (worker >= weight_arenas_.size()) throw std::invalid_argument("packed: no such worker");
  std::size_t words = 0;
  for (const Matrix& matrix : matrices_) words += matrix.words(worker);
  return {weight_arenas_[worker].as<std::uint8_t>(), words * 4};
}

bool Machine::map_packed(std::size_t worker, int descriptor, std::size_t offset) {
  const std::size_t bytes = packed(worker).size();
  return weight_arenas_[worker].map_file(descriptor, offset, bytes);
}

bool Machine::pin_packed(std::size_t worker) const {
  const std::size_t bytes = packed(worker).size();
  return weight_arenas_[worker].pin(bytes);
}

void Machine::clear_packed(std::size_t worker) {
  packed(worker);  // for its check
  weight_arenas_[worker].clear();
}

std::size_t Machine::weight_bytes() const {
  std::size_t total = 0;
  for (const Matrix& matrix : matrices_) {
    for (int w = 0; w < workers(); ++w) total += matrix.words(static_cast<std::size_t>(w)) * 4;
  }
  for (const Vector& vector : vectors_) total += vector.values.size() * sizeof(float);
  return total;
}

void Machine::plan(const StepInput& input) {
  const std::size_t rows = input.token_ids.size();
  const std::size_t per_step = (rows + kMaxRows - 1) / kMaxRows;
  num_passes_ = per_step * input.steps;
  if (passes_.size() < num_passes_) passes_.resize(num_passes_);
  for (std::size_t p = 0; p < num_passes_; ++p) {
    Pass& pass = passes_[p];
    pass.step = p / per_step;
    pass.first = p % per_step * kMaxRows;
    pass.rows = std::min(kMaxRows, rows - pass.first);
    pass.tiles.clear();
    pass.samples.clear();
    pass.chained = false;
    for (std::size_t r = 0; r < pass.rows; ++r) {
      const bool follows =
          r > 0 && input.row_sequence[pass.first + r] == input.row_sequence[pass.first + r - 1];
      pass.chained |= follows;
      if (follows && pass.tiles.back().count < kMaxQueries) {
        ++pass.tiles.back().count;
      } else {
        pass.tiles.push_back({r, 1});
      }
    }
  }
  needs_logits_ = false;
  for (std::size_t m = 0; m < input.sample_rows.size(); ++m) {
    const std::size_t pass = static_cast<std::size_t>(input.sample_rows[m]) / kMaxRows;
    for (std::size_t p = pass; p < num_passes_; p += per_step) passes_[p].samples.push_back(m);
    needs_logits_ |= input.temperature[m] != 0.0f || input.is_biased(m) || input.is_masked(m);
  }
  needs_logits_ &= input.logits == nullptr;
  if (needs_logits_) logits_.resize(head_chunk() * geometry_.vocab);
}

void Machine::watch_phases(bool on) {
  watches_phases_ = on;
  phase_seconds_.resize(phases_.size());
}

bool Machine::step(const StepInput& input) {
  check(input);
  if (input.token_ids.empty()) return true;
  if (kv_commitment_ && !kv_commitment_->has_room()) throw std::bad_alloc();
  plan(input);
  std::fill(input.tokens.begin(), input.tokens.end(), 0);  // for a program without a head
  input_ = &input;
  finite_.store(true);
  const std::size_t rows = input.token_ids.size();
  const bool reads_once = rows <= kTileRows;  // each weight, so that how they are read shows
  fetch_ = reads_once ? fetch_tuner_.choose(rows) : fetch_tuner_.kept();
  const auto start = std::chrono::steady_clock::now();
  workers_.run([](void* context, int worker) { static_cast<Machine*>(context)->work(worker); },
               this);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  if (reads_once) fetch_tuner_.note(took.count() / static_cast<double>(input.steps));
  if (!kv_commitment_) kv_commitment_.emplace(kv_arena_);  // after the weights and the first step
  kv_commitment_->note_use();
  input_ = nullptr;
  return finite_.load();
}

// After its last barrier a helper may find the next step being planned, or the machine being taken
// down: everything it still needs by then is in locals.
void Machine::work(int worker) {
  const auto w = static_cast<std::size_t>(worker);
  const std::size_t passes = num_passes_;
  const std::size_t phases = phases_.size();
  const bool watches = worker == 0 && watches_phases_;
  for (std::size_t p = 0; p < passes; ++p) {
    const Pass& pass = passes_[p];
    const std::size_t samples = pass.samples.size();
    const bool chained = pass.chained;
    prepare_ropes(pass, w);
    auto began = watches ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point();
    for (std::size_t i = 0; i < phases; ++i) {
      const Phase& phase = phases_[i];
      const bool head = std::holds_alternative<HeadPhase>(phase);
      if (head && samples == 0) continue;
      const auto* linear = std::get_if<LinearPhase>(&phase);
      const bool joined = linear != nullptr && linear->joined && !chained;
      std::visit([&](const auto& kind) { run(kind, pass, w); }, phase);
      // The head has a barrier of its own, and only worker 0 finishes a single sample.
      const bool ended = head && samples == 1 && i + 1 == phases && p + 1 == passes;
      if (!joined && !ended) workers_.barrier(worker);
      if (watches) {
        const auto now = std::chrono::steady_clock::now();
        phase_seconds_[i] += std::chrono::duration<double>(now - began).count();
        began = now;
      }
    }
    if (phases == 0) workers_.barrier(worker);
  }
}

std::size_t Machine::token(const Pass& pass, std::size_t row) const {
  if (pass.step == 0) return static_cast<std::size_t>(input_->token_ids[pass.first + row]);
  const std::size_t before = (pass.step - 1) * input_->token_ids.size();
  return static_cast<std::size_t>(input_->tokens[before + pass.first + row]);
}

std::int32_t Machine::position(const Pass& pass, std::size_t row) const {
  return input_->positions[pass.first + row] + static_cast<std::int32_t>(pass.step);
}

void Machine::prepare_ropes(const Pass& pass, std::size_t worker) {
  const auto count = static_cast<std::size_t>(workers());
  for (Rope& rope : ropes_) {
    const std::size_t half = rope.frequencies.size();
    const std::size_t items = pass.rows * half;
    for (std::size_t i = items * worker / count; i < items * (worker + 1) / count; ++i) {
      const auto place = static_cast<float>(position(pass, i / half));
      const float angle = place * rope.frequencies[i % half];
      rope.cos[i] = std::cos(angle) * rope.scale;
      rope.sin[i] = std::sin(angle) * rope.scale;
    }
  }
}

void Machine::rotate(const Rope& rope, std::size_t row, const float* from, std::size_t dim,
                     float* to) const {
  const std::size_t half = rope.frequencies.size();
  const auto turn = rope.interleaved ? kernels_.rotate_pairs : kernels_.rotate;
  if (from != to && rope.first > 0) std::memcpy(to, from, rope.first * sizeof(float));
  if (from != to && rope.end() < dim) {
    std::memcpy(to + rope.end(), from + rope.end(), (dim - rope.end()) * sizeof(float));
  }
  turn(from + rope.first, rope.cos.data() + row * half, rope.sin.data() + row * half, half,
       to + rope.first);
}

float* Machine::tap_row(int layer, std::size_t row) const {
  for (std::size_t i = 0; i < input_->taps.size(); ++i) {
    if (input_->taps[i] == layer) {
      return input_->hidden + (i * input_->token_ids.size() + row) * geometry_.hidden;
    }
  }
  return nullptr;
}

}  // namespace headrace
