// cuStream*, cuLaunchHostFunc.
#include "entry.h"
#include "pools.h"
#include "streams.h"

using namespace emu;

namespace {

constexpr int least_priority = 0, greatest_priority = -5;

template <class Body>
CUresult on_stream(const char* entry, CUstream handle, Body body) {
  return in_context(entry, [&](Context& context) -> CUresult {
    const auto stream = find_stream(context.handle, handle, entry);
    return stream ? body(stream) : CUDA_ERROR_INVALID_HANDLE;
  });
}

}  // namespace

CUresult cuStreamCreate(CUstream* stream, unsigned flags) { return cuStreamCreateWithPriority(stream, flags, 0); }

CUresult cuStreamCreateWithPriority(CUstream* stream, unsigned flags, int priority) {
  return in_context("cuStreamCreate", [&](Context& context) -> CUresult {
    if (flags & ~unsigned{CU_STREAM_NON_BLOCKING}) return CUDA_ERROR_INVALID_VALUE;
    *stream = create_stream(context.handle, flags, std::clamp(priority, greatest_priority, least_priority));
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamDestroy_v2(CUstream stream) {
  return releasing(__func__, Need::context, [&]() -> CUresult {
    if (!stream || !find_stream(current_context(), stream, "cuStreamDestroy")) return CUDA_ERROR_INVALID_HANDLE;
    destroy_stream(stream);
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamSynchronize(CUstream handle) {
  return on_stream(__func__, handle, [&](const auto& stream) {
    wait_for(last_of(stream));
    trim_pools(stream->device);
    return device_error(stream->device);
  });
}

CUresult cuStreamQuery(CUstream handle) {
  return on_stream(__func__, handle, [&](const auto& stream) -> CUresult {
    let_time_pass();
    if (!is_done(last_of(stream))) return CUDA_ERROR_NOT_READY;
    return device_error(stream->device);
  });
}

// A created stream knows its context, whatever is current; only the default streams are those of the current one.
CUresult cuStreamGetCtx(CUstream handle, CUcontext* context) {
  const bool is_default = !handle || handle == CU_STREAM_LEGACY || handle == CU_STREAM_PER_THREAD;
  if (const CUresult refused = enter(__func__, is_default ? Need::context : Need::init)) return refused;
  *context = is_default ? current_context() : context_of_created(handle, __func__);
  return *context ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuStreamGetFlags(CUstream handle, unsigned* flags) {
  return on_stream(__func__, handle, [&](const auto& stream) {
    *flags = stream->flags;
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamGetPriority(CUstream handle, int* priority) {
  return on_stream(__func__, handle, [&](const auto& stream) {
    *priority = stream->priority;
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus* status) {
  return on_stream(__func__, handle, [&](const auto&) {
    *status = CU_STREAM_CAPTURE_STATUS_NONE;
    return CUDA_SUCCESS;
  });
}

CUresult cuLaunchHostFunc(CUstream handle, CUhostFn function, void* data) {
  return on_stream(__func__, handle, [&](const auto& stream) {
    count("host_functions");
    submit(stream, {"a host function",
                    [=] {
                      const InHostFunction guard;
                      function(data);
                    },
                    {}});
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamAddCallback(CUstream handle, CUstreamCallback callback, void* data, unsigned) {
  return on_stream(__func__, handle, [&](const auto& stream) {
    count("host_functions");
    submit(stream, {"a callback",
                    [=] {
                      const InHostFunction guard;
                      callback(handle, CUDA_SUCCESS, data);
                    },
                    {}});
    return CUDA_SUCCESS;
  });
}
