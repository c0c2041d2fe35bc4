#pragma once

#include <span>

namespace frametap {

/// The compiled kernels_cuda.cu, for cuModuleLoadData; empty when this build found no nvcc.
std::span<const unsigned char> cuda_fatbin();

}  // namespace frametap
