// The attention phase: rotate, append to the cache, attend.
//
// One layer's cache holds, per block of 16 tokens and kv head,
//     keys    [head_dim / 2][16 tokens][2]   so that 16 scores lie across lanes, and
//     values  [16 tokens][chunks][16][2]     dims i and i + 16 of each 32 in one word,
// both bf16. A layer whose values are the beginnings of its keys stores keys only; its one head is
// shared by so many queries that the workers share those out instead of heads.
#include <cstring>

#include "headrace/machine.hpp"

namespace headrace {

void Machine::run(const AttentionPhase& phase, const Pass& pass, std::size_t worker) {
  const std::size_t heads = layers_[phase.layer].kv_heads;
  const auto workers = static_cast<std::size_t>(workers_.count());
  Scratch& own = scratch_[worker];
  if (!phase.owners.empty() && !pass.chained) {
    // Every row is a tile of its own; q, k and v of these heads were made by this worker just now.
    // A key goes to as many cache lines as it has pairs: by the time they are read they are written.
    for (std::size_t row = 0; row < pass.rows; ++row) {
      for (std::size_t head = 0; head < heads; ++head) {
        if (phase.owners[head] == worker) append(phase, pass, row, head, own);
      }
      for (std::size_t head = 0; head < heads; ++head) {
        if (phase.owners[head] == worker) attend(phase, pass, {row, 1}, head, 0, 1, own);
      }
    }
    return;
  }
  // A row that attends to another row of this pass must find its keys there; otherwise a worker
  // appends what it alone will read.
  const bool shared = layers_[phase.layer].shared();
  if (phase.k && (pass.chained || shared || !phase.q)) {
    for (std::size_t i = worker; i < pass.rows * heads; i += workers) {
      append(phase, pass, i / heads, i % heads, own);
    }
    if (phase.q) workers_.barrier(static_cast<int>(worker));
  }
  if (!phase.q) return;
  if (shared) {
    for (const RowTile& tile : pass.tiles) {
      for (std::size_t head = 0; head < heads; ++head) {
        attend(phase, pass, tile, head, worker, workers, own);
      }
    }
    return;
  }
  for (std::size_t i = worker; i < pass.tiles.size() * heads; i += workers) {
    const RowTile& tile = pass.tiles[i / heads];
    if (phase.k && !pass.chained) append(phase, pass, tile.first, i % heads, own);
    attend(phase, pass, tile, i % heads, 0, 1, own);
  }
}

void Machine::append(const AttentionPhase& phase, const Pass& pass, std::size_t row,
                     std::size_t head, Scratch& own) {
  const KvLayer& layer = layers_[phase.layer];
  const std::size_t dim = layer.head_dim;
  const auto sequence = static_cast<std::size_t>(input_->row_sequence[pass.first + row]);
  const auto place = static_cast<std::size_t>(position(pass, row));
  const auto block = static_cast<std::size_t>(
      input_->block_tables[sequence * input_->table_width + place / kBlockTokens]);
  const std::size_t slot = place % kBlockTokens;

  const float* key = buffers_[*phase.k].row(row) + head * dim;
  if (phase.rope_k) {
    rotate(ropes_[*phase.rope_k], row, key, dim, own.key.data());
    key = own.key.data();
  }
  const std::size_t slot_words = layer.chunks * kLanes;
  kernels_.append(
      key, phase.v ? buffers_[*phase.v].row(row) + head * dim : nullptr, dim,
      layer.keys + (block * layer.kv_heads + head) * layer.key_words + slot,
      layer.values + (block * layer.kv_heads + head) * layer.value_words + slot * slot_words);
}

void Machine::attend(const AttentionPhase& phase, const Pass& pass, const RowTile& rows,
                     std::size_t head, std::size_t first_group, std::size_t step, Scratch& own) {
  const KvLayer& layer = layers_[phase.layer];
  const std::size_t dim = layer.head_dim;
  const std::size_t value_dim = layer.value_dim;
  const std::size_t group = phase.heads / layer.kv_heads;
  const auto sequence = static_cast<std::size_t>(input_->row_sequence[pass.first + rows.first]);

  const Buffer& result = buffers_[*phase.out];
  const bool rounded = result.rounded != nullptr;
  int visible[kMaxQueries];
  int hidden[kMaxQueries];
  float sinks[kMaxQueries];
  float* out[kMaxQueries];
  AttendTile tile{};
  tile.q = own.queries.data();
  tile.q_stride = dim;
  tile.visible = visible;
  tile.hidden = hidden;
  tile.table = input_->block_tables.data() + sequence * input_->table_width;
  tile.keys = layer.keys + head * layer.key_words;
  tile.key_stride = layer.kv_heads * layer.key_words;
  tile.values = layer.shared() ? nullptr : layer.values + head * layer.value_words;
  tile.value_stride = layer.kv_heads * layer.value_words;
  tile.head_dim = static_cast<int>(dim);
  tile.value_dim = static_cast<int>(value_dim);
  tile.chunks = static_cast<int>(layer.chunks);
  tile.scale = phase.scale;
  tile.sinks = phase.sinks ? sinks : nullptr;
  tile.scores = own.scores.data();
  tile.sums = own.sums.data();
  tile.out = out;

  const std::size_t queries = rows.count * group;
  for (std::size_t first = first_group * kMaxQueries; first < queries;
       first += step * kMaxQueries) {
    tile.queries = static_cast<int>(queries - first < kMaxQueries ? queries - first : kMaxQueries);
    for (int i = 0; i < tile.queries; ++i) {
      const std::size_t query = first + static_cast<std::size_t>(i);
      const std::size_t row = rows.first + query / group;
      const std::size_t query_head = head * group + query % group;
      const float* from = buffers_[*phase.q].row(row) + query_head * dim;
      float* to = own.queries.data() + static_cast<std::size_t>(i) * dim;
      if (phase.rope_q) {
        rotate(ropes_[*phase.rope_q], row, from, dim, to);
      } else {
        std::memcpy(to, from, dim * sizeof(float));
      }
      if (phase.sinks) sinks[i] = vectors_[*phase.sinks].values[query_head];
      visible[i] = position(pass, row) + 1;
      hidden[i] = visible[i] > phase.window ? visible[i] - phase.window : 0;
      out[i] = rounded ? own.attended.data() + static_cast<std::size_t>(i) * value_dim
                       : result.row(row) + query_head * value_dim;
    }
    kernels_.attend(tile);
    for (int i = 0; rounded && i < tile.queries; ++i) {
      const std::size_t query = first + static_cast<std::size_t>(i);
      kernels_.round(out[i], value_dim,
                     result.rounded_row(rows.first + query / group) +
                         (head * group + query % group) * value_dim);
    }
  }
}

}  // namespace headrace
