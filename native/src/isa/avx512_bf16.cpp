// The kernels for "avx512_bf16".
#define HEADRACE_ISA avx512_bf16

#include "../simd/avx512_bf16.hpp"

#include "table.hpp"

namespace headrace {

const Kernels kAvx512Bf16Kernels = HEADRACE_TABLE("avx512_bf16");

}  // namespace headrace
