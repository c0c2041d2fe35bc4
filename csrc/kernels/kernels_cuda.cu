// The conversion on a GPU: two passes over pixel.h, every thread on its own, no barriers, no shared memory, no
// textures, so that the same source also runs on a CPU in tests.
//
//   frametap_vertical    grid covers (elements of the widest plane, rows, planes)   source -> Q6 rows
//   frametap_horizontal  grid covers (canvas width, canvas height, 1)               Q6 rows -> colour -> slot
#include "kernels/cuda_params.h"
#include "kernels/pixel.h"

namespace frametap {
namespace {

enum : int32_t { kUint8, kFloat16, kBfloat16, kFloat32 };  // SampleType

template <class Element>
__device__ int16_t vertical_sample(const CudaConvert& p, const CudaPlane& plane, int32_t element, int32_t row) {
  const CudaFilter& f = plane.vertical;
  const int16_t* weights = f.weights + static_cast<int64_t>(row) * f.taps;
  const uint8_t* source = plane.data + (plane.first_row + f.start[row]) * plane.pitch +
                          static_cast<int64_t>(plane.first_element + element) * static_cast<int64_t>(sizeof(Element));
  int32_t sum = 0;
  for (int32_t k = 0; k < f.count[row]; ++k, source += plane.pitch) {
    sum += weights[k] * sample_value(*reinterpret_cast<const Element*>(source), p.shift, p.depth);
  }
  return round_vertical(sum, p.depth);
}

__device__ int32_t horizontal_sample(const CudaConvert& p, const CudaComponent& component, int32_t x, int32_t y) {
  const CudaFilter& f = component.horizontal;
  const CudaPlane& plane = p.plane[component.plane];
  const int16_t* weights = f.weights + static_cast<int64_t>(x) * f.taps;
  const int16_t* source = plane.resampled + static_cast<int64_t>(y) * plane.elements + component.offset +
                          static_cast<int64_t>(f.start[x]) * component.step;
  int32_t sum = 0;
  for (int32_t k = 0; k < f.count[x]; ++k, source += component.step) {
    sum += weights[k] * *source;
  }
  return round_horizontal(sum);
}

__device__ void store_float(const CudaOutput& out, int64_t element, float value) {
  if (out.type == kFloat32) {
    static_cast<float*>(out.data)[element] = value;
  } else {
    static_cast<uint16_t*>(out.data)[element] = out.type == kFloat16 ? float_to_half(value) : float_to_bfloat16(value);
  }
}

__device__ void store_padding(const CudaOutput& out, int64_t element, int32_t channel) {
  if (out.type == kUint8) {
    static_cast<uint8_t*>(out.data)[element] = out.fill[channel];
  } else {
    store_float(out, element, normalize(out.fill[channel], out.fill_scale[channel], out.bias[channel]));
  }
}

__device__ void store_mixed(const CudaOutput& out, int64_t element, int32_t channel, int32_t mixed) {
  if (out.type == kUint8) {
    static_cast<uint8_t*>(out.data)[element] = mix_to_u8(mixed);
  } else {
    const int32_t value = out.from_mix ? saturate_mix(mixed) : mix_to_u8(mixed);
    store_float(out, element, normalize(value, out.scale[channel], out.bias[channel]));
  }
}

__device__ void swap(int32_t& a, int32_t& b) {
  const int32_t t = a;
  a = b;
  b = t;
}

}  // namespace

extern "C" __global__ void frametap_vertical(const CudaConvert p) {
  const CudaPlane& plane = p.plane[blockIdx.z];
  const auto element = static_cast<int32_t>(blockIdx.x * blockDim.x + threadIdx.x);
  const auto row = static_cast<int32_t>(blockIdx.y * blockDim.y + threadIdx.y);
  if (element >= plane.elements || row >= p.rows) {
    return;
  }
  plane.resampled[static_cast<int64_t>(row) * plane.elements + element] =
      p.depth == 8 ? vertical_sample<uint8_t>(p, plane, element, row)
                   : vertical_sample<uint16_t>(p, plane, element, row);
}

extern "C" __global__ void frametap_horizontal(const CudaConvert p) {
  const CudaOutput& out = p.out;
  const auto canvas_x = static_cast<int32_t>(blockIdx.x * blockDim.x + threadIdx.x);
  const auto canvas_y = static_cast<int32_t>(blockIdx.y * blockDim.y + threadIdx.y);
  if (canvas_x >= out.width || canvas_y >= out.height) {
    return;
  }
  const int64_t element = canvas_x * out.step_x + canvas_y * out.step_y;
  int32_t x = canvas_x - out.window_x, y = canvas_y - out.window_y;
  if (x < 0 || y < 0 || x >= out.window_width || y >= out.window_height) {
    for (int32_t channel = 0; channel < out.channels; ++channel) {
      store_padding(out, element + channel * out.step_channel, channel);
    }
    return;
  }
  // Display orientation back to that of the picture: undo the flips, then the transposition.
  x = out.flip_x ? out.window_width - 1 - x : x;
  y = out.flip_y ? out.window_height - 1 - y : y;
  if (out.transpose) {
    swap(x, y);
  }
  int32_t value[3] = {0, 0, 0};
  for (int32_t c = 0; c < p.matrix.components; ++c) {
    value[c] = horizontal_sample(p, p.component[c], x, y);
  }
  for (int32_t channel = 0; channel < out.channels; ++channel) {
    store_mixed(out, element + channel * out.step_channel, channel,
                mix(p.matrix, channel, value[0], value[1], value[2]));
  }
}

}  // namespace frametap
