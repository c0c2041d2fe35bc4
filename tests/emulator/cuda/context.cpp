#include "context.h"

#include <unistd.h>

#include <array>
#include <map>
#include <mutex>
#include <vector>

#include "handles.h"
#include "kernel_run.h"
#include "memory.h"
#include "profiles.h"
#include "record.h"
#include "settings.h"
#include "streams.h"

namespace emu {
namespace {

constexpr int most_devices = 8;

struct Device {
  const DeviceProfile* profile = nullptr;
  std::atomic<CUresult> error = CUDA_SUCCESS;
  // Primary context, under Machine::mutex.
  std::shared_ptr<Context> primary;
  int retained = 0;
  unsigned flags = 0;
};

struct Machine {
  const pid_t owner = getpid();
  std::mutex mutex;
  std::atomic<int> devices = -1;  // unknown before cuInit
  std::array<Device, most_devices> device;
  Handles<CUcontext, Context> contexts{"context", 0x51};
};

Machine& machine() {
  static Machine& instance = *new Machine;
  return instance;
}

thread_local std::vector<CUcontext> stack;
thread_local int host_functions = 0;

Device& device_at(CUdevice device) { return machine().device[static_cast<size_t>(device)]; }

// "cuMemAlloc_v2" is what cuda.h makes of cuMemAlloc.
std::string entry_name(std::string_view symbol) {
  const size_t version = symbol.rfind("_v");
  const bool has_version = version != std::string_view::npos && version + 3 == symbol.size();
  return std::string(has_version ? symbol.substr(0, version) : symbol);
}

CUresult check_context(const std::string& entry, Need need) {
  if (stack.empty()) {
    if (need == Need::context_wanted) {
      leniency(entry, " without a current context");
      return CUDA_SUCCESS;
    }
    violation(entry, " without a current context");
    return CUDA_ERROR_INVALID_CONTEXT;
  }
  if (is_alive(stack.back())) return CUDA_SUCCESS;
  violation(entry, " in a context that was destroyed");
  return CUDA_ERROR_CONTEXT_IS_DESTROYED;
}

}  // namespace

std::shared_ptr<Context> create_context(CUdevice device, unsigned flags, bool primary) {
  auto context = std::make_shared<Context>(device, flags, primary);
  context->handle = machine().contexts.add(context);
  context->live.emplace(primary ? "primary contexts" : "contexts", context->handle);
  return context;
}

CUresult enter(const char* symbol, Need need, CUresult* afterwards) {
  const std::string entry = entry_name(symbol);
  count("calls");
  count(("calls." + entry).c_str());
  trace(entry);
  if (getpid() != machine().owner) {
    violation(entry, " in a child of fork: CUDA does not survive it");
    return CUDA_ERROR_NOT_INITIALIZED;
  }
  if (has_ended()) {
    violation(entry, " after the driver was shut down at exit");
    return CUDA_ERROR_DEINITIALIZED;
  }
  if (host_functions > 0) {
    violation(entry, " called by a host function of a stream");
    return CUDA_ERROR_NOT_PERMITTED;
  }
  if (const CUresult fault = injected_fault(entry)) {
    trace("  injected ", static_cast<int>(fault));
    count("faults");
    if (!afterwards) return fault;
    *afterwards = fault;
  }
  if (need == Need::nothing) return CUDA_SUCCESS;
  if (machine().devices < 0) {
    violation(entry, " before cuInit");
    return CUDA_ERROR_NOT_INITIALIZED;
  }
  if (need == Need::init) return CUDA_SUCCESS;
  if (const CUresult error = check_context(entry, need)) return error;
  const CUresult lost = current_context() ? device_error(device_of(current_context())) : CUDA_SUCCESS;
  if (!afterwards || !lost) return lost;
  *afterwards = lost;
  return CUDA_SUCCESS;
}

CUresult find_devices() {
  watch_for_the_end();
  const std::lock_guard lock(machine().mutex);
  if (machine().devices >= 0) return CUDA_SUCCESS;
  int number = 0;
  for (const std::string& key : device_keys()) {
    const DeviceProfile* profile = find_profile(key);
    if (!profile || number == most_devices) {
      violation("there is no device to emulate called ", key);
      return CUDA_ERROR_NO_DEVICE;
    }
    device_at(number++).profile = profile;
  }
  if (number == 0) return CUDA_ERROR_NO_DEVICE;
  machine().devices = number;
  watch_for_faults();
  return CUDA_SUCCESS;
}

int device_count() { return std::max(0, machine().devices.load()); }
bool is_device(CUdevice device) { return device >= 0 && device < device_count(); }

CUresult device_error(CUdevice device) {
  const CUresult lost = injected_loss();
  return lost ? lost : device_at(device).error.load();
}

void lose_device(CUdevice device, CUresult error) {
  trace("device ", device, " is lost: ", static_cast<int>(error));
  device_at(device).error = error;
}

void recover_devices() {
  for (Device& device : machine().device) device.error = CUDA_SUCCESS;
}

const DeviceProfile& profile_of(CUdevice device) { return *device_at(device).profile; }

std::vector<CUcontext>& context_stack() { return stack; }
CUcontext current_context() { return stack.empty() ? nullptr : stack.back(); }
bool is_alive(CUcontext context) { return find_context(context) != nullptr; }
std::shared_ptr<Context> find_context(CUcontext handle) { return machine().contexts.find(handle); }

CUdevice device_of(CUcontext handle) {
  const auto context = find_context(handle);
  return context ? context->device : 0;
}

void destroy_context(const std::shared_ptr<Context>& context) {
  settle_streams_of(context->handle);
  context->live.reset();
  report_leaks(context->handle, "a context was destroyed");
  forget_streams_of(context->handle);
  free_memory_of(context->handle);
  machine().contexts.remove(context->handle);
}

CUresult retain_primary(CUdevice number, CUcontext* context) {
  if (const CUresult error = device_error(number)) return error;
  const std::lock_guard lock(machine().mutex);
  Device& device = device_at(number);
  if (!device.primary) device.primary = create_context(number, device.flags, true);
  ++device.retained;
  *context = device.primary->handle;
  return CUDA_SUCCESS;
}

CUresult release_primary(CUdevice number, bool entirely) {
  std::shared_ptr<Context> last;
  {
    const std::lock_guard lock(machine().mutex);
    Device& device = device_at(number);
    if (device.retained == 0 && !entirely) {
      violation("the primary context of device ", number, " was released more often than retained");
      return CUDA_ERROR_INVALID_CONTEXT;
    }
    device.retained = entirely ? 0 : device.retained - 1;
    if (device.retained == 0) last = std::move(device.primary);
  }
  if (last) destroy_context(last);
  return CUDA_SUCCESS;
}

void set_primary_flags(CUdevice number, unsigned flags) {
  const std::lock_guard lock(machine().mutex);
  device_at(number).flags = flags;
}

void primary_state(CUdevice number, unsigned* flags, int* active) {
  const std::lock_guard lock(machine().mutex);
  *flags = device_at(number).flags;
  *active = device_at(number).primary != nullptr;
}

InHostFunction::InHostFunction() { ++host_functions; }
InHostFunction::~InHostFunction() { --host_functions; }

}  // namespace emu
