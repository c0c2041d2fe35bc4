// cuIpc*: device memory shared with another process, which maps the same pages of the memory file.
#include <unistd.h>

#include <cstring>
#include <map>
#include <mutex>

#include "entry.h"
#include "memory.h"

namespace emu {
namespace {

constexpr uint64_t handle_magic = 0x65'6d'75'20'69'70'63'31;

struct MemoryHandle {
  uint64_t magic;
  Extent extent;
};
static_assert(sizeof(MemoryHandle) <= sizeof(CUipcMemHandle));

struct Opened {
  Opened(CUdeviceptr address, CUcontext context) : address(address), live("opened memory handles", context) {}

  CUdeviceptr address;
  int times = 1;
  LiveObject live;
};

struct OpenHandles {
  std::mutex mutex;
  std::map<std::string, Opened> by_handle;
};

OpenHandles& open_handles() {
  static OpenHandles& instance = *new OpenHandles;
  return instance;
}

CUresult open_handle(Context& context, const CUipcMemHandle& bytes, CUdeviceptr* address) {
  MemoryHandle handle;
  std::memcpy(&handle, &bytes, sizeof handle);
  if (handle.magic != handle_magic) return CUDA_ERROR_INVALID_VALUE;
  if (handle.extent.process == getpid()) {
    violation("cuIpcOpenMemHandle in the process that the memory belongs to");
    return CUDA_ERROR_INVALID_CONTEXT;
  }
  OpenHandles& handles = open_handles();
  const std::lock_guard lock(handles.mutex);
  const std::string key(bytes.reserved, sizeof bytes.reserved);
  const auto found = handles.by_handle.find(key);
  if (found != handles.by_handle.end()) {
    ++found->second.times;
    *address = found->second.address;
    return CUDA_SUCCESS;
  }
  if (const CUresult error = map_foreign(context.handle, handle.extent, address)) return error;
  handles.by_handle.try_emplace(key, *address, context.handle);
  return CUDA_SUCCESS;
}

CUresult close_handle(CUdeviceptr address) {
  OpenHandles& handles = open_handles();
  const std::lock_guard lock(handles.mutex);
  for (auto it = handles.by_handle.begin(); it != handles.by_handle.end(); ++it) {
    if (it->second.address != address) continue;
    if (--it->second.times == 0) {
      release(address);
      handles.by_handle.erase(it);
    }
    return CUDA_SUCCESS;
  }
  violation("cuIpcCloseMemHandle of ", describe_address(address));
  return CUDA_ERROR_INVALID_VALUE;
}

}  // namespace
}  // namespace emu

using namespace emu;

CUresult cuIpcGetMemHandle(CUipcMemHandle* bytes, CUdeviceptr address) {
  return in_context(__func__, [&](Context&) -> CUresult {
    const auto allocation = find_allocation(address);
    // Not for stream-ordered memory: that is shared by pools, which is not emulated.
    if (!allocation || allocation->pool || !allocation->owner.empty()) return CUDA_ERROR_INVALID_VALUE;
    const MemoryHandle handle{handle_magic, extent_of(*allocation)};
    std::memset(bytes, 0, sizeof *bytes);
    std::memcpy(bytes, &handle, sizeof handle);
    return CUDA_SUCCESS;
  });
}

CUresult cuIpcOpenMemHandle_v2(CUdeviceptr* address, CUipcMemHandle handle, unsigned flags) {
  return in_context(__func__, [&](Context& context) -> CUresult {
    if (flags != CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS) return CUDA_ERROR_INVALID_VALUE;
    return open_handle(context, handle, address);
  });
}

CUresult cuIpcCloseMemHandle(CUdeviceptr address) {
  return releasing(__func__, Need::context, [&] { return close_handle(address); });
}
