// Running a kernel's twin: the same source, compiled for the host, with device memory open while it runs.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "driver.h"

namespace emu {

using Twin = void (*)(void** params, const uint32_t* grid, const uint32_t* block);

struct Launch {
  std::string name;
  Twin twin;
  std::array<uint32_t, 3> grid, block;
  std::vector<std::byte> argument;  // a copy, as a driver makes at the launch
};

// A kernel that touches what is not its device's memory, or a word at an address that is no multiple of its size, loses
// the device, as on a GPU: CUDA_ERROR_ILLEGAL_ADDRESS, CUDA_ERROR_MISALIGNED_ADDRESS.
void run_kernel(const Launch& launch, CUdevice device);
// Reports addresses among the argument's words that the kernel may not use.
void check_addresses(const Launch& launch);
// Before any client can touch device memory: says so, if it does, before the process dies of it.
void watch_for_faults();

}  // namespace emu
