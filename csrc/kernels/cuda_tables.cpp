#include "kernels/cuda_tables.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace frametap {
namespace {

constexpr size_t kAlignment = 16;

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

template <class Element>
const Element* device_pointer(uint64_t address) {
  return reinterpret_cast<const Element*>(static_cast<uintptr_t>(address));
}

uint32_t blocks(int size, uint32_t block) { return (static_cast<uint32_t>(size) + block - 1) / block; }

}  // namespace

CudaTables::CudaTables(ConvertPlan plan) : plan_(std::move(plan)) {
  for (size_t r = 0; r < 2; ++r) {
    vertical_[r] = place(plan_.vertical[r]);
    horizontal_[r] = place(plan_.horizontal[r]);
  }
  const std::vector<int32_t>* tables[] = {&plan_.tone.to_light, &plan_.tone.ootf, &plan_.tone.eetf,
                                          &plan_.tone.to_code};
  for (size_t i = 0; i < tone_.size(); ++i) {
    tone_[i] = append(tables[i]->data(), tables[i]->size() * sizeof(int32_t));
  }
}

size_t CudaTables::append(const void* data, size_t size) {
  const size_t offset = bytes_.size();
  bytes_.resize(offset + aligned(size));
  if (size > 0) {
    std::memcpy(bytes_.data() + offset, data, size);
  }
  return offset;
}

CudaTables::Placed CudaTables::place(const Filter& f) {
  return {append(f.start.data(), f.start.size() * sizeof(int32_t)),
          append(f.count.data(), f.count.size() * sizeof(int32_t)),
          append(f.weights.data(), f.weights.size() * sizeof(int16_t))};
}

CudaFilter CudaTables::filter_at(uint64_t tables, const Placed& placed, const Filter& filter) const {
  return {device_pointer<int32_t>(tables + placed.start), device_pointer<int32_t>(tables + placed.count),
          device_pointer<int16_t>(tables + placed.weights), filter.taps};
}

int CudaTables::samples_per_vector() const { return kCudaVectorBytes / plan_.format.element_bytes(); }

int CudaTables::first_vector(const PlanePlan& plane) const { return plane.first_element / samples_per_vector(); }

int CudaTables::vectors(const PlanePlan& plane) const {
  const int end = plane.first_element + plane.elements;
  return (end + samples_per_vector() - 1) / samples_per_vector() - first_vector(plane);
}

size_t CudaTables::plane_samples(const PlanePlan& plane) const {
  return static_cast<size_t>(vectors(plane) * samples_per_vector()) * static_cast<size_t>(plan_.rows);
}

size_t CudaTables::scratch_bytes(size_t pictures) const {
  size_t samples = 0;
  for (const PlanePlan& plane : plan_.planes) {
    samples += plane_samples(plane);
  }
  return pictures * samples * sizeof(int16_t);
}

CudaGrid CudaTables::vertical_grid(size_t pictures) const {
  int widest = 0;
  for (const PlanePlan& plane : plan_.planes) {
    widest = std::max(widest, vectors(plane));
  }
  return {blocks(widest, kBlockWidth), blocks(plan_.rows, kBlockHeight),
          static_cast<uint32_t>(plan_.planes.size() * pictures)};
}

CudaGrid CudaTables::horizontal_grid(size_t pictures) const {
  return {blocks(plan_.output.width, kBlockWidth), blocks(plan_.output.height, kBlockHeight),
          static_cast<uint32_t>(pictures)};
}

ToneMap CudaTables::tone_map(uint64_t tables) const {
  ToneMap map = plan_.tone.view();
  const int32_t** fields[] = {&map.to_light, &map.ootf, &map.eetf, &map.to_code};
  for (size_t i = 0; i < tone_.size(); ++i) {
    *fields[i] = *fields[i] == nullptr ? nullptr : device_pointer<int32_t>(tables + tone_[i]);
  }
  return map;
}

