// Pools, cuMemPool*, and the stream-ordered allocations.
#include "pools.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <vector>

#include "entry.h"
#include "handles.h"
#include "memory.h"
#include "streams.h"

namespace emu {
namespace {

constexpr size_t growth = size_t{2} << 20;  // pools grow in steps of 2 MiB

struct Pools {
  std::mutex mutex;  // of every pool's numbers too
  Handles<CUmemoryPool, Pool> handles{"memory pool", 0x54};
  std::vector<std::shared_ptr<Pool>> all;
  std::map<CUdevice, CUmemoryPool> default_of, current_of;
};

Pools& pools() {
  static Pools& instance = *new Pools;
  return instance;
}

CUmemoryPool create_pool(CUdevice device, bool is_default) {
  auto pool = std::make_shared<Pool>(Pool{device, is_default});
  const std::lock_guard lock(pools().mutex);
  pools().all.push_back(pool);
  return pools().handles.add(std::move(pool));
}

CUmemoryPool default_pool(CUdevice device) {
  {
    const std::lock_guard lock(pools().mutex);
    const auto found = pools().default_of.find(device);
    if (found != pools().default_of.end()) return found->second;
  }
  const CUmemoryPool created = create_pool(device, true);
  const std::lock_guard lock(pools().mutex);
  return pools().default_of.try_emplace(device, created).first->second;
}

CUmemoryPool current_pool(CUdevice device) {
  const CUmemoryPool otherwise = default_pool(device);
  const std::lock_guard lock(pools().mutex);
  const auto found = pools().current_of.find(device);
  return found == pools().current_of.end() ? otherwise : found->second;
}

// Where a numeric attribute is kept; null for the others.
size_t* number_of(Pool& pool, CUmemPool_attribute attribute) {
  switch (attribute) {
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
      return &pool.threshold;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
      return &pool.reserved;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
      return &pool.reserved_high;
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
      return &pool.used;
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
      return &pool.used_high;
    default:
      return nullptr;
  }
}

bool is_reuse(CUmemPool_attribute attribute) {
  return attribute == CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES ||
         attribute == CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC ||
         attribute == CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES;
}

CUresult set_attribute(Pool& pool, CUmemPool_attribute attribute, const void* value) {
  const std::lock_guard lock(pools().mutex);
  if (is_reuse(attribute)) {
    pool.reuse = *static_cast<const int*>(value);
    return CUDA_SUCCESS;
  }
  const auto number = static_cast<size_t>(*static_cast<const cuuint64_t*>(value));
  if (attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) {
    pool.threshold = number;
  } else if (number == 0 && attribute == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH) {
    pool.reserved_high = pool.reserved;
  } else if (number == 0 && attribute == CU_MEMPOOL_ATTR_USED_MEM_HIGH) {
    pool.used_high = pool.used;
  } else {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

CUresult allocate_async(const char* entry, Context& context, CUmemoryPool handle, CUdeviceptr* address, size_t bytes,
                        CUstream stream_handle) {
  if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  const auto pool = pools().handles.get(handle, entry);
  const auto stream = find_stream(context.handle, stream_handle, entry);
  if (!pool || !stream) return CUDA_ERROR_INVALID_HANDLE;
  if (!take_from_pool(*pool, bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  if (const CUresult error = allocate_in(context.handle, bytes, "", pool, false, address)) {
    pool_took_back(*pool, bytes);
    return error;
  }
  submit(stream, {entry, [at = *address] { make_ready(at); }, {}});
  return CUDA_SUCCESS;
}

}  // namespace

bool take_from_pool(Pool& pool, size_t bytes) {
  const std::lock_guard lock(pools().mutex);
  if (pool.used + bytes > pool.reserved) {
    const size_t missing = (pool.used + bytes - pool.reserved + growth - 1) / growth * growth;
    if (!reserve(pool.device, missing)) return false;
    pool.reserved += missing;
  }
  pool.used += bytes;
  pool.used_high = std::max(pool.used_high, pool.used);
  pool.reserved_high = std::max(pool.reserved_high, pool.reserved);
  return true;
}

void pool_took_back(Pool& pool, size_t bytes) {
  const std::lock_guard lock(pools().mutex);
  pool.used -= bytes;
}

void trim_pool(Pool& pool, size_t keep) {
  const std::lock_guard lock(pools().mutex);
  const size_t kept = std::max((pool.used + growth - 1) / growth * growth, std::min(pool.reserved, keep));
  if (kept >= pool.reserved) return;
  unreserve(pool.device, pool.reserved - kept);
  pool.reserved = kept;
}

void trim_pools(CUdevice device) {
  std::vector<std::shared_ptr<Pool>> all;
  {
    const std::lock_guard lock(pools().mutex);
    all = pools().all;
  }
  for (const auto& pool : all) {
    if (pool->device == device) trim_pool(*pool, pool->threshold);
  }
}

}  // namespace emu

using namespace emu;

CUresult cuMemAllocAsync(CUdeviceptr* address, size_t bytes, CUstream stream) {
  return in_context(__func__, [&](Context& context) {
    return allocate_async("cuMemAllocAsync", context, current_pool(context.device), address, bytes, stream);
  });
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr* address, size_t bytes, CUmemoryPool pool, CUstream stream) {
  return in_context(__func__, [&](Context& context) {
    return allocate_async("cuMemAllocFromPoolAsync", context, pool, address, bytes, stream);
  });
}

CUresult cuMemFreeAsync(CUdeviceptr address, CUstream handle) {
  return releasing(__func__, Need::context, [&]() -> CUresult {
    if (!address) return CUDA_SUCCESS;
    const auto stream = find_stream(current_context(), handle, "cuMemFreeAsync");
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    const auto allocation = find_allocation(address);
    if (!allocation || allocation->address != address || !allocation->owner.empty() || allocation->given_back) {
      violation("cuMemFreeAsync of ", describe_address(address),
                allocation && allocation->given_back ? ", a second time" : "");
      return CUDA_ERROR_INVALID_VALUE;
    }
    if (!allocation->pool) leniency("cuMemFreeAsync of memory that is not stream-ordered");
    mark_given_back(address);
    submit(stream, {"cuMemFreeAsync", [address] { release(address); }, {}, true});
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice device) {
  return after_init(__func__, [&]() -> CUresult {
    if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    *pool = default_pool(device);
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetMemPool(CUmemoryPool* pool, CUdevice device) {
  return after_init(__func__, [&]() -> CUresult {
    if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    *pool = current_pool(device);
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool handle) {
  return after_init(__func__, [&]() -> CUresult {
    const auto pool = pools().handles.get(handle, "cuDeviceSetMemPool");
    if (!pool || !is_device(device) || pool->device != device) return CUDA_ERROR_INVALID_VALUE;
    const std::lock_guard lock(pools().mutex);
    pools().current_of[device] = handle;
    return CUDA_SUCCESS;
  });
}

CUresult cuMemPoolCreate(CUmemoryPool* pool, const CUmemPoolProps* properties) {
  return after_init(__func__, [&]() -> CUresult {
    if (properties->location.type != CU_MEM_LOCATION_TYPE_DEVICE) return CUDA_ERROR_NOT_SUPPORTED;
    if (!is_device(properties->location.id)) return CUDA_ERROR_INVALID_DEVICE;
    *pool = create_pool(properties->location.id, false);
    return CUDA_SUCCESS;
  });
}

CUresult cuMemPoolDestroy(CUmemoryPool handle) {
  return releasing(__func__, Need::init, [&]() -> CUresult {
    const auto pool = pools().handles.get(handle, "cuMemPoolDestroy");
    if (!pool || pool->is_default) return CUDA_ERROR_INVALID_VALUE;
    trim_pool(*pool, 0);
    pool->threshold = 0;  // what is still allocated goes back when it is freed
    pools().handles.remove(handle);
    const std::lock_guard lock(pools().mutex);
    std::erase_if(pools().current_of, [&](const auto& entry) { return entry.second == handle; });
    return CUDA_SUCCESS;
  });
}

CUresult cuMemPoolSetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute, void* value) {
  return after_init(__func__, [&]() -> CUresult {
    const auto pool = pools().handles.get(handle, "cuMemPoolSetAttribute");
    return pool ? set_attribute(*pool, attribute, value) : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult cuMemPoolGetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute, void* value) {
  return after_init(__func__, [&]() -> CUresult {
    const auto pool = pools().handles.get(handle, "cuMemPoolGetAttribute");
    if (!pool) return CUDA_ERROR_INVALID_VALUE;
    const std::lock_guard lock(pools().mutex);
    if (is_reuse(attribute)) {
      *static_cast<int*>(value) = pool->reuse;
    } else if (const size_t* number = number_of(*pool, attribute)) {
      *static_cast<cuuint64_t*>(value) = *number;
    } else {
      return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
  });
}

CUresult cuMemPoolTrimTo(CUmemoryPool handle, size_t keep) {
  return after_init(__func__, [&]() -> CUresult {
    const auto pool = pools().handles.get(handle, "cuMemPoolTrimTo");
    if (!pool) return CUDA_ERROR_INVALID_VALUE;
    trim_pool(*pool, keep);
    return CUDA_SUCCESS;
  });
}
