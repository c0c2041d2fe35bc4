#include "nvdec/plane_uploader.h"

#include <cstring>
#include <vector>

#include "nvdec/driver.h"

namespace frametap {
namespace {

constexpr size_t kPitchAlignment = 256;  // rows begin where the kernels can load 16 bytes at once

size_t aligned(size_t bytes) { return (bytes + kPitchAlignment - 1) / kPitchAlignment * kPitchAlignment; }

}  // namespace

PlaneUploader::~PlaneUploader() {
  const CleanupScope scope(*stream_.device());
  if (scope) {
    driver().cuStreamSynchronize(stream_.handle());  // page-locked memory goes away at once, whatever reads it
  }
}

void PlaneUploader::convert(const CudaConverter& converter, std::span<const HostPlane> planes, uint64_t out) {
  size_t bytes = 0;
  for (const HostPlane& plane : planes) {
    bytes += aligned(plane.row_bytes) * plane.rows;
  }
  const ContextScope scope(*stream_.device());
  Slot& slot = next_slot(bytes);
  std::vector<Plane> uploaded;
  size_t offset = 0;
  for (const HostPlane& plane : planes) {
    const size_t pitch = aligned(plane.row_bytes);
    uploaded.push_back({reinterpret_cast<const uint8_t*>(static_cast<uintptr_t>(slot.device->address() + offset)),
                        static_cast<ptrdiff_t>(pitch)});
    const uint8_t* row = plane.plane.data;
    for (size_t y = 0; y < plane.rows; ++y, row += plane.plane.pitch) {
      std::memcpy(slot.host->data() + offset + y * pitch, row, plane.row_bytes);
    }
    offset += pitch * plane.rows;
  }
  FRAMETAP_CU(cuMemcpyHtoDAsync, slot.device->address(), slot.host->data(), bytes, stream_.handle());
  FRAMETAP_CU(cuEventRecord, slot.copied->handle(), stream_.handle());
  uploaded_bytes_ += static_cast<int64_t>(bytes);
  stream_.convert(converter, uploaded, out);
}

PlaneUploader::Slot& PlaneUploader::next_slot(size_t bytes) {
  Slot& slot = ring_[next_];
  next_ = (next_ + 1) % ring_.size();
  if (slot.copied) {
    FRAMETAP_CU(cuEventSynchronize, slot.copied->handle());
  } else {
    slot.copied = std::make_unique<Event>(*stream_.device());
  }
  if (!slot.host || slot.host->bytes() < bytes) {
    slot.host.reset();
    slot.device = std::make_unique<DeviceMemory>(stream_.device(), bytes, stream_.handle());
    slot.host = std::make_unique<PinnedMemory>(stream_.device(), bytes);  // last: its size is that of both
  }
  return slot;
}

size_t PlaneUploader::staging_bytes() const {
  size_t bytes = 0;
  for (const Slot& slot : ring_) {
    bytes += slot.host ? slot.host->bytes() : 0;
  }
  return bytes;
}

}  // namespace frametap
