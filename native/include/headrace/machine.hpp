// The phase interpreter: loads a program once, then runs it, whole, per step.
//
// Every worker walks the same list of phases and does its share of each; a barrier stands between
// them. Up to kMaxRows rows run together, longer batches as several passes. With one row, what
// feeds a matrix product (norm, rounding) is computed by every worker for itself, which is
// cheaper than a barrier; with more, it is split by rows.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "headrace/arena.hpp"
#include "headrace/fetch_tuner.hpp"
#include "headrace/kernels.hpp"
#include "headrace/panel_queue.hpp"
#include "headrace/sample.hpp"
#include "headrace/weights.hpp"
#include "headrace/workers.hpp"

namespace headrace {

using Id = std::size_t;  // of a buffer, vector, matrix, rope or KV layer, by order of declaration

struct NormInput {
  Id weight;  // vector
  float eps;
};

struct EmbedPhase {
  Id out;
  Id matrix;  // source 0 is the table
  float scale = 1.0f;
};
struct NormPhase {
  Id inp, out;
  NormInput norm;
  std::size_t heads = 1;  // equal parts of the row, each normed by itself
  std::size_t rest = 0;   // values at the end of each part that pass as they are
};
enum class Finish { kStore, kAdd, kSiluMultiply, kGeluMultiply };
inline bool is_gated(Finish finish) {
  return finish == Finish::kSiluMultiply || finish == Finish::kGeluMultiply;
}
// Buffers of sources = [norm](inp) . matrix + bias; stored, added to the buffer, or, for two
// sources in turn, silu(first) * second (or with gelu) stored to outs[0].
struct LinearPhase {
  Id matrix;
  Id inp;
  std::optional<NormInput> norm;
  std::vector<std::optional<Id>> biases;  // vector, one per source
  std::vector<Id> outs;                   // buffer, one per source (one in all when gated)
  Finish finish;
  std::optional<int> tap;  // layer whose residual stream outs[0] then is
  bool joined = false;     // set by the machine: see AttentionPhase::owners
};
// Source h of the matrix times the beginning of part h of the row; the rest of the part follows.
struct HeadLinearPhase {
  Id matrix;
  Id inp, out;
};
// What each expert counts for a row: see model.program.Route.
struct RoutePhase {
  Id inp, out;
  std::size_t top;
  bool normalised;
  bool sigmoid = false;               // else softmax
  std::optional<Id> correction = {};  // vector [experts], added before who counts is chosen
  struct {
    std::size_t count = 1, best = 1;
  } groups = {};
  float scale = 1.0f;
};
// See model.program.ClampedSwiglu.
struct ClampedSwiglu {
  float alpha, limit;
};
// The gated products of the experts that count for a row, one after the other in `out`: slot s has
// those of the s-th that counts, `width` values of which the expert's are the first. Each of
// `matrices` has the blocks of gate and up in turn.
struct ExpertsUpPhase {
  std::vector<Id> matrices;  // by expert, all of one shape
  Id inp, routed, out;
  std::size_t width;                        // a multiple of kLanes
  std::vector<std::array<Id, 2>> biases;    // vectors by expert, of gate and up; empty: none
  std::optional<ClampedSwiglu> clamp = {};  // else silu(gate) * up
};
// out = sum of routed[e] * (matrix e . slot of e), over the experts that count, in rising order.
struct ExpertsDownPhase {
  std::vector<Id> matrices;
  Id inp, routed, out;
  std::size_t width;
  std::vector<Id> biases;  // vectors by expert, added before it counts; empty: none
};
// Rotate q and k, append k and v, attend; each part may be absent.
struct AttentionPhase {
  Id layer;
  std::optional<Id> rope_q, rope_k;
  std::optional<Id> k, v;    // none: nothing to append; no v where the layer's keys hold it
  std::optional<Id> q, out;  // both or none: nothing to attend
  std::size_t heads;
  float scale;
  int window = std::numeric_limits<int>::max();  // tokens a query sees at most, its own the last
  std::optional<Id> sinks = {};                  // vector [heads], scores without a value
  // Set by the machine when the phase before makes q, k and v and each kv head's parts of them are
  // one worker's: that worker then goes on to attend with no barrier between. Empty otherwise.
  std::vector<std::size_t> owners = {};
};
struct RopePhase {
  Id buffer, rope;
  std::size_t heads;
};
struct ActivatePhase {
  Id gate, up, out;
  Finish finish = Finish::kSiluMultiply;
};
struct AddPhase {
  Id inp, out;
};
struct TapPhase {
  Id inp;
  int layer;
};
struct HeadPhase {
  Id matrix;
  Id inp;
  std::optional<NormInput> norm;
};

using Phase = std::variant<EmbedPhase, NormPhase, LinearPhase, HeadLinearPhase, AttentionPhase,
                           RopePhase, ActivatePhase, RoutePhase, ExpertsUpPhase, ExpertsDownPhase,
                           AddPhase, TapPhase, HeadPhase>;

// One call's arguments; see backends.base.Batch. Pointers must stay valid during the call.
struct StepInput {
  std::span<const std::int32_t> token_ids, positions, row_sequence;  // [T]
  std::span<const std::int32_t> block_tables;                        // [S, W], row-major
  std::size_t table_width;                                           // W
  std::span<const std::int32_t> sample_rows;                         // [M]
  std::span<const float> temperature, top_p, min_p;                  // [M]
  std::span<const std::int32_t> top_k;                               // [M]
  std::span<const std::uint64_t> seed;                               // [M]
  std::span<const std::int32_t> bias_offsets;                        // [M + 1], or empty: none
  std::span<const std::int32_t> bias_ids;                            // [B], rising within a row
  std::span<const float> bias_values;                                // [B], -inf: never drawn
  std::span<const std::int32_t> mask_rows;   // [M], which mask or -1; or empty: none
  std::span<const std::uint32_t> mask_bits;  // [masks][mask_words], bit v: token v may be drawn
  std::size_t mask_words;                    // ceil(V / 32)
  // Returns once `mask_bits` are there; empty: they are. Called by the thread that called, before
  // they are read.
  std::function<void()> await_masks;
  std::span<const std::int32_t> taps;  // distinct layers, in the order of `hidden`
  std::size_t steps = 1;               // more: every row is sampled, and fed what it drew
  std::span<std::int32_t> tokens;      // [steps, M], written
  float* logits;                       // [M, V], written; null when not wanted
  float* hidden;                       // [taps, T, hidden width], written; null without taps

