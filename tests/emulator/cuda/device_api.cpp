// cuInit, cuDriver*, cuDevice*.
#include <cstdio>
#include <cstring>

#include "entry.h"
#include "profiles.h"

using namespace emu;

CUresult cuInit(unsigned flags) {
  return anywhere(__func__, [&] { return flags ? CUDA_ERROR_INVALID_VALUE : find_devices(); });
}

CUresult cuDriverGetVersion(int* version) {
  return anywhere(__func__, [&] {
    *version = CUDA_VERSION;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetCount(int* count) {
  return after_init(__func__, [&] {
    *count = device_count();
    return CUDA_SUCCESS;
  });
}

namespace {

template <class Body>
CUresult of_device(const char* entry, CUdevice device, Body body) {
  return after_init(entry, [&]() -> CUresult { return is_device(device) ? body() : CUDA_ERROR_INVALID_DEVICE; });
}

}  // namespace

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  return of_device(__func__, ordinal, [&] {
    *device = ordinal;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
  return of_device(__func__, device, [&] {
    std::snprintf(name, static_cast<size_t>(length), "%s", profile_of(device).name);
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device) {
  return of_device(__func__, device, [&] {
    std::memset(uuid, 0xE0 + device, sizeof *uuid);
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
  return of_device(__func__, device, [&] {
    *bytes = profile_of(device).memory_bytes;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceComputeCapability(int* major, int* minor, CUdevice device) {
  return of_device(__func__, device, [&] {
    *major = profile_of(device).compute_major;
    *minor = profile_of(device).compute_minor;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  return of_device(__func__, device, [&] { return device_attribute(profile_of(device), device, attribute, value); });
}

CUresult cuDeviceGetPCIBusId(char* id, int length, CUdevice device) {
  return of_device(__func__, device, [&] {
    std::snprintf(id, static_cast<size_t>(length), "0000:%02X:00.0", static_cast<unsigned>(1 + device));
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceCanAccessPeer(int* can, CUdevice device, CUdevice peer) {
  return of_device(__func__, device, [&]() -> CUresult {
    if (!is_device(peer)) return CUDA_ERROR_INVALID_DEVICE;
    *can = 0;
    return CUDA_SUCCESS;
  });
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  return of_device(__func__, device, [&] { return retain_primary(device, context); });
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  return releasing(__func__, Need::init, [&]() -> CUresult {
    return is_device(device) ? release_primary(device, false) : CUDA_ERROR_INVALID_DEVICE;
  });
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
  return releasing(__func__, Need::init, [&]() -> CUresult {
    return is_device(device) ? release_primary(device, true) : CUDA_ERROR_INVALID_DEVICE;
  });
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned flags) {
  return of_device(__func__, device, [&] {
    set_primary_flags(device, flags);
    return CUDA_SUCCESS;
  });
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned* flags, int* active) {
  return of_device(__func__, device, [&] {
    primary_state(device, flags, active);
    return CUDA_SUCCESS;
  });
}
