// Device memory: one memory file that is mapped twice.
//
//   window  what clients see: device addresses point into it, and nobody may touch it, except kernels while they run
//   alias   the same bytes, readable and writable, for copies and for the decoder
//
//   | page, page, ...                                    | guard page |
//   | canary ...... | bytes of the allocation | canary... |  no access |
//                   ^ 256-byte aligned, as close to the guard page as that allows
//
// Everything is filled with poison when it is allocated. Addresses are not used twice, and a freed one is unmapped for
// good, so whoever keeps one is found out.
#pragma once

#include <memory>
#include <string>

#include "driver.h"

namespace emu {

constexpr unsigned char poison = 0xCB;

struct Pool;

struct Allocation {
  CUdeviceptr address;
  size_t bytes;
  CUcontext context;
  CUdevice device;
  std::string owner;           // empty: the client
  std::shared_ptr<Pool> pool;  // null for cuMemAlloc
  size_t offset, span;         // in the memory file, with the guard page
  bool foreign = false;        // another process's memory, mapped here
  bool visible = true;         // to calls of the client
  bool ready = true;           // false until the stream got to its cuMemAllocAsync
  bool given_back = false;     // by a cuMemFreeAsync that the stream may not have got to
  bool open = false;           // for the kernels that run now
};

enum class When {
  call,  // a call names the range
  run,   // work on a stream uses it
};

bool is_device_address(CUdeviceptr address);
// A copy of what covers this range, if anything does, whatever its state.
std::shared_ptr<const Allocation> find_allocation(CUdeviceptr address, size_t bytes = 1);
// The range's bytes in the alias; null, and a violation of `what`, if they may not be used.
std::byte* checked_alias(const std::string& what, CUdeviceptr address, size_t bytes, When when);
// As a violation would say it: "0x7f..., 16 bytes past the end of 4096 bytes".
std::string describe_address(CUdeviceptr address);

// Beyond allocate(): what pools need. `ready` false means that a stream has to allow it first.
CUresult allocate_in(CUcontext context, size_t bytes, const std::string& owner, const std::shared_ptr<Pool>& pool,
                     bool ready, CUdeviceptr* address);
void make_ready(CUdeviceptr address);
void mark_given_back(CUdeviceptr address);

// Where an allocation lies in a memory file, for another process to map.
struct Extent {
  int process, file;
  uint64_t offset, span;       // pages of the file
  uint64_t first_byte, bytes;  // of the allocation, in those pages
};
Extent extent_of(const Allocation& allocation);
// Maps what another process exported, until release(): CUDA_ERROR_INVALID_VALUE if it is not there any more.
CUresult map_foreign(CUcontext context, const Extent& extent, CUdeviceptr* address);

// Bytes in use: of a device's profile or the budget, whichever is less.
size_t capacity(CUdevice device);
size_t used_bytes(CUdevice device);
// Takes bytes from, or gives them back to, a device's capacity: false if there are not as many.
bool reserve(CUdevice device, size_t bytes);
void unreserve(CUdevice device, size_t bytes);

// Reports canaries that were overwritten; `culprit` is what ran last.
void check_canaries(const std::string& culprit);
void free_memory_of(CUcontext context);

// Lets kernels that run on a device touch the memory of that device, and nobody else's.
void open_window(CUdevice device);
void close_window();

}  // namespace emu
