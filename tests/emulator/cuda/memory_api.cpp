// cuMemAlloc, cuMemFree, cuMemGetInfo, cuPointerGetAttribute.
#include "entry.h"
#include "host_memory.h"
#include "memory.h"
#include "streams.h"

using namespace emu;

namespace {

CUresult allocate_for_client(Context& context, size_t bytes, CUdeviceptr* address) {
  return allocate(context.handle, bytes, "", address);
}

}  // namespace

CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) {
  return in_context(__func__, [&](Context& context) { return allocate_for_client(context, bytes, address); });
}

CUresult cuMemAllocPitch_v2(CUdeviceptr* address, size_t* pitch, size_t width, size_t height, unsigned element) {
  return in_context(__func__, [&](Context& context) -> CUresult {
    if (!width || !height || (element != 4 && element != 8 && element != 16)) return CUDA_ERROR_INVALID_VALUE;
    *pitch = (width + 511) / 512 * 512;
    return allocate_for_client(context, *pitch * height, address);
  });
}

CUresult cuMemFree_v2(CUdeviceptr address) {
  return releasing(__func__, Need::context, [&]() -> CUresult {
    if (!address) return CUDA_SUCCESS;
    const auto allocation = find_allocation(address);
    if (!allocation || allocation->address != address || !allocation->owner.empty() || allocation->given_back) {
      violation("cuMemFree of ", describe_address(address));
      return CUDA_ERROR_INVALID_VALUE;
    }
    if (allocation->device != device_of(current_context())) {
      leniency("cuMemFree of memory of device ", allocation->device, " in a context of another device");
    }
    settle_device(allocation->device);  // cuMemFree waits for everything that may use the memory
    release(address);
    return CUDA_SUCCESS;
  });
}

CUresult cuMemGetInfo_v2(size_t* available, size_t* total) {
  return in_context(__func__, [&](Context& context) {
    *total = capacity(context.device);
    *available = *total - std::min(*total, used_bytes(context.device));
    return CUDA_SUCCESS;
  });
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* bytes, CUdeviceptr address) {
  return in_context(__func__, [&](Context&) -> CUresult {
    const auto allocation = find_allocation(address);
    if (!allocation) return CUDA_ERROR_NOT_FOUND;
    if (base) *base = allocation->address;
    if (bytes) *bytes = allocation->bytes;
    return CUDA_SUCCESS;
  });
}

namespace {

// What is known about an address. Host memory that was never page-locked has only zeros.
struct Pointer {
  std::shared_ptr<const Allocation> device;
  std::optional<HostRange> host;
};

CUresult pointer_attribute(void* data, CUpointer_attribute attribute, const Pointer& pointer, CUdeviceptr address) {
  const auto& device = pointer.device;
  const auto put = [&](auto value) {
    *static_cast<decltype(value)*>(data) = value;
    return CUDA_SUCCESS;
  };
  switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
      return put(device ? device->context : current_context());
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
      return put(static_cast<unsigned>(device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST));
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
      return put(address);
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
      if (device) return CUDA_ERROR_INVALID_VALUE;
      return put(reinterpret_cast<void*>(address));
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
      return put(0u);
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
      return put(device ? device->device : 0);
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
      return put(device ? device->address : reinterpret_cast<CUdeviceptr>(pointer.host->first));
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
      return put(device ? device->bytes : pointer.host->bytes);
    case CU_POINTER_ATTRIBUTE_MAPPED:
      return put(1u);
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
      return put(static_cast<unsigned long long>(device ? device->offset + 1 : 1));
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
      return put(device && !device->pool ? 1u : 0u);
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
      return CUDA_ERROR_NOT_SUPPORTED;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

Pointer look_up(CUdeviceptr address) {
  return {find_allocation(address), find_pinned(reinterpret_cast<const void*>(address), 1)};
}

}  // namespace

CUresult cuPointerGetAttribute(void* data, CUpointer_attribute attribute, CUdeviceptr address) {
  return after_init(__func__, [&]() -> CUresult {
    const Pointer pointer = look_up(address);
    if (!pointer.device && !pointer.host) return CUDA_ERROR_INVALID_VALUE;
    return pointer_attribute(data, attribute, pointer, address);
  });
}

namespace {

bool is_wide(CUpointer_attribute attribute) {
  return attribute == CU_POINTER_ATTRIBUTE_CONTEXT || attribute == CU_POINTER_ATTRIBUTE_DEVICE_POINTER ||
         attribute == CU_POINTER_ATTRIBUTE_HOST_POINTER || attribute == CU_POINTER_ATTRIBUTE_RANGE_START_ADDR ||
         attribute == CU_POINTER_ATTRIBUTE_RANGE_SIZE;
}

}  // namespace

// Unlike the call for one attribute this takes any address: what does not apply to it is all zeros.
CUresult cuPointerGetAttributes(unsigned number, CUpointer_attribute* attributes, void** data, CUdeviceptr address) {
  return after_init(__func__, [&]() -> CUresult {
    const Pointer pointer = look_up(address);
    for (unsigned i = 0; i < number; ++i) {
      const bool known = pointer.device || pointer.host;
      if (known && pointer_attribute(data[i], attributes[i], pointer, address) == CUDA_SUCCESS) continue;
      std::fill_n(static_cast<std::byte*>(data[i]), is_wide(attributes[i]) ? 8 : 4, std::byte{});
      if (attributes[i] == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL) *static_cast<int*>(data[i]) = -2;
    }
    return CUDA_SUCCESS;
  });
}
