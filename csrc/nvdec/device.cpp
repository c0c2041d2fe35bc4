#include "nvdec/device.h"

#include <map>
#include <mutex>

#include "core/error.h"
#include "kernels/cuda_fatbin.h"
#include "nvdec/decoder_pool.h"
#include "nvdec/driver.h"

namespace frametap {
namespace {

struct Registry {
  std::mutex mutex;
  std::map<int, std::shared_ptr<Device>> devices;
};

// Never destroyed: at the end of the process nothing of ours may call a driver that is being torn down. See shutdown().
Registry& registry() {
  static auto* const devices = new Registry;
  return *devices;
}

}  // namespace

std::shared_ptr<Device> Device::get(int ordinal) {
  driver();  // refuses forked children, whose copy of the registry is of no use
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  auto& device = all.devices[ordinal];
  if (!device) {
    device = std::make_shared<Device>(ordinal);
  }
  return device;
}

int Device::count() {
  int devices = 0;
  FRAMETAP_CU(cuDeviceGetCount, &devices);
  return devices;
}

void Device::shutdown() noexcept {
  if (forked_after_init()) {
    return;
  }
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  for (const auto& [ordinal, device] : all.devices) {
    if (device) {
      device->decoders().clear();
    }
  }
  all.devices.clear();
}

Device::Device(int ordinal) : ordinal_(ordinal) {
  const int devices = count();
  check<DeviceError>(ordinal >= 0 && ordinal < devices, "device \"cuda:", ordinal,
                     "\" does not exist: the driver shows ", devices, devices == 1 ? " GPU" : " GPUs",
                     " (CUDA_VISIBLE_DEVICES limits which)");
  FRAMETAP_CU(cuDeviceGet, &device_, ordinal);
  char name[256] = {};
  FRAMETAP_CU(cuDeviceGetName, name, sizeof(name), device_);
  name_ = name;
  FRAMETAP_CU(cuDevicePrimaryCtxRetain, &context_, device_);
  try {
    decoders_ = std::make_unique<DecoderPool>(*this);
    load_kernels();
  } catch (...) {
    driver().cuDevicePrimaryCtxRelease(device_);
    throw;
  }
}

Device::~Device() {
  decoders_.reset();
  {
    const CleanupScope scope(*this);
    if (!scope) {
      return;
    }
    driver().cuEventDestroy(order_event_);
    driver().cuStreamDestroy(upload_stream_);
    driver().cuModuleUnload(module_);
  }
  driver().cuDevicePrimaryCtxRelease(device_);
}

void Device::load_kernels() {
  const auto code = cuda_fatbin();
  check<DeviceError>(!code.empty(), "this frametap was built without CUDA kernels (no nvcc was found); build it again");
  const ContextScope scope(*this);
  FRAMETAP_CU(cuModuleLoadData, &module_, code.data());
  try {
    FRAMETAP_CU(cuModuleGetFunction, &vertical_, module_, "frametap_vertical");
    FRAMETAP_CU(cuModuleGetFunction, &horizontal_, module_, "frametap_horizontal");
    FRAMETAP_CU(cuStreamCreate, &upload_stream_, CU_STREAM_NON_BLOCKING);
    FRAMETAP_CU(cuEventCreate, &order_event_, CU_EVENT_DISABLE_TIMING);
  } catch (...) {
    if (upload_stream_ != nullptr) {
      driver().cuStreamDestroy(upload_stream_);
    }
    driver().cuModuleUnload(module_);
    throw;
  }
}

nvcuvid::DecodeCaps Device::caps(nvcuvid::Codec codec, nvcuvid::ChromaFormat chroma, int bit_depth) const {
  check<DeviceError>(driver().has_nvcuvid, "libnvcuvid.so.1 cannot be loaded (", driver().nvcuvid_error,
                     "): in a container, NVIDIA_DRIVER_CAPABILITIES must contain \"video\"");
  nvcuvid::DecodeCaps caps{};
  caps.codec = codec;
  caps.chroma_format = chroma;
  caps.bit_depth_minus8 = static_cast<uint32_t>(bit_depth - 8);
  const ContextScope scope(*this);
  FRAMETAP_CU(cuvidGetDecoderCaps, &caps);
  return caps;
}

void Device::order(CUstream earlier, CUstream later) const {
  if (earlier == later) {
    return;
  }
  const ContextScope scope(*this);
  const std::lock_guard lock(order_mutex_);
  FRAMETAP_CU(cuEventRecord, order_event_, earlier);
  FRAMETAP_CU(cuStreamWaitEvent, later, order_event_, 0);
}

int Device::owner_of(uint64_t address) const {
  const ContextScope scope(*this);
  unsigned type = 0;
  const CUresult known = driver().cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address);
  if (known == CUDA_ERROR_INVALID_VALUE) {
    return -1;  // it knows nothing of it
  }
  check_cuda(known, "cuPointerGetAttribute");
  int ordinal = 0;
  FRAMETAP_CU(cuPointerGetAttribute, &ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, address);
  return type == CU_MEMORYTYPE_DEVICE ? ordinal : -1;
}