CudaOutput CudaTables::output() const {
  const OutputPlan& o = plan_.output;
  CudaOutput out{};
  out.width = o.width;
  out.height = o.height;
  out.channels = o.channels;
  out.window_x = o.window.x;
  out.window_y = o.window.y;
  out.window_width = o.window.width;
  out.window_height = o.window.height;
  out.transpose = o.transpose;
  out.flip_x = o.flip_x;
  out.flip_y = o.flip_y;
  out.step_x = o.channels_last ? o.channels : 1;
  out.step_y = out.step_x * o.width;
  out.step_channel = o.step_channel;
  out.type = static_cast<int32_t>(o.type);
  out.from_mix = plan_.from_mix;
  for (size_t c = 0; c < 3; ++c) {
    out.scale[c] = plan_.scale[c];
    out.bias[c] = plan_.bias[c];
    out.fill_scale[c] = plan_.fill_scale[c];
    out.fill[c] = plan_.fill[c];
  }
  return out;
}

void CudaTables::set_planes(CudaConvert& p, uint64_t tables) const {
  p.planes = static_cast<int32_t>(plan_.planes.size());
  for (size_t i = 0; i < plan_.planes.size(); ++i) {
    const PlanePlan& plane = plan_.planes[i];
    const auto r = static_cast<size_t>(plane.resolution);
    CudaPlane& to = p.plane[i];
    to.scratch = p.scratch_stride;
    to.first_row = plane.first_row;
    to.first_vector = first_vector(plane);
    to.vectors = vectors(plane);
    to.row_bytes = plane.row_elements * plan_.format.element_bytes();
    to.stride = to.vectors * samples_per_vector();
    to.vertical = filter_at(tables, vertical_[r], plan_.vertical[r]);
    p.scratch_stride += static_cast<int64_t>(plane_samples(plane));
  }
}

void CudaTables::set_components(CudaConvert& p, uint64_t tables) const {
  for (size_t c = 0; c < static_cast<size_t>(plan_.matrix.components); ++c) {
    const ComponentPlan& component = plan_.component[c];
    const auto r = static_cast<size_t>(component.resolution);
    // Resampled rows begin with a whole vector, so with elements that only alignment asks for.
    const int lead = plan_.planes[static_cast<size_t>(component.plane)].first_element % samples_per_vector();
    p.component[c] = {filter_at(tables, horizontal_[r], plan_.horizontal[r]), component.plane, component.step,
                      lead + component.offset};
  }
}

void CudaTables::set_pictures(CudaConvert& p, std::span<const CudaJob> jobs) const {
  check<ArgumentError>(!jobs.empty() && jobs.size() <= kMostPictures, "one launch takes 1 to ", kMostPictures,
                       " pictures, got ", jobs.size());
  p.wide = 1;
  for (size_t picture = 0; picture < jobs.size(); ++picture) {
    const std::span<const Plane> planes = jobs[picture].planes;
    for (size_t i = 0; i < plan_.planes.size(); ++i) {
      const auto index = static_cast<size_t>(plan_.planes[i].index);
      check<ArgumentError>(planes.size() > index, plan_.format.name, " needs plane ", index, ", got ", planes.size(),
                           " planes");
      const Plane& plane = planes[index];
      check<ArgumentError>(picture == 0 || plane.pitch == p.plane[i].pitch, "pictures of one launch have pitches ",
                           p.plane[i].pitch, " and ", plane.pitch);
      p.plane[i].pitch = plane.pitch;
      p.picture[picture].plane[i] = plane.data;
      p.wide &= reinterpret_cast<uintptr_t>(plane.data) % kCudaVectorBytes == 0 && plane.pitch % kCudaVectorBytes == 0;
    }
    p.picture[picture].out = reinterpret_cast<void*>(static_cast<uintptr_t>(jobs[picture].out));
  }
}

CudaConvert CudaTables::params(uint64_t tables, std::span<const CudaJob> jobs, uint64_t scratch) const {
  CudaConvert p{};
  p.rows = plan_.rows;
  p.depth = plan_.format.depth;
  p.shift = plan_.format.shift;
  p.matrix = plan_.matrix;
  p.tone = tone_map(tables);
  p.out = output();
  p.scratch = reinterpret_cast<int16_t*>(static_cast<uintptr_t>(scratch));
  set_planes(p, tables);
  set_components(p, tables);
  set_pictures(p, jobs);
  return p;
}

CudaConvert CudaTables::params(uint64_t tables, std::span<const Plane> planes, uint64_t scratch, uint64_t out) const {
  const CudaJob job{planes, out};
  return params(tables, {&job, 1}, scratch);
}

}  // namespace frametap
