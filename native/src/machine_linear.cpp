// Phases that read weights, except the head, and the single operations on rows.
#include <algorithm>
#include <cstring>

#include "headrace/machine.hpp"

namespace headrace {

void Machine::round_row(Id inp, const std::optional<NormInput>& norm, std::size_t row,
                        std::uint16_t* out) const {
  const Buffer& buffer = buffers_[inp];
  if (norm) {
    kernels_.norm_round(buffer.row(row), vectors_[norm->weight].values.data(), buffer.width,
                        norm->eps, out);
  } else {
    kernels_.round(buffer.row(row), buffer.stride, out);
  }
}

void Machine::exact_row(Id inp, const std::optional<NormInput>& norm, std::size_t row,
                        float* out) const {
  const Buffer& buffer = buffers_[inp];
  if (norm) {
    kernels_.norm(buffer.row(row), vectors_[norm->weight].values.data(), buffer.width, norm->eps,
                  out);
  } else {
    std::memcpy(out, buffer.row(row), buffer.stride * sizeof(float));
  }
}

Machine::Rows Machine::product_input(Format format, std::size_t worker, Id inp,
                                     const std::optional<NormInput>& norm, const std::size_t* rows,
                                     std::size_t count, bool keep_apart) {
  return format == Format::kFp16 ? exact_input(worker, inp, norm, rows, count, keep_apart)
                                 : round_input(worker, inp, norm, rows, count, keep_apart);
}

Machine::Rows Machine::round_input(std::size_t worker, Id inp,
                                   const std::optional<NormInput>& norm, const std::size_t* rows,
                                   std::size_t count, bool keep_apart) {
  const std::size_t stride = buffers_[inp].stride;
  if (buffers_[inp].rounded != nullptr) {
    // Parts of the row lie in the other workers' caches: ask for all of it now, or the product waits
    // for one line after the other.
    const auto* row = reinterpret_cast<const char*>(buffers_[inp].rounded);
    for (std::size_t i = 0; i < stride * sizeof(std::uint16_t); i += kCacheLine) {
      __builtin_prefetch(row + i);
    }
    return {reinterpret_cast<const std::uint32_t*>(buffers_[inp].rounded), nullptr, stride / 2};
  }
  const auto as_pairs = [](const std::vector<std::uint16_t>& values) {
    return reinterpret_cast<const std::uint32_t*>(values.data());
  };
  if (count == 1) {
    round_row(inp, norm, rows == nullptr ? 0 : rows[0], scratch_[worker].input.data());
    // Nobody may write the outputs while someone still reads the input they overlap.
    if (keep_apart) workers_.barrier(static_cast<int>(worker));
    return {as_pairs(scratch_[worker].input), nullptr, stride / 2};
  }
  const auto workers = static_cast<std::size_t>(workers_.count());
  for (std::size_t r = worker; r < count; r += workers) {
    round_row(inp, norm, rows == nullptr ? r : rows[r], rounded_.data() + r * stride);
  }
  workers_.barrier(static_cast<int>(worker));
  return {as_pairs(rounded_), nullptr, stride / 2};
}

Machine::Rows Machine::exact_input(std::size_t worker, Id inp,
                                   const std::optional<NormInput>& norm, const std::size_t* rows,
                                   std::size_t count, bool keep_apart) {
  const Buffer& buffer = buffers_[inp];
  if (!norm && rows == nullptr && !keep_apart) return {nullptr, buffer.data, buffer.stride};
  if (count == 1) {
    float* own = scratch_[worker].exact.data();
    exact_row(inp, norm, rows == nullptr ? 0 : rows[0], own);
    if (keep_apart) workers_.barrier(static_cast<int>(worker));
    return {nullptr, own, buffer.stride};
  }
  const auto workers = static_cast<std::size_t>(workers_.count());
  for (std::size_t r = worker; r < count; r += workers) {
    exact_row(inp, norm, rows == nullptr ? r : rows[r], exact_.data() + r * buffer.stride);
  }
  workers_.barrier(static_cast<int>(worker));
  return {nullptr, exact_.data(), buffer.stride};
}

void Machine::product(const Matrix& matrix, const Panel& panel, const Rows& input,
                      std::size_t first, std::size_t count, float* out) const {
  const std::size_t stride = panel.blocks * kLanes;
  // Later rows find the panel in a cache.
  const Fetch fetch = first == 0 ? fetch_ : Fetch::kHardware;
  if (matrix.format() == Format::kFp16) {
    kernels_.linear_fp16(input.exact + first * input.stride, input.stride, count, panel.halves(),
                         panel.blocks, matrix.inputs(), out, stride, fetch);
  } else if (matrix.format() == Format::kMxfp4) {
    kernels_.linear_mxfp4(input.pairs + first * input.stride, input.stride, count, panel.words,
                          panel.blocks, matrix.groups(), out, stride, fetch);
  } else {
    kernels_.linear(input.pairs + first * input.stride, input.stride, count, panel.words,
                    panel.blocks, matrix.pairs(), out, stride, fetch);
  }
}

// Whether a product's sums are finished at its end, not panel by panel. Finishing one row's panel is
// all latency, during which no weights come (280 ns of 3 us in a layer of a 5M model on Zen 5); many
// panels' latencies overlap. A large panel takes so long that it does not show.
bool Machine::finishes_last(Id matrix, const Pass& pass) const {
  return pass.rows == 1 && !matrices_[matrix].has_large_panels();
}

void Machine::run(const LinearPhase& phase, const Pass& pass, std::size_t worker) {
  const Matrix& matrix = matrices_[phase.matrix];
  const bool in_place =
      std::find(phase.outs.begin(), phase.outs.end(), phase.inp) != phase.outs.end();
  const Rows input = product_input(matrix.format(), worker, phase.inp, phase.norm, nullptr,
                                   pass.rows, in_place);
  float* sums = scratch_[worker].product.data();
  if (finishes_last(phase.matrix, pass)) {
    for (const Panel& panel : matrix.panels(worker)) {
      product(matrix, panel, input, 0, 1, sums);
      sums += panel.blocks * kLanes;
    }
    sums = scratch_[worker].product.data();
    for (const Panel& panel : matrix.panels(worker)) {
      finish_linear(phase, pass, panel, 0, 1, sums);
      sums += panel.blocks * kLanes;
    }
    return;
  }
  // A joined phase goes on with what this very worker has made.
  each_panel(phase.matrix, worker, !phase.joined || pass.chained, [&](const Panel& panel) {
    for (std::size_t row = 0; row < pass.rows; row += kTileRows) {
      const std::size_t rows = std::min(kTileRows, pass.rows - row);
      product(matrix, panel, input, row, rows, sums);
      finish_linear(phase, pass, panel, row, rows, sums);
    }
  });
}

void Machine::multiply(Finish finish, const float* gate, const float* up, std::size_t blocks,
                       std::size_t step, float* out) const {
  const auto kernel =
      finish == Finish::kGeluMultiply ? kernels_.gelu_multiply : kernels_.silu_multiply;
  kernel(gate, up, blocks, step, out);
}

void Machine::finish_linear(const LinearPhase& phase, const Pass& pass, const Panel& panel,
                            std::size_t first_row, std::size_t rows, float* product) {
  for (std::size_t r = 0; r < rows; ++r) {
    float* sums = product + r * panel.blocks * kLanes;
    for (const Run& run : panel.runs) {
      const std::size_t width = run.blocks * kLanes;
      if (const auto& bias = phase.biases[run.source]) {
        kernels_.add(vectors_[*bias].values.data() + run.first_row, width,
                     sums + run.panel_block * kLanes);
      }
    }
    if (is_gated(phase.finish)) {
      // Blocks stand gate, up, gate, up, ... and in rising order: one call does the panel.
      const Buffer& buffer = buffers_[phase.outs[0]];
      const std::size_t column = panel.runs[0].first_row;
      if (buffer.rounded == nullptr) {
        multiply(phase.finish, sums, sums + kLanes, panel.blocks / 2, 2 * kLanes,
                 buffer.row(first_row + r) + column);
      } else {  // in place: block i of the result falls on a gate block that has been read
        multiply(phase.finish, sums, sums + kLanes, panel.blocks / 2, 2 * kLanes, sums);
        kernels_.round(sums, panel.blocks / 2 * kLanes, buffer.rounded_row(first_row + r) + column);
      }
      continue;
    }
    for (const Run& run : panel.runs) {
      const std::size_t width = run.blocks * kLanes;
      const float* sum = sums + run.panel_block * kLanes;
      const Buffer& buffer = buffers_[phase.outs[run.source]];
      float* out = buffer.row(first_row + r) + run.first_row;
      if (phase.finish == Finish::kStore) {
        std::memcpy(out, sum, width * sizeof(float));
        continue;
      }
      kernels_.add(sum, width, out);
      if (!phase.tap) continue;
      if (float* tap = tap_row(*phase.tap, pass.first + first_row + r)) {
        const std::size_t real = std::min(width, buffer.width - run.first_row);
        std::memcpy(tap + run.first_row, out, real * sizeof(float));
      }
    }
  }
}

// Whoever has a panel rounds its input himself: that is 1 part in 16 * blocks of the work. An fp16
// matrix takes it where it lies.
void Machine::run(const HeadLinearPhase& phase, const Pass& pass, std::size_t worker) {
  const Matrix& matrix = matrices_[phase.matrix];
  const Buffer& inp = buffers_[phase.inp];
  const std::size_t part = inp.width / matrix.sources();
  const std::size_t stride = 2 * matrix.pairs();
  std::uint16_t* rounded = scratch_[worker].input.data();
  const auto* pairs = reinterpret_cast<const std::uint32_t*>(rounded);
  float* sums = scratch_[worker].product.data();
  for (const Panel& panel : matrix.panels(worker)) {
    const float* from = inp.data + panel.runs[0].source * part;
    for (std::size_t row = 0; row < pass.rows; row += kTileRows) {
      const std::size_t rows = std::min(kTileRows, pass.rows - row);
      if (matrix.format() == Format::kFp16) {
        product(matrix, panel, {nullptr, from, inp.stride}, row, rows, sums);
      } else {
        for (std::size_t r = 0; r < rows; ++r) {
          rounded[r * stride + stride - 1] = 0;  // the padding of an odd number of inputs
          kernels_.round(from + (row + r) * inp.stride, matrix.inputs(), rounded + r * stride);
        }
        product(matrix, panel, {pairs, nullptr, matrix.pairs()}, 0, rows, sums);
      }
      for (std::size_t r = 0; r < rows; ++r) {
        finish_head(phase, panel, row + r, sums + r * panel.blocks * kLanes);
      }
    }
  }
}

void Machine::finish_head(const HeadLinearPhase& phase, const Panel& panel, std::size_t row,
                          const float* product) {
  const Matrix& matrix = matrices_[phase.matrix];
  const Run& run = panel.runs[0];
  const std::size_t outputs = matrix.source_rows(0);
  const std::size_t out_part = buffers_[phase.out].width / matrix.sources();
  float* out = buffers_[phase.out].row(row) + run.source * out_part;
  const std::size_t end = std::min(outputs, run.first_row + panel.blocks * kLanes);
  std::memcpy(out + run.first_row, product, (end - run.first_row) * sizeof(float));
  if (end < outputs) return;
  const std::size_t part = buffers_[phase.inp].width / matrix.sources();
  const float* rest = buffers_[phase.inp].row(row) + run.source * part + matrix.inputs();
  std::memcpy(out + outputs, rest, (out_part - outputs) * sizeof(float));
}

void Machine::run(const EmbedPhase& phase, const Pass& pass, std::size_t worker) {
  const Matrix& table = matrices_[phase.matrix];
  const auto workers = static_cast<std::size_t>(workers_.count());
  const auto gather = [&](std::size_t row, std::size_t first, std::size_t last) {
    float* out = buffers_[phase.out].row(row);
    table.gather(token(pass, row), first, last, out);
    if (phase.scale == 1.0f) return;
    for (std::size_t i = first; i < last; ++i) out[i] *= phase.scale;
  };
  if (pass.rows == 1) {
    // Each value is a cache line of its own in the packed table: share one row's out.
    const std::size_t width = table.inputs();
    gather(0, width * worker / workers, width * (worker + 1) / workers);
    return;
  }
  for (std::size_t row = worker; row < pass.rows; row += workers) {
    gather(row, 0, table.inputs());
  }
}

void Machine::run(const NormPhase& phase, const Pass& pass, std::size_t worker) {
  const auto workers = static_cast<std::size_t>(workers_.count());
  const Buffer& inp = buffers_[phase.inp];
  if (phase.heads > 1 || phase.rest > 0) {
    // The kernel wants rows padded with zeros, and heads stand one against the next.
    const Vector& weight = vectors_[phase.norm.weight];
    float* head = scratch_[worker].key.data();
    for (std::size_t i = worker; i < pass.rows * phase.heads; i += workers) {
      const std::size_t row = i / phase.heads;
      const std::size_t first = i % phase.heads * (weight.width + phase.rest);
      std::fill(head, head + weight.values.size(), 0.0f);
      std::memcpy(head, inp.row(row) + first, weight.width * sizeof(float));
      kernels_.norm(head, weight.values.data(), weight.width, phase.norm.eps, head);
      float* out = buffers_[phase.out].row(row) + first;
      std::memcpy(out, head, weight.width * sizeof(float));
      if (phase.inp == phase.out) continue;
      std::memcpy(out + weight.width, inp.row(row) + first + weight.width,
                  phase.rest * sizeof(float));
    }
    return;
  }
  for (std::size_t row = worker; row < pass.rows; row += workers) {
    kernels_.norm(inp.row(row), vectors_[phase.norm.weight].values.data(), inp.width,
                  phase.norm.eps, buffers_[phase.out].row(row));
  }
}

void Machine::run(const RopePhase& phase, const Pass& pass, std::size_t worker) {
  const std::size_t dim = buffers_[phase.buffer].width / phase.heads;
  const auto workers = static_cast<std::size_t>(workers_.count());
  for (std::size_t i = worker; i < pass.rows * phase.heads; i += workers) {
    const std::size_t row = i / phase.heads;
    float* head = buffers_[phase.buffer].row(row) + i % phase.heads * dim;
    rotate(ropes_[phase.rope], row, head, dim, head);
  }
}

void Machine::run(const ActivatePhase& phase, const Pass& pass, std::size_t worker) {
  const auto workers = static_cast<std::size_t>(workers_.count());
  for (std::size_t row = worker; row < pass.rows; row += workers) {
    multiply(phase.finish, buffers_[phase.gate].row(row), buffers_[phase.up].row(row),
             buffers_[phase.gate].stride / kLanes, kLanes, buffers_[phase.out].row(row));
  }
}

void Machine::run(const AddPhase& phase, const Pass& pass, std::size_t worker) {
  const auto workers = static_cast<std::size_t>(workers_.count());
  for (std::size_t row = worker; row < pass.rows; row += workers) {
    kernels_.add(buffers_[phase.inp].row(row), buffers_[phase.inp].stride,
                 buffers_[phase.out].row(row));
  }
}

void Machine::run(const TapPhase& phase, const Pass& pass, std::size_t worker) {
  const auto workers = static_cast<std::size_t>(workers_.count());
  for (std::size_t row = worker; row < pass.rows; row += workers) {
    if (float* tap = tap_row(phase.layer, pass.first + row)) {
      std::memcpy(tap, buffers_[phase.inp].row(row), geometry_.hidden * sizeof(float));
    }
  }
}

}  // namespace headrace
