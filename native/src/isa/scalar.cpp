// The kernels for "scalar".
#define HEADRACE_ISA scalar

#include "../simd/scalar.hpp"

#include "table.hpp"

namespace headrace {

const Kernels kScalarKernels = HEADRACE_TABLE("scalar");

}  // namespace headrace
