// Mixtures of experts: who counts for a row, and the products of those that do.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "headrace/machine.hpp"

namespace headrace {

namespace {

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

}  // namespace

void Machine::check(const RoutePhase& phase) const {
  require(phase.inp < buffers_.size() && phase.out < buffers_.size() && phase.inp != phase.out &&
              buffers_[phase.inp].width == buffers_[phase.out].width && phase.top > 0 &&
              phase.top <= buffers_[phase.inp].width,
          "route: unknown id, one buffer for both, or more experts chosen than there are");
  const std::size_t experts = buffers_[phase.inp].width;
  require(!phase.correction || (*phase.correction < vectors_.size() &&
                                vectors_[*phase.correction].width == experts),
          "route: the correction does not fit");
  require(phase.groups.count > 0 && experts % phase.groups.count == 0 && phase.groups.best > 0 &&
              phase.groups.best <= phase.groups.count &&
              phase.top <= experts / phase.groups.count * phase.groups.best,
          "route: groups do not fit");
}

void Machine::check_experts(const std::vector<Id>& matrices) const {
  require(!matrices.empty(), "experts: there are none");
  for (const Id id : matrices) require(id < matrices_.size(), "experts: unknown matrix");
  const Matrix& first = matrices_[matrices[0]];
  for (const Id id : matrices) {
    const Matrix& matrix = matrices_[id];
    bool same = matrix.format() == first.format() && matrix.inputs() == first.inputs() &&
                matrix.sources() == first.sources();
    for (std::size_t worker = 0; same && worker < static_cast<std::size_t>(workers()); ++worker) {
      const auto& panels = matrix.panels(worker);
      const auto& others = first.panels(worker);
      same = panels.size() == others.size();
      for (std::size_t p = 0; same && p < panels.size(); ++p) {
        same = panels[p].first_block == others[p].first_block &&
               panels[p].blocks == others[p].blocks;
      }
    }
    for (std::size_t s = 0; same && s < matrix.sources(); ++s) {
      same = matrix.source_rows(s) == first.source_rows(s);
    }
    require(same, "experts: their matrices differ in shape or format");
  }
}

void Machine::check_bias(Id bias, std::size_t width) const {
  require(bias < vectors_.size() && vectors_[bias].width == width,
          "experts: a bias does not fit its matrix");
}

void Machine::check(const ExpertsUpPhase& phase) const {
  check_experts(phase.matrices);
  require(phase.inp < buffers_.size() && phase.routed < buffers_.size() &&
              phase.out < buffers_.size() && phase.inp != phase.out && phase.routed != phase.out,
          "experts: unknown id, or one buffer for input and output");
  const Matrix& matrix = matrices_[phase.matrices[0]];
  require(matrix.inputs() == buffers_[phase.inp].width &&
              buffers_[phase.routed].width == phase.matrices.size(),
          "experts: the input does not fit");
  require(phase.width % kLanes == 0 && matrix.sources() == 2 &&
              matrix.source_rows(0) == matrix.source_rows(1) && matrix.grain() == 2 &&
              matrix.source_rows(0) <= phase.width && buffers_[phase.out].width >= phase.width &&
              buffers_[phase.out].width % phase.width == 0,
          "experts: gate and up do not fit the slots");
  require(phase.biases.empty() || phase.biases.size() == phase.matrices.size(),
          "experts: a bias for each, or none");
  for (const auto& biases : phase.biases) {
    for (const Id bias : biases) check_bias(bias, matrix.source_rows(0));
  }
}

void Machine::check(const ExpertsDownPhase& phase) const {
  check_experts(phase.matrices);
  require(phase.inp < buffers_.size() && phase.routed < buffers_.size() &&
              phase.out < buffers_.size() && phase.inp != phase.out && phase.routed != phase.out,
          "experts: unknown id, or one buffer for input and output");
  const Matrix& matrix = matrices_[phase.matrices[0]];
  require(phase.width % kLanes == 0 && matrix.sources() == 1 && matrix.inputs() <= phase.width &&
              buffers_[phase.inp].width >= phase.width &&
              buffers_[phase.inp].width % phase.width == 0 &&
              buffers_[phase.routed].width == phase.matrices.size() &&
              matrix.source_rows(0) == buffers_[phase.out].width,
          "experts: down does not fit the slots, or its output");
  require(phase.biases.empty() || phase.biases.size() == phase.matrices.size(),
          "experts: a bias for each, or none");
  for (const Id bias : phase.biases) check_bias(bias, matrix.source_rows(0));
}

void Machine::choose_by(const RoutePhase& phase, const float* scores, float* choice) const {
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  const std::size_t experts = buffers_[phase.inp].width;
  std::copy(scores, scores + experts, choice);
  if (phase.correction) {
    const float* correction = vectors_[*phase.correction].values.data();
    for (std::size_t e = 0; e < experts; ++e) choice[e] += correction[e];
  }
  const std::size_t size = experts / phase.groups.count;
  const auto sum_of_two = [&](std::size_t group) {
    float first = kNever;
    float second = kNever;
    for (std::size_t e = group * size; e < (group + 1) * size; ++e) {
      if (choice[e] > first) {
        second = first;
        first = choice[e];
      } else if (choice[e] > second) {
        second = choice[e];
      }
    }
    return first + second;
  };
  // One group after the other is ruled out: the one with the least sum, of equals the last.
  for (std::size_t left = phase.groups.count; left > phase.groups.best; --left) {
    std::size_t worst = phase.groups.count;
    float least = 0.0f;
    for (std::size_t group = 0; group < phase.groups.count; ++group) {
      const float sum = sum_of_two(group);
      if (choice[group * size] == kNever) continue;  // ruled out before
      if (worst == phase.groups.count || !(sum > least)) {
        worst = group;
        least = sum;
      }
    }
    if (worst == phase.groups.count) return;
    std::fill(choice + worst * size, choice + (worst + 1) * size, kNever);
  }
}

void Machine::run(const RoutePhase& phase, const Pass& pass, std::size_t worker) {
  const auto workers = static_cast<std::size_t>(workers_.count());
  const std::size_t experts = buffers_[phase.inp].width;
  float* own = scratch_[worker].choice.data();
  float* choice = own + experts;
  for (std::size_t row = worker; row < pass.rows; row += workers) {
    const float* scores = buffers_[phase.inp].row(row);
    float* out = buffers_[phase.out].row(row);
    std::fill(out, out + experts, 0.0f);
    if (phase.sigmoid) {
      for (std::size_t e = 0; e < experts; ++e) own[e] = 1.0f / (1.0f + std::exp(-scores[e]));
      scores = own;
    }
    choose_by(phase, scores, choice);
    const float most = *std::max_element(scores, scores + experts);
    float sum = 0.0f;
    for (std::size_t n = 0; n < phase.top; ++n) {
      std::size_t best = experts;
      for (std::size_t e = 0; e < experts; ++e) {
        const bool is_free = out[e] == 0.0f;
        if (is_free && (best == experts || choice[e] > choice[best])) best = e;
      }
      if (best == experts) break;
      // A score so low that it counts nothing keeps its place: the smallest number stands for it.
      const float counts = phase.sigmoid ? scores[best] : std::exp(scores[best] - most);
      out[best] = std::max(counts, std::numeric_limits<float>::min());
      sum += out[best];
    }
    if (!phase.normalised) {
      sum = phase.sigmoid ? 1.0f : 0.0f;
      for (std::size_t e = 0; !phase.sigmoid && e < experts; ++e) sum += std::exp(scores[e] - most);
    }
    for (std::size_t e = 0; e < experts; ++e) out[e] = out[e] / sum * phase.scale;
  }
}

template <typename Each>
void Machine::each_chosen(Id routed, std::size_t experts, std::size_t slots, const Pass& pass,
                          Scratch& own, Each each) const {
  std::fill(own.slots.begin(), own.slots.end(), 0);
  for (std::size_t expert = 0; expert < experts; ++expert) {
    own.chosen.clear();
    for (std::size_t row = 0; row < pass.rows; ++row) {
      const float counts = buffers_[routed].row(row)[expert];
      if (counts == 0.0f || own.slots[row] == slots) continue;
      own.chosen.push_back({row, own.slots[row]++, counts});
    }
    if (!own.chosen.empty()) each(expert, std::span<const Chosen>(own.chosen));
  }
}

template <typename Finish>
void Machine::each_product(const Matrix& matrix, std::size_t worker, const Rows& input,
                           std::size_t rows, Finish finish) {
  float* sums = scratch_[worker].product.data();
  for (const Panel& panel : matrix.panels(worker)) {
    for (std::size_t first = 0; first < rows; first += kTileRows) {
      const std::size_t count = std::min(kTileRows, rows - first);
      product(matrix, panel, input, first, count, sums);
      for (std::size_t r = 0; r < count; ++r) {
        finish(panel, first + r, sums + r * panel.blocks * kLanes);
      }
    }
  }
}

void Machine::add_biases(const Panel& panel, std::span<const Id> biases, float* sums) const {
  if (biases.empty()) return;
  for (const Run& run : panel.runs) {
    kernels_.add(vectors_[biases[run.source]].values.data() + run.first_row, run.blocks * kLanes,
                 sums + run.panel_block * kLanes);
  }
}

// The rows that chose an expert, side by side: its weights are read once for all of them.
Machine::Rows Machine::gathered(const Rows& input, std::span<const Chosen> chosen,
                                Scratch& own) const {
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const std::size_t from = chosen[i].row * input.stride;
    if (input.exact != nullptr) {
      std::memcpy(own.expert_exact.data() + i * input.stride, input.exact + from,
                  input.stride * sizeof(float));
    } else {
      std::memcpy(own.expert_input.data() + 2 * i * input.stride, input.pairs + from,
                  input.stride * sizeof(std::uint32_t));
    }
  }
  if (input.exact != nullptr) return {nullptr, own.expert_exact.data(), input.stride};
  return {reinterpret_cast<const std::uint32_t*>(own.expert_input.data()), nullptr, input.stride};
}

