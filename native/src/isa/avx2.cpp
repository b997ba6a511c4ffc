// The kernels for "avx2".
#define HEADRACE_ISA avx2

#include "../simd/avx2.hpp"

#include "table.hpp"

namespace headrace {

const Kernels kAvx2Kernels = HEADRACE_TABLE("avx2");

}  // namespace headrace
