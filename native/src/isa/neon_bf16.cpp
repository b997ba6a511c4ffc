// The kernels for "neon_bf16".
#define HEADRACE_ISA neon_bf16

#include "../simd/neon_bf16.hpp"

#include "table.hpp"

namespace headrace {

const Kernels kNeonBf16Kernels = HEADRACE_TABLE("neon_bf16");

}  // namespace headrace
