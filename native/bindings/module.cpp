// The one place that knows Python. Shapes are checked here or by the machine, never trusted.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <exception>
#include <memory>
#include <stdexcept>

#include "headrace/digest.hpp"
#include "headrace/machine.hpp"
#include "headrace/platform.hpp"
#include "headrace/probe.hpp"
#include "headrace/sample.hpp"

namespace nb = nanobind;

namespace headrace {
namespace {

template <typename T>
using Array = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Matrix2 = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Norm = std::optional<std::pair<Id, float>>;  // weight vector, eps
using Ids = std::vector<std::optional<Id>>;

template <typename T>
std::span<T> span_of(const Array<T>& array) {
  return {array.data(), array.shape(0)};
}

std::optional<NormInput> norm_input(const Norm& norm) {
  if (!norm) return std::nullopt;
  return NormInput{norm->first, norm->second};
}

std::unique_ptr<Machine> make_machine(const std::string& isa, int threads, std::size_t vocab,
                                      std::size_t hidden, std::size_t max_positions,
                                      std::size_t num_blocks) {
  const Kernels* kernels = find_kernels(isa.c_str());
  if (kernels == nullptr) throw std::invalid_argument("isa '" + isa + "' does not run here");
  if (threads < 1) throw std::invalid_argument("threads must be at least 1");
  return std::make_unique<Machine>(*kernels, threads,
                                   Geometry{vocab, hidden, max_positions, num_blocks});
}

Id add_matrix(Machine& machine, std::vector<std::size_t> source_rows, std::size_t inputs,
              const Matrix2<const std::uint32_t>& order, std::size_t unit, std::size_t grain,
              bool apart, int format) {
  std::vector<Block> blocks(order.shape(0));
  if (order.shape(1) != 2) throw std::invalid_argument("order must be [blocks, 2]");
  if (format < 0 || format > static_cast<int>(Format::kMxfp4)) {
    throw std::invalid_argument("unknown format");
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    blocks[i] = {order.data()[2 * i], order.data()[2 * i + 1]};
  }
  return machine.add_matrix(std::move(source_rows), inputs, std::move(blocks), unit, grain, apart,
                            static_cast<Format>(format));
}

void pack(Machine& machine, Id matrix, std::size_t source,
          const Matrix2<const std::uint16_t>& values) {
  nb::gil_scoped_release released;
  machine.pack(matrix, source, {values.data(), values.size()});
}

void pack_mxfp4(Machine& machine, Id matrix, std::size_t source,
                const Matrix2<const std::uint8_t>& codes,
                const Matrix2<const std::uint8_t>& scales) {
  nb::gil_scoped_release released;
  machine.pack_mxfp4(matrix, source, {codes.data(), codes.size()},
                     {scales.data(), scales.size()});
}

void unpack_mxfp4(const Machine& machine, Id matrix, std::size_t source,
                  const Matrix2<std::uint8_t>& codes, const Matrix2<std::uint8_t>& scales) {
  const Matrix& packed = machine.matrix(matrix);
  if (source >= packed.sources() || packed.format() != Format::kMxfp4 ||
      codes.shape(0) != packed.source_rows(source) || codes.shape(1) != packed.inputs() / 2 ||
      scales.shape(0) != packed.source_rows(source) || scales.shape(1) != packed.groups()) {
    throw std::invalid_argument("unpack: the arrays do not have the source's shape");
  }
  packed.unpack_mxfp4(source, codes.data(), scales.data());
}

void unpack(const Machine& machine, Id matrix, std::size_t source,
            const Matrix2<std::uint16_t>& values) {
  const Matrix& packed = machine.matrix(matrix);
  if (source >= packed.sources() || packed.format() == Format::kMxfp4 ||
      values.shape(0) != packed.source_rows(source) || values.shape(1) != packed.inputs()) {
    throw std::invalid_argument("unpack: the array does not have the source's shape");
  }
  packed.unpack(source, values.data());
}

// Worker's packed weights, as bytes that live as long as the machine.
nb::ndarray<nb::numpy, std::uint8_t, nb::ndim<1>> packed(nb::handle_t<Machine> self,
                                                         std::size_t worker) {
  const std::span<std::uint8_t> bytes = nb::cast<Machine&>(self).packed(worker);
  return {bytes.data(), {bytes.size()}, self};
}

bool step(Machine& machine, const Array<const std::int32_t>& token_ids,
          const Array<const std::int32_t>& positions, const Array<const std::int32_t>& row_sequence,
          const Matrix2<const std::int32_t>& block_tables,
          const Array<const std::int32_t>& sample_rows, const Array<const float>& temperature,
          const Array<const std::int32_t>& top_k, const Array<const float>& top_p,
          const Array<const float>& min_p, const Array<const std::uint64_t>& seed,
          const Array<const std::int32_t>& bias_offsets, const Array<const std::int32_t>& bias_ids,
          const Array<const float>& bias_values, const Array<const std::int32_t>& mask_rows,
          const Matrix2<const std::uint32_t>& mask_bits,
          const std::optional<nb::callable>& await_masks, const Array<std::int32_t>& tokens,
          const std::optional<Matrix2<float>>& logits,
          const std::optional<Array<const std::int32_t>>& taps,
          const std::optional<nb::ndarray<float, nb::ndim<3>, nb::c_contig>>& hidden,
          std::size_t vocab, std::size_t hidden_size, std::size_t steps) {
  StepInput input{};
  input.steps = steps;
  input.token_ids = span_of(token_ids);
  input.positions = span_of(positions);
  input.row_sequence = span_of(row_sequence);
  input.block_tables = {block_tables.data(), block_tables.size()};
  input.table_width = block_tables.shape(1);
  input.sample_rows = span_of(sample_rows);
  input.temperature = span_of(temperature);
  input.top_k = span_of(top_k);
  input.top_p = span_of(top_p);
  input.min_p = span_of(min_p);
  input.seed = span_of(seed);
  input.bias_offsets = span_of(bias_offsets);
  input.bias_ids = span_of(bias_ids);
  input.bias_values = span_of(bias_values);
  input.mask_rows = span_of(mask_rows);
  input.mask_bits = {mask_bits.data(), mask_bits.size()};
  input.mask_words = mask_bits.shape(1);
  input.tokens = span_of(tokens);
  if (logits) {
    if (logits->shape(0) != sample_rows.shape(0) || logits->shape(1) != vocab) {
      throw std::invalid_argument("logits must be [M, V]");
    }
    input.logits = logits->data();
  }
  if (taps.has_value() != hidden.has_value()) {
    throw std::invalid_argument("taps and hidden go together");
  }
  if (taps) {
    if (hidden->shape(0) != taps->shape(0) || hidden->shape(1) != token_ids.shape(0) ||
        hidden->shape(2) != hidden_size) {
      throw std::invalid_argument("hidden must be [taps, T, hidden size]");
    }
    input.taps = span_of(*taps);
    input.hidden = hidden->data();
  }
  // An exception may not pass through the machine, whose other workers are at a barrier then.
  std::exception_ptr failure;
  if (await_masks) {
    input.await_masks = [&] {
      nb::gil_scoped_acquire held;
      try {
        (*await_masks)();
      } catch (...) {
        failure = std::current_exception();
      }
    };
  }
  bool is_finite = false;
  {
    nb::gil_scoped_release released;
    is_finite = machine.step(input);
  }
  if (failure) std::rethrow_exception(failure);
  return is_finite;
}

std::int32_t draw(const Array<const float>& logits, float temperature, std::int32_t top_k,
                  float top_p, float min_p, std::uint64_t seed, std::int32_t position) {
  std::vector<Candidate> list;
  const std::int32_t likeliest = argmax(logits.data(), logits.shape(0));
  return sample(logits.data(), logits.shape(0), likeliest, {temperature, top_k, top_p, min_p, seed},
                position, list);
}

Finish finish_of(int number) {
  if (number < 0 || number > static_cast<int>(Finish::kGeluMultiply)) {
    throw std::invalid_argument("unknown finish");
  }
  return static_cast<Finish>(number);
}

void bind_phases(nb::class_<Machine>& machine) {
  machine
      .def(
          "embed",
          [](Machine& m, Id out, Id matrix, float scale) {
            m.add_phase(EmbedPhase{out, matrix, scale});
          },
          nb::arg("out"), nb::arg("matrix"), nb::arg("scale") = 1.0f)
      .def(
          "norm",
          [](Machine& m, Id inp, Id out, Id weight, float eps, std::size_t heads,
             std::size_t rest) {
            m.add_phase(NormPhase{inp, out, {weight, eps}, heads, rest});
          },
          nb::arg("inp"), nb::arg("out"), nb::arg("weight"), nb::arg("eps"), nb::arg("heads") = 1,
          nb::arg("rest") = 0)
      .def(
          "linear",
          [](Machine& m, Id matrix, Id inp, const Norm& norm, Ids biases, std::vector<Id> outs,
             int finish, std::optional<int> tap) {
            m.add_phase(LinearPhase{matrix, inp, norm_input(norm), std::move(biases),
                                    std::move(outs), finish_of(finish), tap});
          },
          nb::arg("matrix"), nb::arg("inp"), nb::arg("norm").none(), nb::arg("biases"),
          nb::arg("outs"), nb::arg("finish"), nb::arg("tap").none())
      .def("head_linear", [](Machine& m, Id matrix, Id inp,
                             Id out) { m.add_phase(HeadLinearPhase{matrix, inp, out}); })
      .def(
          "attention",
          [](Machine& m, Id layer, std::optional<Id> rope_q, std::optional<Id> rope_k,
             std::optional<Id> k, std::optional<Id> v, std::optional<Id> q, std::optional<Id> out,
             std::size_t heads, float scale, std::optional<int> window, std::optional<Id> sinks) {
            AttentionPhase phase{layer, rope_q, rope_k, k, v, q, out, heads, scale};
            if (window) phase.window = *window;
            phase.sinks = sinks;
            m.add_phase(std::move(phase));
          },
          nb::arg("layer"), nb::arg("rope_q").none(), nb::arg("rope_k").none(), nb::arg("k").none(),
          nb::arg("v").none(), nb::arg("q").none(), nb::arg("out").none(), nb::arg("heads"),
          nb::arg("scale"), nb::arg("window") = nb::none(), nb::arg("sinks") = nb::none())
      .def("rope", [](Machine& m, Id buffer, Id rope,
                      std::size_t heads) { m.add_phase(RopePhase{buffer, rope, heads}); })
      .def(
          "activate",
          [](Machine& m, Id gate, Id up, Id out, int finish) {
            m.add_phase(ActivatePhase{gate, up, out, finish_of(finish)});
          },
          nb::arg("gate"), nb::arg("up"), nb::arg("out"),
          nb::arg("finish") = static_cast<int>(Finish::kSiluMultiply))
      .def("route",
           [](Machine& m, Id inp, Id out, std::size_t top, bool normalised, bool sigmoid,
              std::optional<Id> correction,
              const std::optional<std::pair<std::size_t, std::size_t>>& groups, float scale) {
             RoutePhase phase{inp, out, top, normalised, sigmoid, correction, {}, scale};
             if (groups) phase.groups = {groups->first, groups->second};
             m.add_phase(phase);
           })
      .def("experts",
           [](Machine& m, std::vector<Id> up, std::vector<Id> down, Id inp, Id routed, Id inner,
              Id out, std::size_t width, const std::vector<std::array<Id, 3>>& biases,
              const std::optional<std::pair<float, float>>& clamp) {
             ExpertsUpPhase first{std::move(up), inp, routed, inner, width, {}};
             ExpertsDownPhase second{std::move(down), inner, routed, out, width, {}};
             for (const auto& [to_gate, to_up, to_down] : biases) {
               first.biases.push_back({to_gate, to_up});
               second.biases.push_back(to_down);
             }
             if (clamp) first.clamp = ClampedSwiglu{clamp->first, clamp->second};
             m.add_phase(std::move(first));
             m.add_phase(std::move(second));
           })
      .def("add", [](Machine& m, Id inp, Id out) { m.add_phase(AddPhase{inp, out}); })
      .def("tap", [](Machine& m, Id inp, int layer) { m.add_phase(TapPhase{inp, layer}); })
      .def(
          "head",
          [](Machine& m, Id matrix, Id inp, const Norm& norm) {
            m.add_phase(HeadPhase{matrix, inp, norm_input(norm)});
          },
          nb::arg("matrix"), nb::arg("inp"), nb::arg("norm").none());
}

}  // namespace
}  // namespace headrace

