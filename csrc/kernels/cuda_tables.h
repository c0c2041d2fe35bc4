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

/// One picture of a launch: its planes as for Converter::convert, and the slot it becomes. Device addresses.
struct CudaJob {
  std::span<const Plane> planes;
  uint64_t out;
};

/// Filters of one plan, laid out for device memory. Immutable, so any number of streams may share one upload.
class CudaTables {
 public:
  static constexpr uint32_t kBlockWidth = 32, kBlockHeight = 8;  // threads of a block of either kernel
  static constexpr size_t kMostPictures = kCudaPictures;         // of one launch

  explicit CudaTables(ConvertPlan plan);
  /// The same from what a Converter is made of.
  explicit CudaTables(const ConvertParams& params) : CudaTables(make_plan(params)) {}

  /// Copy these to device memory, 16-byte aligned.
  std::span<const std::byte> bytes() const { return bytes_; }
  /// Device scratch, 16-byte aligned, that `pictures` conversions need between the two kernels.
  size_t scratch_bytes(size_t pictures = 1) const;

  CudaGrid vertical_grid(size_t pictures = 1) const;
  CudaGrid horizontal_grid(size_t pictures = 1) const;

  /// Parameters of both kernels for up to kMostPictures pictures. All addresses are device addresses. Pictures of one
  /// launch have the same pitches; rows that all start at 16 bytes are read 16 bytes at a time, others byte by byte.
  CudaConvert params(uint64_t tables, std::span<const CudaJob> jobs, uint64_t scratch) const;
  /// The same for one picture.
  CudaConvert params(uint64_t tables, std::span<const Plane> planes, uint64_t scratch, uint64_t out) const;

 private:
  struct Placed {
    size_t start = 0, count = 0, weights = 0;  // offsets in bytes_
  };

  Placed place(const Filter& filter);
  size_t append(const void* data, size_t size);
  CudaFilter filter_at(uint64_t tables, const Placed& placed, const Filter& filter) const;
  int samples_per_vector() const;
  int first_vector(const PlanePlan& plane) const;
  int vectors(const PlanePlan& plane) const;
  size_t plane_samples(const PlanePlan& plane) const;
  void set_planes(CudaConvert& p, uint64_t tables) const;
  void set_components(CudaConvert& p, uint64_t tables) const;
  void set_pictures(CudaConvert& p, std::span<const CudaJob> jobs) const;
  ToneMap tone_map(uint64_t tables) const;
  CudaOutput output() const;

  ConvertPlan plan_;
  std::vector<std::byte> bytes_;
  std::array<Placed, 2> vertical_{}, horizontal_{};
  std::array<size_t, 4> tone_{};  // offsets in bytes_: to_light, ootf, eetf, to_code
};

}  // namespace frametap
