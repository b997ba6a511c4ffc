// The kernels for "avx512".
#define HEADRACE_ISA avx512

#include "../simd/avx512.hpp"

#include "table.hpp"

namespace headrace {

const Kernels kAvx512Kernels = HEADRACE_TABLE("avx512");

}  // namespace headrace
