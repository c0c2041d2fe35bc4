// cuEvent*, cuStreamWaitEvent.
#include <map>
#include <mutex>

#include "entry.h"
#include "handles.h"
#include "pools.h"
#include "streams.h"

namespace emu {
namespace {

struct Event {
  CUcontext context;
  unsigned flags;
  LiveObject live;
  std::mutex mutex;
  std::shared_ptr<Completion> recorded;  // null before the first cuEventRecord

  std::shared_ptr<Completion> last() {
    const std::lock_guard lock(mutex);
    return recorded;
  }
};

Handles<CUevent, Event>& events() {
  static auto& instance = *new Handles<CUevent, Event>("event", 0x53);
  return instance;
}

// An event whose context is alive.
std::shared_ptr<Event> get_event(CUevent handle, const char* entry) {
  auto event = events().get(handle, entry);
  if (event && !is_alive(event->context)) {
    violation(entry, ": the event's context was destroyed");
    return nullptr;
  }
  return event;
}

template <class Body>
CUresult of_event(const char* entry, CUevent handle, Body body) {
  return in_context(entry, [&](Context&) -> CUresult {
    const auto event = get_event(handle, entry);
    return event ? body(*event) : CUDA_ERROR_INVALID_HANDLE;
  });
}

CUresult record(const char* entry, CUevent event_handle, CUstream stream_handle) {
  return of_event(entry, event_handle, [&](Event& event) -> CUresult {
    const auto stream = find_stream(current_context(), stream_handle, entry);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (event.context != stream->context) {
      violation(entry, ": event and stream are of different contexts");
      return CUDA_ERROR_INVALID_HANDLE;
    }
    auto completion = submit(stream, {"an event", {}, {}});
    const std::lock_guard lock(event.mutex);
    event.recorded = std::move(completion);
    return CUDA_SUCCESS;
  });
}

}  // namespace
}  // namespace emu

using namespace emu;

CUresult cuEventCreate(CUevent* handle, unsigned flags) {
  return in_context(__func__, [&](Context& context) -> CUresult {
    if (flags & CU_EVENT_INTERPROCESS) return CUDA_ERROR_NOT_SUPPORTED;
    if (flags & ~unsigned{CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING}) return CUDA_ERROR_INVALID_VALUE;
    *handle =
        events().add(std::shared_ptr<Event>(new Event{context.handle, flags, {"events", context.handle}, {}, {}}));
    return CUDA_SUCCESS;
  });
}

CUresult cuEventDestroy_v2(CUevent handle) {
  return releasing(__func__, Need::context, [&]() -> CUresult {
    if (!get_event(handle, "cuEventDestroy")) return CUDA_ERROR_INVALID_HANDLE;
    events().remove(handle);
    return CUDA_SUCCESS;
  });
}

CUresult cuEventRecord(CUevent event, CUstream stream) { return record(__func__, event, stream); }

CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags) {
  return flags ? CUDA_ERROR_NOT_SUPPORTED : record("cuEventRecord", event, stream);
}

CUresult cuEventSynchronize(CUevent handle) {
  return of_event(__func__, handle, [&](Event& event) {
    wait_for(event.last());
    trim_pools(device_of(event.context));
    return device_error(device_of(event.context));
  });
}

CUresult cuEventQuery(CUevent handle) {
  return of_event(__func__, handle, [&](Event& event) -> CUresult {
    let_time_pass();
    if (!is_done(event.last())) return CUDA_ERROR_NOT_READY;
    return device_error(device_of(event.context));
  });
}

namespace {

CUresult elapsed(float* milliseconds, Event& start, Event& end) {
  if ((start.flags | end.flags) & CU_EVENT_DISABLE_TIMING) return CUDA_ERROR_INVALID_HANDLE;
  const auto first = start.last(), second = end.last();
  if (!first || !second) return CUDA_ERROR_INVALID_HANDLE;
  if (!is_done(first) || !is_done(second)) return CUDA_ERROR_NOT_READY;
  *milliseconds = std::chrono::duration<float, std::milli>(second->when - first->when).count();
  return CUDA_SUCCESS;
}

CUresult elapsed_between(float* milliseconds, CUevent start, CUevent end) {
  return of_event("cuEventElapsedTime", start, [&](Event& first) {
    const auto second = get_event(end, "cuEventElapsedTime");
    return second ? elapsed(milliseconds, first, *second) : CUDA_ERROR_INVALID_HANDLE;
  });
}

}  // namespace

CUresult cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) {
  return elapsed_between(milliseconds, start, end);
}

CUresult cuEventElapsedTime_v2(float* milliseconds, CUevent start, CUevent end) {
  return elapsed_between(milliseconds, start, end);
}

CUresult cuStreamWaitEvent(CUstream stream_handle, CUevent handle, unsigned flags) {
  return of_event(__func__, handle, [&](Event& event) -> CUresult {
    if (flags) return CUDA_ERROR_INVALID_VALUE;
    const auto stream = find_stream(current_context(), stream_handle, "cuStreamWaitEvent");
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    // An event that was never recorded holds nobody up.
    if (const auto completion = event.last()) submit(stream, {"a wait", {}, {completion}});
    return CUDA_SUCCESS;
  });
}