void Device::launch(const CudaTables& tables, const CudaConvert& params, CUstream stream) const {
  CudaConvert copy = params;
  void* arguments[] = {&copy};
  const auto run = [&](CUfunction kernel, const CudaGrid& grid) {
    FRAMETAP_CU(cuLaunchKernel, kernel, grid.x, grid.y, grid.z, CudaTables::kBlockWidth, CudaTables::kBlockHeight, 1, 0,
                stream, arguments, nullptr);
  };
  run(vertical_, tables.vertical_grid());
  run(horizontal_, tables.horizontal_grid());
}

ContextScope::ContextScope(const Device& device) { FRAMETAP_CU(cuCtxPushCurrent, device.context()); }

ContextScope::~ContextScope() {
  CUcontext popped = nullptr;
  driver().cuCtxPopCurrent(&popped);
}

CleanupScope::CleanupScope(const Device& device) noexcept {
  // A second time, since any call may report what earlier asynchronous work met with.
  pushed_ = !forked_after_init() && (driver().cuCtxPushCurrent(device.context()) == CUDA_SUCCESS ||
                                     driver().cuCtxPushCurrent(device.context()) == CUDA_SUCCESS);
}

CleanupScope::~CleanupScope() {
  if (pushed_) {
    CUcontext popped = nullptr;
    driver().cuCtxPopCurrent(&popped);
  }
}

DeviceMemory::DeviceMemory(std::shared_ptr<Device> device, size_t bytes, CUstream stream)
    : device_(std::move(device)), bytes_(bytes), stream_(stream) {
  if (bytes_ > 0) {  // the driver refuses to allocate nothing
    const ContextScope scope(*device_);
    CUresult result = driver().cuMemAllocAsync(&address_, bytes_, stream_);
    if (result == CUDA_ERROR_OUT_OF_MEMORY && device_->decoders().clear()) {
      result = driver().cuMemAllocAsync(&address_, bytes_, stream_);  // idle decoders held what it needs
    }
    check_cuda(result, "cuMemAllocAsync");
  }
}

DeviceMemory::~DeviceMemory() {
  const CleanupScope scope(*device_);
  if (scope && address_ != 0) {
    if (foreign_readers_) {
      driver().cuCtxSynchronize();
    }
    driver().cuMemFreeAsync(address_, stream_);
  }
}

PinnedMemory::PinnedMemory(std::shared_ptr<Device> device, size_t bytes) : device_(std::move(device)), bytes_(bytes) {
  const ContextScope scope(*device_);
  FRAMETAP_CU(cuMemHostAlloc, &data_, bytes_, 0);
}

PinnedMemory::~PinnedMemory() {
  const CleanupScope scope(*device_);
  if (scope) {
    driver().cuMemFreeHost(data_);
  }
}

Stream::Stream(std::shared_ptr<Device> device) : device_(std::move(device)) {
  const ContextScope scope(*device_);
  FRAMETAP_CU(cuStreamCreate, &stream_, CU_STREAM_NON_BLOCKING);
}

Stream::~Stream() {
  const CleanupScope scope(*device_);
  if (scope) {
    driver().cuStreamDestroy(stream_);
  }
}

Event::Event(const Device& device) : device_(device) {
  const ContextScope scope(device_);
  FRAMETAP_CU(cuEventCreate, &event_, CU_EVENT_DISABLE_TIMING);
}

Event::~Event() {
  const CleanupScope scope(device_);
  if (scope) {
    driver().cuEventDestroy(event_);
  }
}

}  // namespace frametap