  bool is_masked(std::size_t m) const { return !mask_rows.empty() && mask_rows[m] >= 0; }
  bool is_biased(std::size_t m) const {
    return !bias_offsets.empty() && bias_offsets[m] != bias_offsets[m + 1];
  }
};

struct Geometry {
  std::size_t vocab, hidden, max_positions, num_blocks;
};

class Machine {
 public:
  Machine(const Kernels& kernels, int workers, Geometry geometry);

  // Declarations, in any order but before `allocate`. All throw std::invalid_argument on misuse.
  Id add_buffer(std::size_t width);
  Id add_vector(std::span<const float> values);
  // Turns 2 * frequencies values of a head from `first` on; cos and sin are multiplied by `scale`.
  Id add_rope(std::span<const float> frequencies, std::size_t first, bool interleaved, float scale);
  // With `value_dim`, a value is the beginning of its key.
  Id add_layer(std::size_t kv_heads, std::size_t head_dim, std::optional<std::size_t> value_dim);
  Id add_matrix(std::vector<std::size_t> source_rows, std::size_t inputs, std::vector<Block> blocks,
                std::size_t unit, std::size_t grain, bool apart, Format format);
  void add_phase(Phase phase);

  // Reserves memory for everything declared, and takes that of the cache at once; weights lie in
  // order of declaration. Throws std::bad_alloc when there is none.
  void allocate();
  void pack(Id matrix, std::size_t source, std::span<const std::uint16_t> values);
  void pack_mxfp4(Id matrix, std::size_t source, std::span<const std::uint8_t> codes,
                  std::span<const std::uint8_t> scales);
  const Matrix& matrix(Id id) const { return matrices_.at(id); }
  // All that `worker` has packed, or will have; throws std::invalid_argument for no such worker.
  std::span<std::uint8_t> packed(std::size_t worker) const;
  // The same memory, as the file's bytes from `offset` on: see Arena. Throws like `packed`.
  bool map_packed(std::size_t worker, int descriptor, std::size_t offset);
  bool pin_packed(std::size_t worker) const;
  void clear_packed(std::size_t worker);

