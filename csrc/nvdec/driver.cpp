#include "nvdec/driver.h"

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <string>

#include "core/error.h"

// Two steps, so that cuda.h's name (cuMemFree) becomes the symbol's (cuMemFree_v2) before it is made a string.
#define FRAMETAP_STRING(x) #x
#define FRAMETAP_SYMBOL(x) FRAMETAP_STRING(x)

namespace frametap {
namespace {

std::atomic<pid_t> initialised_by{0};

template <class Function>
void resolve(void* library, const char* library_name, const char* symbol, Function*& pointer) {
  pointer = reinterpret_cast<Function*>(dlsym(library, symbol));
  check<DeviceError>(pointer != nullptr, library_name, " has no ", symbol, ": the NVIDIA driver is too old; update it");
}

void load_nvcuvid(Driver& d) {
  void* library = dlopen("libnvcuvid.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    d.nvcuvid_error = dlerror();
    return;
  }
#define FRAMETAP_RESOLVE(name) resolve(library, "libnvcuvid.so.1", #name, d.name);
  FRAMETAP_CUVID_CALLS(FRAMETAP_RESOLVE)
#undef FRAMETAP_RESOLVE
  d.has_nvcuvid = true;
}

Driver load() {
  Driver d;
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  check<DeviceError>(
      library != nullptr, "libcuda.so.1 cannot be loaded (", library == nullptr ? dlerror() : "",
      "): no NVIDIA driver on this machine, or it is not passed into this container (docker run --gpus all)");
#define FRAMETAP_RESOLVE(name) resolve(library, "libcuda.so.1", FRAMETAP_SYMBOL(name), d.name);
  FRAMETAP_CUDA_CALLS(FRAMETAP_RESOLVE)
#undef FRAMETAP_RESOLVE
  load_nvcuvid(d);
  return d;
}

const char* advice(CUresult result) {
  switch (result) {
    case CUDA_ERROR_OUT_OF_MEMORY:
      return "; the GPU has no memory left: sample fewer or smaller frames at once, or free memory of other users of "
             "the GPU";
    case CUDA_ERROR_NOT_INITIALIZED:
      return "; after fork() a child cannot use CUDA: use multiprocessing's \"spawn\", or decode in the parent";
    case CUDA_ERROR_INVALID_IMAGE:
    case CUDA_ERROR_NO_BINARY_FOR_GPU:
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
      return "; the kernels are built by CUDA 13 for GPUs from Turing on: the driver must be 580 or newer, the GPU "
             "sm_75 or newer";
    case CUDA_ERROR_NO_DEVICE:
      return "; no GPU is visible: check nvidia-smi and CUDA_VISIBLE_DEVICES";
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_DEVICE_UNAVAILABLE:
      return "; the CUDA context of this process is lost: restart the process";
    default:
      return "";
  }
}

}  // namespace

const Driver& driver() {
  static const Driver loaded = load();
  static std::once_flag initialised;
  std::call_once(initialised, [] {
    check_cuda(loaded.cuInit(0), "cuInit");
    initialised_by = getpid();
  });
  check<DeviceError>(
      !forked_after_init(),
      "this process was forked from one that had used CUDA, and a CUDA context does not survive a fork: use "
      "multiprocessing's \"spawn\" (torch DataLoader: multiprocessing_context=\"spawn\"), or decode in the parent");
  return loaded;
}

bool forked_after_init() noexcept {
  const pid_t by = initialised_by;
  return by != 0 && by != getpid();
}

std::string cuda_failure(CUresult result, const char* call) {
  const char* name = nullptr;
  const char* text = nullptr;
  // While driver() itself fails it cannot be asked; the number alone has to do then.
  if (initialised_by != 0 && !forked_after_init()) {
    driver().cuGetErrorName(result, &name);
    driver().cuGetErrorString(result, &text);
  }
  std::string message = std::string(call) + " failed: " + (name != nullptr ? name : "CUDA error");
  message += " (" + std::to_string(static_cast<int>(result)) + ")";
  if (text != nullptr) message += std::string(", ") + text;
  return message + advice(result);
}

void check_cuda(CUresult result, const char* call) {
  if (result == CUDA_SUCCESS) [[likely]] {
    return;
  }
  const std::string message = cuda_failure(result, call);
  check<DeviceMemoryError>(result != CUDA_ERROR_OUT_OF_MEMORY, message);
  fail<DeviceError>(message);
}

}  // namespace frametap
