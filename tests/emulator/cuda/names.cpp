// Names beyond the functions themselves: older ones for the same thing, cuGetProcAddress, and what is not emulated.
#include <dlfcn.h>

#include "entry.h"
#include "entry_refused.h"

using namespace emu;

// ------------------------------------------------------------------------- names without a version, still looked up

CUresult cuDevicePrimaryCtxRelease(CUdevice device) { return cuDevicePrimaryCtxRelease_v2(device); }
CUresult cuDevicePrimaryCtxReset(CUdevice device) { return cuDevicePrimaryCtxReset_v2(device); }
CUresult cuDevicePrimaryCtxSetFlags(CUdevice device, unsigned flags) {
  return cuDevicePrimaryCtxSetFlags_v2(device, flags);
}
CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice device) { return cuDeviceGetUuid_v2(uuid, device); }
CUresult cuStreamDestroy(CUstream stream) { return cuStreamDestroy_v2(stream); }
CUresult cuEventDestroy(CUevent event) { return cuEventDestroy_v2(event); }

// --------------------------------------------------------------------------------------------------- cuGetProcAddress

namespace {

// The newest version of a function there is here; per-thread variants of a name are the name itself.
void* find_function(const std::string& name) {
  Dl_info self{};
  dladdr(reinterpret_cast<void*>(&cuInit), &self);
  void* library = dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD);
  for (const char* version : {"_v4", "_v3", "_v2", ""}) {
    if (void* found = dlsym(library, (name + version).c_str())) return found;
  }
  return nullptr;
}

}  // namespace

CUresult cuGetProcAddress_v2(const char* name, void** function, int, cuuint64_t,
                             CUdriverProcAddressQueryResult* status) {
  return anywhere(__func__, [&]() -> CUresult {
    *function = find_function(name);
    trace("  ", name, *function ? "" : " is not here");
    if (status) *status = *function ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
  });
}

CUresult cuGetProcAddress(const char* name, void** function, int version, cuuint64_t flags) {
  return cuGetProcAddress_v2(name, function, version, flags, nullptr);
}

// ------------------------------------------------------------------------------------------------------
// unsupported.cpp

namespace emu {

int refuse(const char* name) {
  return anywhere(name, [&] {
    count("unsupported");
    count(text("unsupported.", name).c_str());
    return CUDA_ERROR_NOT_SUPPORTED;
  });
}

}  // namespace emu
