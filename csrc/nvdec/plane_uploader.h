// Pictures decoded on the CPU, converted on the GPU: planes go through page-locked memory, never as RGB.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "core/plane.h"
#include "nvdec/convert_stream.h"
#include "nvdec/device.h"

namespace frametap {

/// One plane in host memory.
struct HostPlane {
  Plane plane;
  size_t row_bytes = 0, rows = 0;
};

/// A ring of staging buffers, so that one picture is copied while the one before is on its way. One thread at a time.
class PlaneUploader {
 public:
  explicit PlaneUploader(std::shared_ptr<Device> device) : stream_(std::move(device)) {}
  ~PlaneUploader();

  /// Copies the planes of one picture and enqueues their conversion; they may change as soon as it returns.
  void convert(const CudaConverter& converter, std::span<const HostPlane> planes, uint64_t out);

  ConvertStream& stream() { return stream_; }
  /// Bytes of staging memory in use, page-locked and on the GPU each.
  size_t staging_bytes() const;
  int64_t uploaded_bytes() const { return uploaded_bytes_; }

 private:
  struct Slot {
    std::unique_ptr<PinnedMemory> host;
    std::unique_ptr<DeviceMemory> device;
    std::unique_ptr<Event> copied;  // the host memory may be written again
  };

  Slot& next_slot(size_t bytes);

  ConvertStream stream_;
  std::array<Slot, 3> ring_;
  size_t next_ = 0;
  int64_t uploaded_bytes_ = 0;
};

}  // namespace frametap
