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

size_t CudaTables::plane_elements(size_t plane) const {
  return static_cast<size_t>(plan_.planes[plane].elements) * static_cast<size_t>(plan_.rows);
}

size_t CudaTables::scratch_bytes() const {
  size_t total = 0;
  for (size_t i = 0; i < plan_.planes.size(); ++i) {
    total += aligned(plane_elements(i) * sizeof(int16_t));
  }
  return total;
}

CudaGrid CudaTables::vertical_grid() const {
  int widest = 0;
  for (const PlanePlan& plane : plan_.planes) {
    widest = std::max(widest, plane.elements);
  }
  return {blocks(widest, kBlockWidth), blocks(plan_.rows, kBlockHeight), static_cast<uint32_t>(plan_.planes.size())};
}

CudaGrid CudaTables::horizontal_grid() const {
  return {blocks(plan_.output.width, kBlockWidth), blocks(plan_.output.height, kBlockHeight), 1};
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

CudaConvert CudaTables::params(uint64_t tables, std::span<const Plane> planes, uint64_t scratch, uint64_t out) const {
  CudaConvert p{};
  p.planes = static_cast<int32_t>(plan_.planes.size());
  p.rows = plan_.rows;
  p.columns = plan_.columns;
  p.depth = plan_.format.depth;
  p.shift = plan_.format.shift;
  p.matrix = plan_.matrix;
  p.out = output();
  p.out.data = reinterpret_cast<void*>(static_cast<uintptr_t>(out));
  for (size_t i = 0; i < plan_.planes.size(); ++i) {
    const PlanePlan& plane = plan_.planes[i];
    check<ArgumentError>(planes.size() > static_cast<size_t>(plane.index), plan_.format.name, " needs plane ",
                         plane.index, ", got ", planes.size(), " planes");
    const Plane& source = planes[static_cast<size_t>(plane.index)];
    const auto r = static_cast<size_t>(plane.resolution);
    p.plane[i] = {source.data,
                  source.pitch,
                  plane.first_row,
                  plane.first_element,
                  plane.elements,
                  filter_at(tables, vertical_[r], plan_.vertical[r]),
                  reinterpret_cast<int16_t*>(static_cast<uintptr_t>(scratch))};
    scratch += aligned(plane_elements(i) * sizeof(int16_t));
  }
  for (size_t c = 0; c < static_cast<size_t>(plan_.matrix.components); ++c) {
    const ComponentPlan& component = plan_.component[c];
    const auto r = static_cast<size_t>(component.resolution);
    p.component[c] = {component.plane, component.step, component.offset,
                      filter_at(tables, horizontal_[r], plan_.horizontal[r])};
  }
  return p;
}

}  // namespace frametap
