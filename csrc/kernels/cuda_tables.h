// The host side of kernels_cuda.cu: a plan as bytes to upload once, and the parameters of each launch. Calls no driver.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/plane.h"
#include "kernels/cuda_params.h"
#include "kernels/plan.h"

namespace frametap {

struct CudaGrid {
  uint32_t x, y, z;  // blocks
};

/// Filters of one plan, laid out for device memory. Immutable, so any number of streams may share one upload.
class CudaTables {
 public:
  static constexpr uint32_t kBlockWidth = 32, kBlockHeight = 8;  // threads of a block of either kernel

  explicit CudaTables(ConvertPlan plan);
  /// The same from what a Converter is made of.
  explicit CudaTables(const ConvertParams& params) : CudaTables(make_plan(params)) {}

  /// Copy these to device memory, 16-byte aligned.
  std::span<const std::byte> bytes() const { return bytes_; }
  /// Device scratch one conversion needs between its two kernels.
  size_t scratch_bytes() const;

  CudaGrid vertical_grid() const;
  CudaGrid horizontal_grid() const;

  /// Parameters of both kernels. All addresses are device addresses; `planes` as for Converter::convert.
  CudaConvert params(uint64_t tables, std::span<const Plane> planes, uint64_t scratch, uint64_t out) const;

 private:
  struct Placed {
    size_t start = 0, count = 0, weights = 0;  // offsets in bytes_
  };

  Placed place(const Filter& filter);
  size_t append(const void* data, size_t size);
  CudaFilter filter_at(uint64_t tables, const Placed& placed, const Filter& filter) const;
  size_t plane_elements(size_t plane) const;
  CudaOutput output() const;

  ConvertPlan plan_;
  std::vector<std::byte> bytes_;
  std::array<Placed, 2> vertical_{}, horizontal_{};
};

}  // namespace frametap
