// One register function per concept; module.cpp calls them all. pybind11 is included nowhere outside this folder.
#pragma once

#include <pybind11/pybind11.h>

namespace frametap {

void register_errors(pybind11::module_& m);
void register_bitstream(pybind11::module_& m);
void register_convert(pybind11::module_& m);
void register_cuda(pybind11::module_& m);
void register_dlpack(pybind11::module_& m);
void register_nvdec(pybind11::module_& m);

}  // namespace frametap
