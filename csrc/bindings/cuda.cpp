#include "bindings/bindings.h"
#include "kernels/cuda_fatbin.h"

namespace py = pybind11;

namespace frametap {

void register_cuda(py::module_& m) {
  m.def(
      "cuda_fatbin",
      [] {
        const auto code = cuda_fatbin();
        return py::bytes(reinterpret_cast<const char*>(code.data()), code.size());
      },
      "The CUDA kernels as a fat binary for cuModuleLoadData; empty when built without nvcc.");
}

}  // namespace frametap
