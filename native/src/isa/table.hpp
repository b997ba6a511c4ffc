// Compiles every kernel family for HEADRACE_ISA and gathers them in a table.
//
// Everything the families define has internal linkage, and none of them uses the standard
// library's inline functions: code compiled for one instruction set can thus never be picked
// by the linker for another.
#include "../../include/headrace/kernels.hpp"
#include "../../include/headrace/platform.hpp"

// Order matters: families use what stands above them.
#include "../kernels/math.hpp"
#include "../kernels/cache.hpp"

#include "../kernels/attention.hpp"
#include "../kernels/linear.hpp"
#ifdef HEADRACE_SUMS_IN_UNITS
#include "../kernels/units.hpp"
#endif
#include "../kernels/mxfp4.hpp"
#include "../kernels/norm.hpp"
#include "../kernels/read.hpp"
#include "../kernels/scan.hpp"

#define HEADRACE_TABLE(label)                       \
  {                                                 \
      .name = label,                                \
      .max_panel = HEADRACE_ISA::kPanel,            \
      .linear = HEADRACE_ISA::linear,               \
      .linear_fp16 = HEADRACE_ISA::linear_fp16,     \
      .linear_mxfp4 = HEADRACE_ISA::linear_mxfp4,   \
      .norm = HEADRACE_ISA::norm,                   \
      .norm_round = HEADRACE_ISA::norm_round,       \
      .round = HEADRACE_ISA::round_row,             \
      .add = HEADRACE_ISA::add_into,                \
      .silu_multiply = HEADRACE_ISA::silu_multiply, \
      .gelu_multiply = HEADRACE_ISA::gelu_multiply, \
      .clamped_multiply =                           \
          HEADRACE_ISA::clamped_multiply,           \
      .rotate = HEADRACE_ISA::rotate,               \
      .rotate_pairs = HEADRACE_ISA::rotate_pairs,   \
      .append = HEADRACE_ISA::append,               \
      .attend = HEADRACE_ISA::attend,               \
      .scan = HEADRACE_ISA::scan,                   \
      .read = HEADRACE_ISA::read,                   \
  }
