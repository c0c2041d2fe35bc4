// What the emulated libcuda offers the other emulated libraries (libnvcuvid) beyond the CUDA driver API.
//
// The rules, in short:
//   - Every exported entry point starts with enter(): it counts, traces, injects faults and checks the context.
//   - No function here holds a lock while it runs code of yours, and work on a stream runs with no lock held. Work may
//     run during enqueue() itself: do not enqueue while holding a lock that the work takes.
//   - Work runs on whichever client thread synchronises, with no context current. It must own what it uses (capture a
//     shared_ptr), because the objects it came from may be gone by then.
//   - A device address is never dereferenced: host_alias() gives the same bytes at an address that can be.
//   - What a client must not do is a violation(); what the real driver happens to tolerate is a leniency(), which
//   counts
//     only under the `strict` profile. Tests fail on either.
#pragma once

// What cuda.h declares is exported by the library that defines it.
#pragma GCC visibility push(default)
#include <cuda.h>
#pragma GCC visibility pop

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>

#define EMU_API __attribute__((visibility("default")))

namespace emu {

// ---------------------------------------------------------------------------------------------------- entry points

enum class Need {
  nothing,         // cuGetErrorName, cuDriverGetVersion
  init,            // cuInit was called
  context,         // a context is current on this thread, and its device is not lost
  context_wanted,  // the same, but the real driver does without: its absence is a leniency
};

// To be called first by an entry point, with its name (`__func__`; a suffix _v2 is dropped, MapVideoFrame64 stays).
// Returns what the entry point must return at once if it is not CUDA_SUCCESS: an injected fault, a lost device, 3 in
// a child of fork, 201 without a context.
// An entry point that releases something passes `afterwards`: an injected fault is stored there, to be returned after
// the work was done (cuMemFree and its like "may also return error codes from previous, asynchronous launches").
EMU_API CUresult enter(const char* entry, Need need = Need::context, CUresult* afterwards = nullptr);

// ------------------------------------------------------------------------------------------------ contexts, devices

// The current context of this thread; null without.
EMU_API CUcontext current_context();
// False for null and for contexts that were destroyed.
EMU_API bool is_alive(CUcontext context);
EMU_API CUdevice device_of(CUcontext context);
// From now on every call in a context of this device returns `error`, as after a fault of the GPU.
EMU_API void lose_device(CUdevice device, CUresult error);

struct DeviceProfile {
  const char* key;   // t4, a10, l4, h100, b200, tiny: also what names the rows of a table of decoding capabilities
  const char* name;  // as cuDeviceGetName says
  int compute_major, compute_minor;
  int multiprocessors;
  size_t memory_bytes;
  int nvdec_engines;
};

EMU_API const DeviceProfile& profile_of(CUdevice device);
inline const DeviceProfile& profile_of(CUcontext context) { return profile_of(device_of(context)); }

// ---------------------------------------------------------------------------------------------------- device memory

// Allocates guarded, poisoned device memory that belongs to `owner` (e.g. "NVDEC output surface"), not to the client: a
// client that frees it violates. CUDA_ERROR_OUT_OF_MEMORY beyond the device's memory or the allocation budget.
EMU_API CUresult allocate(CUcontext context, size_t bytes, const char* owner, CUdeviceptr* address);
// Checks the canaries. Work that was enqueued before and still uses the memory is reported when it runs.
EMU_API void release(CUdeviceptr address);
// Whether calls and launches of the client may name this allocation (they may from the start). Work enqueued while they
// could runs in any case: hide a surface when it is unmapped, show it when it is mapped.
EMU_API void show_to_client(CUdeviceptr address, bool visible);
// The bytes of a range inside one live allocation, readable and writable by the host; null for anything else.
EMU_API std::byte* host_alias(CUdeviceptr address, size_t bytes);

// ----------------------------------------------------------------------------------------------------------- streams

// Puts work on a stream, in order; `stream` may be 0 (legacy default stream of the context) or one of the special
// handles. CUDA_ERROR_INVALID_HANDLE, and a violation, for a stream that does not exist or is of another context.
EMU_API CUresult enqueue(CUcontext context, CUstream stream, const char* what, std::function<void()> work);
// Lets a device make some progress, or all the progress needed for `stream` to be idle.
EMU_API CUresult synchronize(CUcontext context, CUstream stream);

// --------------------------------------------------------------------------------------------------- what tests read

EMU_API bool is_strict();
EMU_API void report_violation(const std::string& message);
EMU_API void report_leniency(const std::string& message);
EMU_API void write_trace(const std::string& message);
EMU_API bool is_tracing();

// Adds to a counter, e.g. count("nvcuvid.maps").
EMU_API void count(const char* counter, int64_t n = 1);
// Sets aside how many of something exist: "live.NAME" now, "peak.NAME" at most. LiveObject does it for objects.
EMU_API void count_live(const char* name, int64_t change);

// An object that the client has to destroy: counted as live.`kind`, reported as leaked when its context is destroyed or
// the process ends before it.
class EMU_API LiveObject {
 public:
  LiveObject(const char* kind, CUcontext context);
  ~LiveObject();
  LiveObject(const LiveObject&) = delete;
  LiveObject& operator=(const LiveObject&) = delete;

 private:
  const char* kind_;
};

// Setting of a switch, given as FRAMETAP_EMU_SWITCHES="name=value,..." or by the control interface at any time;
// `otherwise` when it was not set. Cheap enough to ask at each use, so that tests can change it in a running process.
EMU_API std::string switch_value(std::string_view name, std::string_view otherwise);

// Message parts are put together as by operator<<; gcc 12 has no <format>.
template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

template <class... Parts>
void violation(const Parts&... parts) {
  report_violation(text(parts...));
}

template <class... Parts>
void leniency(const Parts&... parts) {
  if (is_strict()) report_leniency(text(parts...));
}

template <class... Parts>
void trace(const Parts&... parts) {
  if (is_tracing()) write_trace(text(parts...));
}

}  // namespace emu