  // Runs the program `steps` times. Throws std::invalid_argument, before anything is written, when
  // the batch is not valid. Returns false when a logit was not a finite number: tokens are then undefined.
  bool step(const StepInput& input);

  // From now on worker 0 takes down how long each phase and its barrier take it, or no more.
  void watch_phases(bool on);
  // Seconds of each phase, in the order of add_phase, over the steps that were watched.
  const std::vector<double>& phase_seconds() const { return phase_seconds_; }
  std::size_t num_phases() const { return phases_.size(); }

  int workers() const { return workers_.count(); }
  const char* isa() const { return kernels_.name; }
  std::size_t weight_bytes() const;
  std::size_t kv_bytes() const { return kv_arena_.bytes(); }

 private:
  struct Buffer {
    std::size_t width, stride;  // values; stride is a multiple of kLanes, the padding is 0
    float* data;
    // Held as bf16 from the start, when only products with bf16 matrices read it: the same bits,
    // rounded once by who makes them instead of by everyone who reads them.
    std::uint16_t* rounded;
    float* row(std::size_t r) const { return data + r * stride; }
    std::uint16_t* rounded_row(std::size_t r) const { return rounded + r * stride; }
  };
  struct Vector {
    std::size_t width;
    std::vector<float> values;  // padded with zeros
  };
  struct Rope {
    std::vector<float> frequencies;
    std::size_t first;
    bool interleaved;
    float scale;
    std::vector<float> cos, sin;  // [kMaxRows][half], of the pass
    std::size_t end() const { return first + 2 * frequencies.size(); }
  };
  struct KvLayer {
    std::size_t kv_heads, head_dim, value_dim, chunks;
    std::size_t key_words, value_words;  // per block and head; no value_words: they are in the keys
    std::uint32_t *keys, *values;
    bool shared() const { return value_words == 0; }
  };
  // Rows of one sequence that share the reading of keys and values.
  struct RowTile {
    std::size_t first, count;
  };
  // Up to kMaxRows rows of one of the call's steps.
  struct Pass {
    std::size_t step;  // 0 .. StepInput::steps - 1
    std::size_t first, rows;
    std::vector<RowTile> tiles;
    bool chained;                      // some row may attend to another row of this pass
    std::vector<std::size_t> samples;  // which of the M samples are rows of this pass
  };
  // A row that chose an expert: among those that count for it, which it is, and how much it counts.
  struct Chosen {
    std::size_t row, slot;
    float counts;
  };
  // What one worker needs for itself.
  struct alignas(2 * kCacheLine) Scratch {
    std::vector<std::uint16_t> input;  // one row, rounded; or kTileRows rows of one head's input
    std::vector<float> exact;          // one row, not rounded
    std::vector<float> product;        // [kTileRows][kMaxPanel * kLanes], or a row of small panels
    std::vector<float> queries;        // [tile queries][head_dim], rotated
    std::vector<float> scores, sums;   // of one AttendTile
    std::vector<float> attended;       // [tile queries][head_dim]
    std::vector<float> key;            // one rotated key, or one head being normed
    std::vector<ArgmaxLanes> argmax;   // [kMaxRows]
    std::vector<std::size_t> slots;    // [kMaxRows], of the experts that count, seen so far
    std::vector<Chosen> chosen;        // of one expert, up to kMaxRows
    std::vector<std::uint16_t> expert_input;  // [kMaxRows][its inputs], of the rows that chose it
    std::vector<float> expert_exact;          // the same for fp16 matrices
    std::vector<float> choice;         // [2][experts], scores and what experts are chosen by
    std::vector<Candidate> sampling;
    std::vector<float> unbiased;  // logits to put back
    std::vector<float> allowed;   // [V], one row's logits, -inf where its mask says so
  };
  // Rows that enter a product: bf16 pairs for a bf16 matrix, float32 for an fp16 one.
  struct Rows {
    const std::uint32_t* pairs;
    const float* exact;
    std::size_t stride;  // elements of the one that is not null
  };

