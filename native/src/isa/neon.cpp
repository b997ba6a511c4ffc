// The kernels for "neon".
#define HEADRACE_ISA neon

#include "../simd/neon.hpp"

#include "table.hpp"

namespace headrace {

const Kernels kNeonKernels = HEADRACE_TABLE("neon");

}  // namespace headrace