void Machine::run(const ExpertsUpPhase& phase, const Pass& pass, std::size_t worker) {
  Scratch& own = scratch_[worker];
  const Format format = matrices_[phase.matrices[0]].format();
  const Rows input =
      product_input(format, worker, phase.inp, std::nullopt, nullptr, pass.rows, false);
  const Buffer& out = buffers_[phase.out];
  const auto finish = [&](std::size_t expert, const Panel& panel, const Chosen& chosen,
                          float* sums) {
    if (!phase.biases.empty()) add_biases(panel, phase.biases[expert], sums);
    float* to = out.row(chosen.row) + chosen.slot * phase.width + panel.runs[0].first_row;
    if (phase.clamp) {
      kernels_.clamped_multiply(sums, sums + kLanes, panel.blocks / 2, 2 * kLanes,
                                phase.clamp->alpha, phase.clamp->limit, to);
    } else {
      multiply(Finish::kSiluMultiply, sums, sums + kLanes, panel.blocks / 2, 2 * kLanes, to);
    }
  };
  each_chosen(phase.routed, phase.matrices.size(), out.width / phase.width, pass, own,
              [&](std::size_t expert, std::span<const Chosen> chosen) {
                const Rows rows = pass.rows == 1 ? input : gathered(input, chosen, own);
                each_product(matrices_[phase.matrices[expert]], worker, rows, chosen.size(),
                             [&](const Panel& panel, std::size_t i, float* sums) {
                               finish(expert, panel, chosen[i], sums);
                             });
              });
}

