// cuMemHost*, cuMemAllocHost, cuMemFreeHost.
#include "host_memory.h"

#include <sys/mman.h>

#include <cstring>
#include <map>
#include <mutex>

#include "entry.h"
#include "memory.h"

namespace emu {
namespace {

constexpr size_t page = 4096;

struct HostMemory {
  std::mutex mutex;
  std::map<const std::byte*, HostRange> ranges;
  std::map<const std::byte*, LiveObject> live;
};

HostMemory& host_memory() {
  static HostMemory& instance = *new HostMemory;
  return instance;
}

void add(const HostRange& range) {
  HostMemory& m = host_memory();
  const std::lock_guard lock(m.mutex);
  m.ranges[range.first] = range;
  m.live.try_emplace(range.first, range.registered ? "registered host ranges" : "pinned host ranges",
                     current_context());
}

// Whole pages between two that nobody may touch. Addresses are not used again either: the pages stay reserved.
CUresult allocate_host(void** pointer, size_t bytes, unsigned flags) {
  if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  const size_t span = (bytes + page - 1) / page * page;
  void* reserved = mmap(nullptr, span + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
  std::byte* first = static_cast<std::byte*>(reserved) + page;
  mprotect(first, span, PROT_READ | PROT_WRITE);
  std::memset(first, poison, span);
  add({first, bytes, flags, false});
  *pointer = first;
  return CUDA_SUCCESS;
}

// Takes a range off the list: its size, or 0 and a violation if there is none of that kind.
size_t remove(const char* entry, const void* pointer, bool registered) {
  HostMemory& m = host_memory();
  {
    const std::lock_guard lock(m.mutex);
    const auto found = m.ranges.find(static_cast<const std::byte*>(pointer));
    if (found != m.ranges.end() && found->second.registered == registered) {
      const size_t bytes = found->second.bytes;
      m.live.erase(found->first);
      m.ranges.erase(found);
      return bytes;
    }
  }
  violation(entry, " of ", pointer, ", which is no such range, or no longer");
  return 0;
}

}  // namespace

std::optional<HostRange> find_pinned(const void* first, size_t bytes) {
  HostMemory& m = host_memory();
  const auto* wanted = static_cast<const std::byte*>(first);
  const std::lock_guard lock(m.mutex);
  auto next = m.ranges.upper_bound(wanted);
  if (next == m.ranges.begin()) return std::nullopt;
  const HostRange& range = std::prev(next)->second;
  const auto offset = static_cast<size_t>(wanted - range.first);
  if (offset > range.bytes || bytes > range.bytes - offset) return std::nullopt;
  return range;
}

}  // namespace emu

using namespace emu;

CUresult cuMemHostAlloc(void** pointer, size_t bytes, unsigned flags) {
  return in_context(__func__, [&](Context&) { return allocate_host(pointer, bytes, flags); });
}

CUresult cuMemAllocHost_v2(void** pointer, size_t bytes) {
  return in_context(__func__, [&](Context&) { return allocate_host(pointer, bytes, 0); });
}

CUresult cuMemFreeHost(void* pointer) {
  return releasing(__func__, Need::context, [&]() -> CUresult {
    const size_t bytes = remove("cuMemFreeHost", pointer, false);
    if (!bytes) return CUDA_ERROR_INVALID_VALUE;
    mmap(pointer, (bytes + page - 1) / page * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
         -1, 0);
    return CUDA_SUCCESS;
  });
}

CUresult cuMemHostRegister_v2(void* pointer, size_t bytes, unsigned flags) {
  return in_context(__func__, [&](Context&) -> CUresult {
    if (!pointer || !bytes) return CUDA_ERROR_INVALID_VALUE;
    if (find_pinned(pointer, 1)) return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    add({static_cast<const std::byte*>(pointer), bytes, flags, true});
    return CUDA_SUCCESS;
  });
}

CUresult cuMemHostUnregister(void* pointer) {
  return releasing(__func__, Need::context, [&]() -> CUresult {
    return remove("cuMemHostUnregister", pointer, true) ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
  });
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* address, void* pointer, unsigned) {
  return in_context(__func__, [&](Context&) -> CUresult {
    if (!find_pinned(pointer, 1)) return CUDA_ERROR_INVALID_VALUE;
    *address = reinterpret_cast<CUdeviceptr>(pointer);
    return CUDA_SUCCESS;
  });
}

CUresult cuMemHostGetFlags(unsigned* flags, void* pointer) {
  return in_context(__func__, [&](Context&) -> CUresult {
    const auto range = find_pinned(pointer, 1);
    if (!range) return CUDA_ERROR_INVALID_VALUE;
    *flags = range->flags;
    return CUDA_SUCCESS;
  });
}
