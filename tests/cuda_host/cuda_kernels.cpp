// kernels_cuda.cu, unchanged, by g++: the twin of what nvcc compiles. Exports `kernel`_on_host for every kernel.
#include "cuda_on_host.h"

// After the words it needs.
#include "kernels/kernels_cuda.cu"

FRAMETAP_ON_HOST(frametap_vertical, const frametap::CudaConvert)
FRAMETAP_ON_HOST(frametap_horizontal, const frametap::CudaConvert)
