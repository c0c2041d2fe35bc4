// cuMemcpy*, cuMemset*: checked when they are called and again when they run.
#include <cstring>
#include <optional>

#include "entry.h"
#include "host_memory.h"
#include "memory.h"
#include "streams.h"

namespace emu {
namespace {

// One side of a copy: rows of `width` bytes, `pitch` apart.
struct Side {
  bool device;
  std::byte* host = nullptr;
  CUdeviceptr address = 0;
  size_t pitch = 0;
  bool pinned = false;
};

struct Copy {
  const char* entry;
  Side from, to;
  size_t width, height;

  size_t extent(const Side& side) const { return (height - 1) * side.pitch + width; }
};

// `array` is the address as the struct has it, before the offsets x and y.
std::optional<Side> make_side(const char* entry, CUmemorytype type, const void* host, CUdeviceptr address, size_t pitch,
                              size_t x, size_t y, const CUDA_MEMCPY2D& job) {
  if (type == CU_MEMORYTYPE_UNIFIED)
    type = is_device_address(address) ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
  else if (type == CU_MEMORYTYPE_HOST)
    address = reinterpret_cast<CUdeviceptr>(host);
  if (type != CU_MEMORYTYPE_DEVICE && type != CU_MEMORYTYPE_HOST) return std::nullopt;
  if (pitch == 0) pitch = x + job.WidthInBytes;
  if (job.Height > 1 && pitch < x + job.WidthInBytes) {
    violation(entry, ": rows of ", job.WidthInBytes, " bytes from ", x, " on are longer than the pitch of ", pitch);
    return std::nullopt;
  }
  Side side{type == CU_MEMORYTYPE_DEVICE};
  side.pitch = pitch;
  side.address = address + y * pitch + x;
  if (side.device) return side;
  if (is_device_address(side.address)) {
    violation(entry, ": ", describe_address(side.address), ", passed as host memory");
    return std::nullopt;
  }
  side.host = reinterpret_cast<std::byte*>(side.address);
  side.pinned = find_pinned(side.host, (job.Height - 1) * pitch + job.WidthInBytes).has_value();
  return side;
}

bool check_device(const Copy& copy, const Side& side, const Context& context) {
  if (!side.device) return true;
  if (!checked_alias(copy.entry, side.address, copy.extent(side), When::call)) return false;
  const auto allocation = find_allocation(side.address);
  if (allocation && allocation->device != context.device) {
    leniency(copy.entry, ": memory of device ", allocation->device, " in a context of device ", context.device);
  }
  return true;
}

// The bytes when the copy runs; null, and a violation, if they are not there any more.
std::byte* bytes_at_run(const Copy& copy, const Side& side) {
  if (side.device) return checked_alias(copy.entry, side.address, copy.extent(side), When::run);
  if (side.pinned && !find_pinned(side.host, copy.extent(side))) {
    violation(copy.entry, " ran after its page-locked host memory was freed");
    return nullptr;
  }
  return side.host;
}

void run_copy(const Copy& copy) {
  const std::byte* from = bytes_at_run(copy, copy.from);
  std::byte* to = bytes_at_run(copy, copy.to);
  if (!from || !to) return;
  for (size_t row = 0; row < copy.height; ++row) {
    std::memmove(to + row * copy.to.pitch, from + row * copy.from.pitch, copy.width);
  }
}

// A driver stages pageable memory before the call returns.
std::shared_ptr<std::byte[]> stage(Copy& copy) {
  std::shared_ptr<std::byte[]> staged(new std::byte[copy.width * copy.height]);
  for (size_t row = 0; row < copy.height; ++row) {
    std::memcpy(staged.get() + row * copy.width, copy.from.host + row * copy.from.pitch, copy.width);
  }
  copy.from.host = staged.get();
  copy.from.pitch = copy.width;
  return staged;
}

CUresult copy_2d(const char* entry, Context& context, const CUDA_MEMCPY2D& job, CUstream stream_handle, bool async) {
  const auto stream = find_stream(context.handle, stream_handle, entry);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  if (job.WidthInBytes == 0 || job.Height == 0) return CUDA_SUCCESS;  // real clients do that
  const auto from =
      make_side(entry, job.srcMemoryType, job.srcHost, job.srcDevice, job.srcPitch, job.srcXInBytes, job.srcY, job);
  const auto to =
      make_side(entry, job.dstMemoryType, job.dstHost, job.dstDevice, job.dstPitch, job.dstXInBytes, job.dstY, job);
  if (!from || !to) return CUDA_ERROR_INVALID_VALUE;
  Copy copy{entry, *from, *to, job.WidthInBytes, job.Height};
  if (!check_device(copy, copy.from, context) || !check_device(copy, copy.to, context)) return CUDA_ERROR_INVALID_VALUE;
  const std::string direction = text(from->device ? "D" : "H", "to", to->device ? "D" : "H");
  count(("bytes." + direction).c_str(), static_cast<int64_t>(copy.width * copy.height));
  count(("copies." + direction).c_str());
  const bool pageable = (!from->device && !from->pinned) || (!to->device && !to->pinned);
  if (pageable && async) count("copies.pageable");
  std::shared_ptr<std::byte[]> staged;
  if (async && !from->device && !from->pinned) staged = stage(copy);
  const auto completion = submit(stream, {entry, [copy, staged] { run_copy(copy); }, {}});
  // Asynchronous only between page-locked and device memory; within a device even the other calls are.
  const bool wait = (!to->device && !to->pinned) || (!async && !(from->device && to->device));
  if (wait) {
    wait_for(completion);
    return device_error(context.device);
  }
  return CUDA_SUCCESS;
}

CUresult copy_1d(const char* entry, CUDA_MEMCPY2D job, size_t bytes, CUstream stream, bool async) {
  return in_context(entry, [&](Context& context) {
    job.WidthInBytes = bytes;
    job.Height = 1;
    return copy_2d(entry, context, job, stream, async);
  });
}

CUDA_MEMCPY2D host_to_device(CUdeviceptr to, const void* from) {
  CUDA_MEMCPY2D job{};
  job.srcMemoryType = CU_MEMORYTYPE_HOST;
  job.srcHost = from;
  job.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  job.dstDevice = to;
  return job;
}

CUDA_MEMCPY2D device_to_host(void* to, CUdeviceptr from) {
  CUDA_MEMCPY2D job{};
  job.srcMemoryType = CU_MEMORYTYPE_DEVICE;
  job.srcDevice = from;
  job.dstMemoryType = CU_MEMORYTYPE_HOST;
  job.dstHost = to;
  return job;
}

CUDA_MEMCPY2D between(CUmemorytype type, CUdeviceptr to, CUdeviceptr from) {
  CUDA_MEMCPY2D job{};
  job.srcMemoryType = job.dstMemoryType = type;
  job.srcDevice = from;
  job.dstDevice = to;
  return job;
}

// Sets `height` rows of `width` elements.
template <class Element>
CUresult set(const char* entry, CUdeviceptr address, size_t pitch, Element value, size_t width, size_t height,
             CUstream stream_handle) {
  return in_context(entry, [&](Context& context) -> CUresult {
    const auto stream = find_stream(context.handle, stream_handle, entry);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (width == 0 || height == 0) return CUDA_SUCCESS;
    const size_t extent = (height - 1) * pitch + width * sizeof(Element);
    if (address % sizeof(Element) || !checked_alias(entry, address, extent, When::call))
      return CUDA_ERROR_INVALID_VALUE;
    submit(stream, {entry,
                    [=] {
                      std::byte* first = checked_alias(entry, address, extent, When::run);
                      for (size_t row = 0; first && row < height; ++row) {
                        std::fill_n(reinterpret_cast<Element*>(first + row * pitch), width, value);
                      }
                    },
                    {}});
    return CUDA_SUCCESS;
  });
}

}  // namespace
}  // namespace emu

