// The head: logits of the sampled rows, their running argmax, and the draw.
#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "headrace/machine.hpp"

namespace headrace {

std::size_t Machine::head_chunk() const {
  // Logits kept for the sampler are bounded: 16 rows of a 128k vocabulary are 8 MB.
  return needs_logits_ ? 16 : kMaxRows;
}

void Machine::run(const HeadPhase& phase, const Pass& pass, std::size_t worker) {
  const auto workers = static_cast<std::size_t>(workers_.count());
  Scratch& own = scratch_[worker];
  const std::span<const std::size_t> all(pass.samples);
  const std::size_t chunk = head_chunk();
  std::size_t rows[kMaxRows];
  for (std::size_t first = 0; first < all.size(); first += chunk) {
    const auto samples = all.subspan(first, std::min(chunk, all.size() - first));
    for (std::size_t i = 0; i < samples.size(); ++i) {
      rows[i] = static_cast<std::size_t>(input_->sample_rows[samples[i]]) - pass.first;
    }
    const Rows input = product_input(matrices_[phase.matrix].format(), worker, phase.inp,
                                     phase.norm, rows, samples.size(), false);
    head_products(phase, samples, input, worker);
    if (worker == 0 && input_->await_masks) input_->await_masks();
    workers_.barrier(static_cast<int>(worker));
    for (std::size_t i = worker; i < samples.size(); i += workers) {
      head_finish(pass, i, samples[i], own);
    }
    // The next chunk overwrites what others may still be reading.
    if (first + samples.size() < all.size()) workers_.barrier(static_cast<int>(worker));
  }
}

float* Machine::logits_row(std::size_t index, std::size_t sample) {
  if (input_->logits != nullptr) return input_->logits + sample * geometry_.vocab;
  return needs_logits_ ? logits_.data() + index * geometry_.vocab : nullptr;
}

void Machine::head_products(const HeadPhase& phase, std::span<const std::size_t> samples,
                            const Rows& input, std::size_t worker) {
  const Matrix& matrix = matrices_[phase.matrix];
  Scratch& own = scratch_[worker];
  for (std::size_t i = 0; i < samples.size(); ++i) {
    ArgmaxLanes& lanes = own.argmax[i];
    std::fill(std::begin(lanes.best), std::end(lanes.best),
              -std::numeric_limits<float>::infinity());
    std::fill(std::begin(lanes.id), std::end(lanes.id), 0.0f);
    std::fill(std::begin(lanes.poison), std::end(lanes.poison), 0.0f);
  }
  each_panel(phase.matrix, worker, true, [&](const Panel& panel) {
    const std::size_t stride = panel.blocks * kLanes;
    for (std::size_t row = 0; row < samples.size(); row += kTileRows) {
      const std::size_t rows = std::min(kTileRows, samples.size() - row);
      product(matrix, panel, input, row, rows, own.product.data());
      for (std::size_t r = 0; r < rows; ++r) {
        const float* product = own.product.data() + r * stride;
        float* logits = logits_row(row + r, samples[row + r]);
        for (const Run& run : panel.runs) {
          const float* values = product + run.panel_block * kLanes;
          const std::size_t count = std::min(run.blocks * kLanes, geometry_.vocab - run.first_row);
          kernels_.scan(values, count, run.first_row, &own.argmax[row + r]);
          if (logits != nullptr) {
            std::memcpy(logits + run.first_row, values, count * sizeof(float));
          }
        }
      }
    }
  });
}

void Machine::head_finish(const Pass& pass, std::size_t index, std::size_t sample, Scratch& own) {
  float best = -std::numeric_limits<float>::infinity();
  float id = 0.0f;
  for (const Scratch& scratch : scratch_) {
    const ArgmaxLanes& lanes = scratch.argmax[index];
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      // Poison is 0 or not a number.
      if (lanes.poison[lane] != 0.0f) finite_.store(false, std::memory_order_relaxed);
      if (lanes.best[lane] > best || (lanes.best[lane] == best && lanes.id[lane] < id)) {
        best = lanes.best[lane];
        id = lanes.id[lane];
      }
    }
  }
  std::int32_t token = static_cast<std::int32_t>(id);
  const bool biased = input_->is_biased(sample);
  const bool is_masked = input_->is_masked(sample);
  const bool is_drawn = biased || is_masked || input_->temperature[sample] != 0.0f;
  if (is_drawn && finite_.load(std::memory_order_relaxed)) {
    float* logits = logits_row(index, sample);
    if (is_masked) {
      logits = masked(logits, sample, own);
      token = argmax(logits, geometry_.vocab);
    }
    token = biased ? draw_biased(logits, pass, sample, own)
                   : draw(logits, pass, sample, token, own);
  }
  input_->tokens[pass.step * input_->sample_rows.size() + sample] = token;
}

std::int32_t Machine::draw(const float* logits, const Pass& pass, std::size_t sample,
                           std::int32_t likeliest, Scratch& own) {
  const Draw how{input_->temperature[sample], input_->top_k[sample], input_->top_p[sample],
                 input_->min_p[sample], input_->seed[sample]};
  const std::size_t row = static_cast<std::size_t>(input_->sample_rows[sample]) - pass.first;
  return headrace::sample(logits, geometry_.vocab, likeliest, how, position(pass, row) + 1,
                          own.sampling);
}

float* Machine::masked(const float* logits, std::size_t sample, Scratch& own) const {
  const auto mask = static_cast<std::size_t>(input_->mask_rows[sample]);
  const std::uint32_t* bits = input_->mask_bits.data() + mask * input_->mask_words;
  own.allowed.assign(geometry_.vocab, -std::numeric_limits<float>::infinity());
  for (std::size_t word = 0; word < input_->mask_words; ++word) {
    for (std::uint32_t left = bits[word]; left != 0; left &= left - 1) {
      const std::size_t token = word * 32 + static_cast<std::size_t>(std::countr_zero(left));
      if (token < geometry_.vocab) own.allowed[token] = logits[token];
    }
  }
  return own.allowed.data();
}

// Adds the bias where the logits lie and takes it off again: the caller may have asked for them.
std::int32_t Machine::draw_biased(float* logits, const Pass& pass, std::size_t sample,
                                  Scratch& own) {
  const auto first = static_cast<std::size_t>(input_->bias_offsets[sample]);
  const auto end = static_cast<std::size_t>(input_->bias_offsets[sample + 1]);
  own.unbiased.clear();
  for (std::size_t b = first; b < end; ++b) {
    float& logit = logits[input_->bias_ids[b]];
    own.unbiased.push_back(logit);
    logit += input_->bias_values[b];
  }
  const std::int32_t token = draw(logits, pass, sample, argmax(logits, geometry_.vocab), own);
  for (std::size_t b = first; b < end; ++b) {
    logits[input_->bias_ids[b]] = own.unbiased[b - first];
  }
  return token;
}

}  // namespace headrace
