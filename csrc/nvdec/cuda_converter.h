// The conversion of one kind of picture on a GPU: the same bytes as `Converter` gives on the CPU.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "core/plane.h"
#include "kernels/cuda_tables.h"
#include "nvdec/device.h"

namespace frametap {

/// Immutable once made; any number of threads and streams may launch it.
class CudaConverter {
 public:
  /// Throws DeviceError when the tables cannot be put on the GPU.
  CudaConverter(std::shared_ptr<Device> device, CudaTables tables);

  /// Enqueues the conversion of one picture. `planes` and `out` are device addresses; `scratch` is scratch_bytes() of
  /// device memory that no other work uses before the stream has passed this point. The context must be current.
  void launch(std::span<const Plane> planes, uint64_t out, uint64_t scratch, CUstream stream) const;

  size_t scratch_bytes() const { return tables_.scratch_bytes(); }

 private:
  std::shared_ptr<Device> device_;
  CudaTables tables_;
  DeviceMemory uploaded_;
};

}  // namespace frametap
