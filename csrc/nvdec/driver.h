// NVIDIA's driver, opened at run time: nothing is linked, so one build serves machines with and without a GPU.
#pragma once

#include <cuda.h>

#include <string>

#include "nvdec/nvcuvid.h"

namespace frametap {

// cuda.h maps many names to versioned ones (cuMemFree is cuMemFree_v2): the table below follows it, name and type.
// clang-format off
#define FRAMETAP_CUDA_CALLS(X) \
  X(cuInit) X(cuGetErrorName) X(cuGetErrorString) \
  X(cuDeviceGet) X(cuDeviceGetCount) X(cuDeviceGetName) \
  X(cuDevicePrimaryCtxRetain) X(cuDevicePrimaryCtxRelease) X(cuCtxPushCurrent) \
  X(cuCtxPopCurrent) X(cuCtxSynchronize) X(cuStreamCreate) \
  X(cuStreamDestroy) X(cuStreamSynchronize) X(cuStreamWaitEvent) \
  X(cuEventCreate) X(cuEventDestroy) X(cuEventRecord) \
  X(cuEventSynchronize) X(cuMemAllocAsync) X(cuMemFreeAsync) \
  X(cuMemHostAlloc) X(cuMemFreeHost) X(cuMemcpyHtoDAsync) \
  X(cuMemcpyDtoDAsync) X(cuPointerGetAttribute) X(cuModuleLoadData) \
  X(cuModuleUnload) X(cuModuleGetFunction) X(cuLaunchKernel)
#define FRAMETAP_CUVID_CALLS(X) \
  X(cuvidGetDecoderCaps) X(cuvidCreateVideoParser) X(cuvidParseVideoData) \
  X(cuvidDestroyVideoParser) X(cuvidCreateDecoder) X(cuvidDestroyDecoder) \
  X(cuvidReconfigureDecoder) X(cuvidDecodePicture) X(cuvidGetDecodeStatus) \
  X(cuvidMapVideoFrame64) X(cuvidUnmapVideoFrame64)
// clang-format on

/// Function pointers of libcuda.so.1 and libnvcuvid.so.1.
struct Driver {
#define FRAMETAP_MEMBER(name) decltype(&::name) name = nullptr;
  FRAMETAP_CUDA_CALLS(FRAMETAP_MEMBER)
#undef FRAMETAP_MEMBER
#define FRAMETAP_MEMBER(name) decltype(&nvcuvid::name) name = nullptr;
  FRAMETAP_CUVID_CALLS(FRAMETAP_MEMBER)
#undef FRAMETAP_MEMBER
  bool has_nvcuvid = false;
  std::string nvcuvid_error;  // why not
};

/// The driver, loaded and initialised by the first call. Throws DeviceError that says what is missing, and in a child
/// that forked after CUDA was initialised: a CUDA context does not survive a fork.
const Driver& driver();

/// Whether this process is a child forked after the first driver() call; its inherited handles must not be touched.
bool forked_after_init() noexcept;

/// What is said of a call that failed: its name, the code's name and number, and what to do.
std::string cuda_failure(CUresult result, const char* call);

/// Throws DeviceError naming the call, the code and what to do, unless result is CUDA_SUCCESS; DeviceMemoryError where
/// that is CUDA_ERROR_OUT_OF_MEMORY.
void check_cuda(CUresult result, const char* call);

}  // namespace frametap

/// Calls an entry point of the driver and throws DeviceError when it fails: FRAMETAP_CU(cuMemFree, address).
#define FRAMETAP_CU(name, ...) ::frametap::check_cuda(::frametap::driver().name(__VA_ARGS__), #name)
