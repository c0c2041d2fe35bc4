// cuCtx*.
#include "entry.h"
#include "streams.h"

using namespace emu;

namespace {

CUresult create(CUcontext* context, unsigned flags, CUdevice device) {
  if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
  if (const CUresult error = device_error(device)) return error;
  *context = create_context(device, flags, false)->handle;
  context_stack().push_back(*context);
  return CUDA_SUCCESS;
}

// Whether `context` may become current.
CUresult check_alive(const char* entry, CUcontext context) {
  if (is_alive(context)) return CUDA_SUCCESS;
  violation(entry, ": ", static_cast<const void*>(context), " is no context, or was destroyed");
  return CUDA_ERROR_INVALID_CONTEXT;
}

}  // namespace

CUresult cuCtxCreate_v2(CUcontext* context, unsigned flags, CUdevice device) {
  return after_init(__func__, [&] { return create(context, flags, device); });
}

CUresult cuCtxCreate_v4(CUcontext* context, CUctxCreateParams* params, unsigned flags, CUdevice device) {
  return after_init(__func__,
                    [&]() -> CUresult { return params ? CUDA_ERROR_NOT_SUPPORTED : create(context, flags, device); });
}

CUresult cuCtxDestroy_v2(CUcontext handle) {
  return releasing(__func__, Need::init, [&]() -> CUresult {
    const auto context = find_context(handle);
    if (!context) return check_alive("cuCtxDestroy", handle);
    if (context->primary) {
      violation("cuCtxDestroy of a primary context");
      return CUDA_ERROR_INVALID_CONTEXT;
    }
    destroy_context(context);
    // Only the top of this thread's stack is cleaned up; elsewhere the dead context stays current.
    if (current_context() == handle) context_stack().pop_back();
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxPushCurrent_v2(CUcontext context) {
  return after_init(__func__, [&]() -> CUresult {
    if (const CUresult error = check_alive("cuCtxPushCurrent", context)) return error;
    context_stack().push_back(context);
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxPopCurrent_v2(CUcontext* context) {
  return releasing(__func__, Need::init, [&]() -> CUresult {
    if (context_stack().empty()) {
      violation("cuCtxPopCurrent with nothing pushed");
      return CUDA_ERROR_INVALID_CONTEXT;
    }
    if (context) *context = current_context();
    context_stack().pop_back();
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxSetCurrent(CUcontext context) {
  return after_init(__func__, [&]() -> CUresult {
    if (context) {
      if (const CUresult error = check_alive("cuCtxSetCurrent", context)) return error;
    }
    if (!context_stack().empty()) context_stack().pop_back();
    if (context) context_stack().push_back(context);
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetCurrent(CUcontext* context) {
  return after_init(__func__, [&] {
    *context = current_context();
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetDevice(CUdevice* device) {
  return in_context(__func__, [&](Context& context) {
    *device = context.device;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetFlags(unsigned* flags) {
  return in_context(__func__, [&](Context& context) {
    *flags = context.flags;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetApiVersion(CUcontext context, unsigned* version) {
  return after_init(__func__, [&]() -> CUresult {
    if (context && !is_alive(context)) return CUDA_ERROR_INVALID_CONTEXT;
    *version = 3020;  // what contexts of cuCtxCreate_v2 and later say
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxSynchronize() {
  return in_context(__func__, [&](Context& context) {
    settle_streams_of(context.handle);
    return device_error(context.device);
  });
}

CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  return in_context(__func__, [&](Context&) {
    if (least) *least = 0;
    if (greatest) *greatest = -5;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxSetLimit(CUlimit, size_t) {
  return in_context(__func__, [](Context&) { return CUDA_SUCCESS; });
}
