#include "nvdec/convert_stream.h"

namespace frametap {

void ConvertStream::convert(const CudaConverter& converter, std::span<const Plane> planes, uint64_t out) {
  if (!scratch_ || scratch_->bytes() < converter.scratch_bytes()) {
    scratch_.reset();
    scratch_ = std::make_unique<DeviceMemory>(device_, converter.scratch_bytes(), handle());
  }
  converter.launch(planes, out, scratch_->address(), handle());
}

void ConvertStream::order_before(CUstream stream) const { device_->order(stream, handle()); }
void ConvertStream::order_after(CUstream stream) const { device_->order(handle(), stream); }

}  // namespace frametap
