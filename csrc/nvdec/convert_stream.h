// A stream on which pictures are converted, and the scratch memory that takes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "core/plane.h"
#include "nvdec/cuda_converter.h"
#include "nvdec/device.h"

namespace frametap {

/// One thread at a time; the work itself runs on after the calls return.
class ConvertStream {
 public:
  explicit ConvertStream(std::shared_ptr<Device> device) : device_(std::move(device)), stream_(device_) {}

  /// Enqueues a conversion from device planes into device memory. The context must be current.
  void convert(const CudaConverter& converter, std::span<const Plane> planes, uint64_t out);

  /// What is enqueued here from now on comes after what `stream` was given so far.
  void order_before(CUstream stream) const;
  /// What `stream` is given from now on comes after what was enqueued here so far.
  void order_after(CUstream stream) const;

  CUstream handle() const { return stream_.handle(); }
  const std::shared_ptr<Device>& device() const { return device_; }

 private:
  std::shared_ptr<Device> device_;
  Stream stream_;
  std::unique_ptr<DeviceMemory> scratch_;  // between the two passes; the stream's order lets every picture use the same
};

}  // namespace frametap