  void join_attention(AttentionPhase& phase);
  bool only_feeds_products(Id buffer) const;
  void check(const StepInput& input) const;
  void check_bias(const StepInput& input) const;
  void check_masks(const StepInput& input) const;
  void check_steps(const StepInput& input) const;
  void check(const EmbedPhase& phase) const;
  void check(const NormPhase& phase) const;
  void check(const LinearPhase& phase) const;
  void check(const HeadLinearPhase& phase) const;
  void check(const AttentionPhase& phase) const;
  void check(const RopePhase& phase) const;
  void check(const ActivatePhase& phase) const;
  void check(const RoutePhase& phase) const;
  void check(const ExpertsUpPhase& phase) const;
  void check(const ExpertsDownPhase& phase) const;
  // That the experts' matrices have one shape, and lie with the workers in one way.
  void check_experts(const std::vector<Id>& matrices) const;
  void check_bias(Id bias, std::size_t width) const;
  // What experts are chosen by, of their scores; -infinity where a group is not among the best.
  void choose_by(const RoutePhase& phase, const float* scores, float* choice) const;
  void check(const AddPhase& phase) const;
  void check(const TapPhase& phase) const;
  void check(const HeadPhase& phase) const;
  void check(const std::optional<NormInput>& norm, Id inp) const;
  void plan(const StepInput& input);
  void work(int worker);
  // What a row of the pass is fed: the caller's token, then what it drew in the step before.
  std::size_t token(const Pass& pass, std::size_t row) const;
  std::int32_t position(const Pass& pass, std::size_t row) const;
  void prepare_ropes(const Pass& pass, std::size_t worker);
  // The rows of `inp`, normed if asked, as `format` wants them. `rows`: which ones, null for
  // 0..count-1.
  Rows product_input(Format format, std::size_t worker, Id inp,
                     const std::optional<NormInput>& norm, const std::size_t* rows,
                     std::size_t count, bool keep_apart);
  Rows round_input(std::size_t worker, Id inp, const std::optional<NormInput>& norm,
                   const std::size_t* rows, std::size_t count, bool keep_apart);
  Rows exact_input(std::size_t worker, Id inp, const std::optional<NormInput>& norm,
                   const std::size_t* rows, std::size_t count, bool keep_apart);
  void round_row(Id inp, const std::optional<NormInput>& norm, std::size_t row,
                 std::uint16_t* out) const;
  void exact_row(Id inp, const std::optional<NormInput>& norm, std::size_t row, float* out) const;
  // Calls each(panel) for every panel of the matrix that falls to `worker`: its own, and those that
  // it takes from others where it `may_help`.
  template <typename Each>
  void each_panel(Id matrix, std::size_t worker, bool may_help, Each each);
  bool finishes_last(Id matrix, const Pass& pass) const;
  // out [count][panel's outputs] = rows `first`, ... of `input` . panel; count <= kTileRows.
  void product(const Matrix& matrix, const Panel& panel, const Rows& input, std::size_t first,
               std::size_t count, float* out) const;

  void run(const EmbedPhase& phase, const Pass& pass, std::size_t worker);
  void run(const NormPhase& phase, const Pass& pass, std::size_t worker);
  void run(const LinearPhase& phase, const Pass& pass, std::size_t worker);
  void run(const HeadLinearPhase& phase, const Pass& pass, std::size_t worker);
  void run(const AttentionPhase& phase, const Pass& pass, std::size_t worker);
  void run(const RopePhase& phase, const Pass& pass, std::size_t worker);
  void run(const ActivatePhase& phase, const Pass& pass, std::size_t worker);
  void run(const RoutePhase& phase, const Pass& pass, std::size_t worker);
  void run(const ExpertsUpPhase& phase, const Pass& pass, std::size_t worker);
  void run(const ExpertsDownPhase& phase, const Pass& pass, std::size_t worker);
  void run(const AddPhase& phase, const Pass& pass, std::size_t worker);
  void run(const TapPhase& phase, const Pass& pass, std::size_t worker);
  void run(const HeadPhase& phase, const Pass& pass, std::size_t worker);