// What the chosen rows' slots hold, side by side as a product takes it.
Machine::Rows Machine::gathered_slots(const Matrix& matrix, const ExpertsDownPhase& phase,
                                      std::span<const Chosen> chosen, Scratch& own) const {
  const std::size_t stride = 2 * matrix.pairs();
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const float* from = buffers_[phase.inp].row(chosen[i].row) + chosen[i].slot * phase.width;
    if (matrix.format() == Format::kFp16) {
      std::memcpy(own.expert_exact.data() + i * phase.width, from, phase.width * sizeof(float));
    } else {
      std::uint16_t* to = own.expert_input.data() + i * stride;
      to[stride - 1] = 0;  // the padding of an odd number of inputs
      kernels_.round(from, matrix.inputs(), to);
    }
  }
  if (matrix.format() == Format::kFp16) return {nullptr, own.expert_exact.data(), phase.width};
  return {reinterpret_cast<const std::uint32_t*>(own.expert_input.data()), nullptr,
          matrix.pairs()};
}

void Machine::run(const ExpertsDownPhase& phase, const Pass& pass, std::size_t worker) {
  Scratch& own = scratch_[worker];
  const Buffer& out = buffers_[phase.out];
  const auto finish = [&](std::size_t expert, const Panel& panel, const Chosen& chosen,
                          float* sums) {
    if (!phase.biases.empty()) add_biases(panel, {&phase.biases[expert], 1}, sums);
    for (const Run& run : panel.runs) {
      float* to = out.row(chosen.row) + run.first_row;
      const float* sum = sums + run.panel_block * kLanes;
      for (std::size_t i = 0; i < run.blocks * kLanes; ++i) {
        to[i] = (chosen.slot == 0 ? 0.0f : to[i]) + chosen.counts * sum[i];
      }
    }
  };
  each_chosen(phase.routed, phase.matrices.size(), buffers_[phase.inp].width / phase.width, pass,
              own, [&](std::size_t expert, std::span<const Chosen> chosen) {
                const Matrix& matrix = matrices_[phase.matrices[expert]];
                const Rows rows = gathered_slots(matrix, phase, chosen, own);
                each_product(matrix, worker, rows, chosen.size(),
                             [&](const Panel& panel, std::size_t i, float* sums) {
                               finish(expert, panel, chosen[i], sums);
                             });
              });
}

}  // namespace headrace
