#include "nvdec/cuda_converter.h"

#include <utility>

#include "nvdec/driver.h"

namespace frametap {
CudaConverter::CudaConverter(std::shared_ptr<Device> device, CudaTables tables)
    : device_(std::move(device)),
      tables_(std::move(tables)),
      uploaded_(device_, tables_.bytes().size(), device_->upload_stream()) {
  const ContextScope scope(*device_);
  FRAMETAP_CU(cuMemcpyHtoDAsync, uploaded_.address(), tables_.bytes().data(), tables_.bytes().size(),
              device_->upload_stream());
  // Once per geometry: from here on any stream may read the tables. Launches read them until they are over.
  FRAMETAP_CU(cuStreamSynchronize, device_->upload_stream());
  uploaded_.shared_with_other_streams();
}

void CudaConverter::launch(std::span<const Plane> planes, uint64_t out, uint64_t scratch, CUstream stream) const {
  device_->launch(tables_, tables_.params(uploaded_.address(), planes, scratch, out), stream);
}

}  // namespace frametap
