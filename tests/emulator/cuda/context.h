// Devices, contexts, and which context a thread works in.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "driver.h"

namespace emu {

class Context {
 public:
  Context(CUdevice device, unsigned flags, bool primary) : device(device), flags(flags), primary(primary) {}

  const CUdevice device;
  const unsigned flags;
  const bool primary;
  CUcontext handle = nullptr;
  std::optional<LiveObject> live;
};

// Fixes what devices there are, once.
CUresult find_devices();
int device_count();
bool is_device(CUdevice device);
// What calls on this device return since it was lost, or CUDA_SUCCESS.
CUresult device_error(CUdevice device);

// Makes every device usable again.
void recover_devices();

std::shared_ptr<Context> create_context(CUdevice device, unsigned flags, bool primary);
std::shared_ptr<Context> find_context(CUcontext handle);
// The contexts this thread pushed, some of them perhaps destroyed by now. The last one is current.
std::vector<CUcontext>& context_stack();
// Destroys what belongs to a context, then the context.
void destroy_context(const std::shared_ptr<Context>& context);

CUresult retain_primary(CUdevice device, CUcontext* context);
// One release, or all that are due at once.
CUresult release_primary(CUdevice device, bool entirely);
void set_primary_flags(CUdevice device, unsigned flags);
void primary_state(CUdevice device, unsigned* flags, int* active);

// Work on a stream calls client code: whatever that calls here is a violation, and refused.
class InHostFunction {
 public:
  InHostFunction();
  ~InHostFunction();
};

}  // namespace emu
