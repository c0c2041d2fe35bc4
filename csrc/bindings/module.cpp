#include "bindings/bindings.h"

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  m.doc() = "Native core of frametap: pixel conversion, DLPack export, the CUDA kernels as bytes.";
  m.attr("__version__") = FRAMETAP_VERSION;
  frametap::register_errors(m);
  frametap::register_bitstream(m);
  frametap::register_convert(m);
  frametap::register_cuda(m);
  frametap::register_dlpack(m);
#if defined(FRAMETAP_NVDEC)
  frametap::register_nvdec(m);
#endif
}
