// cuGetErrorName, cuGetErrorString.
#include <algorithm>
#include <array>

#include "entry.h"

namespace {

struct ErrorText {
  CUresult code;
  const char* name;
  const char* meaning;
};

#define EMU_ERROR(code, meaning) \
  ErrorText { code, #code, meaning }
constexpr std::array errors = {
    EMU_ERROR(CUDA_SUCCESS, "no error"),
    EMU_ERROR(CUDA_ERROR_INVALID_VALUE, "invalid argument"),
    EMU_ERROR(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
    EMU_ERROR(CUDA_ERROR_NOT_INITIALIZED, "initialization error"),
    EMU_ERROR(CUDA_ERROR_DEINITIALIZED, "driver shutting down"),
    EMU_ERROR(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
    EMU_ERROR(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
    EMU_ERROR(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"),
    EMU_ERROR(CUDA_ERROR_INVALID_CONTEXT, "invalid device context"),
    EMU_ERROR(CUDA_ERROR_MAP_FAILED, "mapping of buffer object failed"),
    EMU_ERROR(CUDA_ERROR_UNMAP_FAILED, "unmapping of buffer object failed"),
    EMU_ERROR(CUDA_ERROR_NO_BINARY_FOR_GPU, "no kernel image is available for execution on the device"),
    EMU_ERROR(CUDA_ERROR_ECC_UNCORRECTABLE, "uncorrectable ECC error encountered"),
    EMU_ERROR(CUDA_ERROR_INVALID_SOURCE, "device kernel image is invalid"),
    EMU_ERROR(CUDA_ERROR_FILE_NOT_FOUND, "file not found"),
    EMU_ERROR(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
    EMU_ERROR(CUDA_ERROR_NOT_FOUND, "named symbol not found"),
    EMU_ERROR(CUDA_ERROR_NOT_READY, "device not ready"),
    EMU_ERROR(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
    EMU_ERROR(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch"),
    EMU_ERROR(CUDA_ERROR_LAUNCH_TIMEOUT, "the launch timed out and was terminated"),
    EMU_ERROR(CUDA_ERROR_CONTEXT_IS_DESTROYED, "context is destroyed"),
    EMU_ERROR(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "part or all of the requested memory range is already mapped"),
    EMU_ERROR(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "pointer does not correspond to a registered memory region"),
    EMU_ERROR(CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned address"),
    EMU_ERROR(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure"),
    EMU_ERROR(CUDA_ERROR_NOT_PERMITTED, "operation not permitted"),
    EMU_ERROR(CUDA_ERROR_NOT_SUPPORTED, "operation not supported"),
    EMU_ERROR(CUDA_ERROR_UNKNOWN, "unknown error"),
};

CUresult look_up(CUresult code, const char* ErrorText::* member, const char** text) {
  const auto* found = std::ranges::find(errors, code, &ErrorText::code);
  *text = found == errors.end() ? nullptr : found->*member;
  return *text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace

CUresult cuGetErrorName(CUresult code, const char** name) { return look_up(code, &ErrorText::name, name); }

CUresult cuGetErrorString(CUresult code, const char** meaning) { return look_up(code, &ErrorText::meaning, meaning); }