using namespace emu;

CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D* job) {
  return in_context(__func__, [&](Context& context) { return copy_2d("cuMemcpy2D", context, *job, nullptr, false); });
}

CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D* job) {
  return in_context(__func__,
                    [&](Context& context) { return copy_2d("cuMemcpy2DUnaligned", context, *job, nullptr, false); });
}

CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D* job, CUstream stream) {
  return in_context(__func__,
                    [&](Context& context) { return copy_2d("cuMemcpy2DAsync", context, *job, stream, true); });
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
  return copy_1d("cuMemcpyHtoD", host_to_device(to, from), bytes, nullptr, false);
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
  return copy_1d("cuMemcpyHtoDAsync", host_to_device(to, from), bytes, stream, true);
}

CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
  return copy_1d("cuMemcpyDtoH", device_to_host(to, from), bytes, nullptr, false);
}

CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return copy_1d("cuMemcpyDtoHAsync", device_to_host(to, from), bytes, stream, true);
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return copy_1d("cuMemcpyDtoD", between(CU_MEMORYTYPE_DEVICE, to, from), bytes, nullptr, false);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return copy_1d("cuMemcpyDtoDAsync", between(CU_MEMORYTYPE_DEVICE, to, from), bytes, stream, true);
}

CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return copy_1d("cuMemcpy", between(CU_MEMORYTYPE_UNIFIED, to, from), bytes, nullptr, false);
}

CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return copy_1d("cuMemcpyAsync", between(CU_MEMORYTYPE_UNIFIED, to, from), bytes, stream, true);
}

CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t number) {
  return set("cuMemsetD8", to, 0, value, number, 1, nullptr);
}
CUresult cuMemsetD16_v2(CUdeviceptr to, unsigned short value, size_t number) {
  return set("cuMemsetD16", to, 0, value, number, 1, nullptr);
}
CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned value, size_t number) {
  return set("cuMemsetD32", to, 0, value, number, 1, nullptr);
}
CUresult cuMemsetD2D8_v2(CUdeviceptr to, size_t pitch, unsigned char value, size_t width, size_t height) {
  return set("cuMemsetD2D8", to, pitch, value, width, height, nullptr);
}
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t number, CUstream stream) {
  return set("cuMemsetD8Async", to, 0, value, number, 1, stream);
}
CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t number, CUstream stream) {
  return set("cuMemsetD16Async", to, 0, value, number, 1, stream);
}
CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t number, CUstream stream) {
  return set("cuMemsetD32Async", to, 0, value, number, 1, stream);
}
CUresult cuMemsetD2D8Async(CUdeviceptr to, size_t pitch, unsigned char value, size_t width, size_t height,
                           CUstream stream) {
  return set("cuMemsetD2D8Async", to, pitch, value, width, height, stream);
}