  // Adds to the sums of a panel what its rows have besides, if anything: vectors by source.
  void add_biases(const Panel& panel, std::span<const Id> biases, float* sums) const;
  // Calls each(expert, chosen) for every expert that counts for rows of a pass, `slots` a row at most.
  template <typename Each>
  void each_chosen(Id routed, std::size_t experts, std::size_t slots, const Pass& pass,
                   Scratch& own, Each each) const;
  // Calls finish(panel, i, sums) for each of the worker's panels and each of `rows` rows of `input`.
  template <typename Finish>
  void each_product(const Matrix& matrix, std::size_t worker, const Rows& input, std::size_t rows,
                    Finish finish);
  Rows gathered(const Rows& input, std::span<const Chosen> chosen, Scratch& own) const;
  Rows gathered_slots(const Matrix& matrix, const ExpertsDownPhase& phase,
                      std::span<const Chosen> chosen, Scratch& own) const;
  void multiply(Finish finish, const float* gate, const float* up, std::size_t blocks,
                std::size_t step, float* out) const;
  void finish_linear(const LinearPhase& phase, const Pass& pass, const Panel& panel,
                     std::size_t first_row, std::size_t rows, float* product);
  void finish_head(const HeadLinearPhase& phase, const Panel& panel, std::size_t row,
                   const float* product);
  // `from` with its part turned as the pass' row asks, in `to`, which may be `from`.
  void rotate(const Rope& rope, std::size_t row, const float* from, std::size_t dim,
              float* to) const;
  void append(const AttentionPhase& phase, const Pass& pass, std::size_t row, std::size_t head,
              Scratch& own);
  // Attends for every `step`-th group of the tile's queries, from group `first` on.
  void attend(const AttentionPhase& phase, const Pass& pass, const RowTile& tile, std::size_t head,
              std::size_t first, std::size_t step, Scratch& own);
  void head_products(const HeadPhase& phase, std::span<const std::size_t> samples,
                     const Rows& input, std::size_t worker);
  void head_finish(const Pass& pass, std::size_t index, std::size_t sample, Scratch& own);
  std::int32_t draw(const float* logits, const Pass& pass, std::size_t sample,
                    std::int32_t likeliest, Scratch& own);
  // The logits that the sample's mask allows, in memory of the worker's own.
  float* masked(const float* logits, std::size_t sample, Scratch& own) const;
  std::int32_t draw_biased(float* logits, const Pass& pass, std::size_t sample, Scratch& own);
  // Start of layer's row in the `hidden` output, or null when this layer was not asked for.
  float* tap_row(int layer, std::size_t row) const;
  std::size_t head_chunk() const;
  float* logits_row(std::size_t index, std::size_t sample);

  const Kernels& kernels_;
  Geometry geometry_;
  std::vector<Buffer> buffers_;
  std::vector<Vector> vectors_;
  std::vector<Rope> ropes_;
  std::vector<KvLayer> layers_;
  std::vector<Matrix> matrices_;
  std::vector<std::unique_ptr<PanelQueue>> queues_;  // by matrix; null where nobody helps
  std::vector<Phase> phases_;
  std::vector<std::int32_t> tap_layers_;
  std::vector<Arena> weight_arenas_;  // one per worker
  Arena buffer_arena_, kv_arena_;
  bool watches_phases_ = false;
  std::vector<double> phase_seconds_;  // [phases], of worker 0
  std::optional<Commitment> kv_commitment_;  // from the first step on; after its arena: ends first
  std::vector<std::uint16_t> rounded_;  // [kMaxRows][widest input], shared by the workers
  std::vector<float> exact_;            // the same, for fp16 matrices; empty without one
  std::vector<Scratch> scratch_;        // one per worker
  // Of the call in progress.
  const StepInput* input_ = nullptr;
  std::vector<Pass> passes_;
  std::size_t num_passes_ = 0;
  Fetch fetch_ = Fetch::kAhead;
  std::vector<float> logits_;  // [head_chunk()][V], when samples need them and the caller does not
  bool needs_logits_ = false;
  std::atomic<bool> finite_{true};
  FetchTuner fetch_tuner_;
  Workers workers_;  // last: its threads end before anything they use goes
};

template <typename Each>
void Machine::each_panel(Id matrix, std::size_t worker, bool may_help, Each each) {
  const Matrix& shape = matrices_[matrix];
  PanelQueue* queue = queues_[matrix].get();
  if (queue == nullptr || !may_help) {
    for (const Panel& panel : shape.panels(worker)) each(panel);
    return;
  }
  queue->begin(worker);
  const auto workers = static_cast<std::size_t>(workers_.count());
  for (std::size_t i = 0; i < workers; ++i) {
    const std::size_t owner = (worker + i) % workers;
    const std::vector<Panel>& panels = shape.panels(owner);
    for (std::size_t p = queue->take(owner, worker); p < panels.size();
         p = queue->take(owner, worker)) {
      each(panels[p]);
    }
  }
}

}  // namespace headrace