NB_MODULE(_native, module) {
  using namespace headrace;
  module.attr("BLOCK_TOKENS") = kBlockTokens;
  module.attr("LANES") = kLanes;
  module.def("available_isas", &available_isas);
  module.def("physical_cores", &physical_cores);
  module.def("read_bandwidth", &read_bandwidth, nb::arg("bytes"), nb::arg("threads"),
             nb::arg("seconds"), nb::call_guard<nb::gil_scoped_release>());
  module.def("barrier_seconds", &barrier_seconds, nb::arg("threads"),
             nb::call_guard<nb::gil_scoped_release>());
  module.def("round_trip_seconds", &round_trip_seconds,
             nb::call_guard<nb::gil_scoped_release>());
  module.def(
      "digest", [](const Array<const std::uint8_t>& bytes) { return digest(span_of(bytes)); },
      nb::arg("bytes"), nb::call_guard<nb::gil_scoped_release>());
  module.def("sample", &draw, nb::arg("logits"), nb::arg("temperature"), nb::arg("top_k"),
             nb::arg("top_p"), nb::arg("min_p"), nb::arg("seed"), nb::arg("position"));

  nb::class_<Machine> machine(module, "Machine");
  machine
      .def(nb::new_(&make_machine), nb::arg("isa"), nb::arg("threads"), nb::arg("vocab"),
           nb::arg("hidden"), nb::arg("max_positions"), nb::arg("num_blocks"))
      .def("add_buffer", &Machine::add_buffer)
      .def("add_vector",
           [](Machine& m, const Array<const float>& values) {
             return m.add_vector(span_of(values));
           })
      .def(
          "add_rope",
          [](Machine& m, const Array<const float>& frequencies, std::size_t first, bool interleaved,
             float scale) { return m.add_rope(span_of(frequencies), first, interleaved, scale); },
          nb::arg("frequencies"), nb::arg("first") = 0, nb::arg("interleaved") = false,
          nb::arg("scale") = 1.0f)
      .def("add_layer", &Machine::add_layer, nb::arg("kv_heads"), nb::arg("head_dim"),
           nb::arg("value_dim") = nb::none())
      .def("add_matrix", &add_matrix, nb::arg("source_rows"), nb::arg("inputs"), nb::arg("order"),
           nb::arg("unit"), nb::arg("grain"), nb::arg("apart") = false, nb::arg("format") = 0)
      .def("allocate", &Machine::allocate)
      .def("pack", &pack, nb::arg("matrix"), nb::arg("source"), nb::arg("values").noconvert())
      .def("packed", &packed, nb::arg("worker"))
      .def("map_packed", &Machine::map_packed, nb::arg("worker"), nb::arg("descriptor"),
           nb::arg("offset"))
      .def("pin_packed", &Machine::pin_packed, nb::arg("worker"),
           nb::call_guard<nb::gil_scoped_release>())
      .def("clear_packed", &Machine::clear_packed, nb::arg("worker"))
      .def("unpack", &unpack, nb::arg("matrix"), nb::arg("source"), nb::arg("values").noconvert())
      .def("pack_mxfp4", &pack_mxfp4, nb::arg("matrix"), nb::arg("source"),
           nb::arg("codes").noconvert(), nb::arg("scales").noconvert())
      .def("unpack_mxfp4", &unpack_mxfp4, nb::arg("matrix"), nb::arg("source"),
           nb::arg("codes").noconvert(), nb::arg("scales").noconvert())
      .def("watch_phases", &Machine::watch_phases, nb::arg("on"))
      .def_prop_ro("num_phases", &Machine::num_phases)
      .def_prop_ro("phase_seconds",
                   [](const Machine& m) { return std::vector<double>(m.phase_seconds()); })
      .def("step", &step, nb::arg("token_ids").noconvert(), nb::arg("positions").noconvert(),
           nb::arg("row_sequence").noconvert(), nb::arg("block_tables").noconvert(),
           nb::arg("sample_rows").noconvert(), nb::arg("temperature").noconvert(),
           nb::arg("top_k").noconvert(), nb::arg("top_p").noconvert(), nb::arg("min_p").noconvert(),
           nb::arg("seed").noconvert(), nb::arg("bias_offsets").noconvert(),
           nb::arg("bias_ids").noconvert(), nb::arg("bias_values").noconvert(),
           nb::arg("mask_rows").noconvert(), nb::arg("mask_bits").noconvert(),
           nb::arg("await_masks").none(), nb::arg("tokens").noconvert(),
           nb::arg("logits").noconvert().none(), nb::arg("taps").noconvert().none(),
           nb::arg("hidden").noconvert().none(), nb::arg("vocab"), nb::arg("hidden_size"),
           nb::arg("steps"))
      .def_prop_ro("isa", &Machine::isa)
      .def_prop_ro("workers", &Machine::workers)
      .def_prop_ro("weight_bytes", &Machine::weight_bytes)
      .def_prop_ro("kv_bytes", &Machine::kv_bytes);
  bind_phases(machine);
}
