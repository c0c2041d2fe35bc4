// Memory pools: how many bytes of a device each one holds and hands out.
#pragma once

#include <memory>

#include "driver.h"

namespace emu {

struct Pool {
  CUdevice device;
  bool is_default;
  size_t threshold = 0;  // bytes kept when a stream, an event or a context is synchronised
  size_t used = 0, reserved = 0;
  size_t used_high = 0, reserved_high = 0;
  int reuse = 1;  // the attributes about reuse: kept, without effect, since addresses are never reused
};

// Takes `bytes` out of the pool, which grows if it has to: false if the device has no more.
bool take_from_pool(Pool& pool, size_t bytes);
void pool_took_back(Pool& pool, size_t bytes);
// Gives what is not used back to the device, down to `keep` bytes.
void trim_pool(Pool& pool, size_t keep);
// What a synchronisation does: trims every pool of the device to its threshold.
void trim_pools(CUdevice device);

}  // namespace emu
