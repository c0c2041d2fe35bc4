// The conversion on a GPU: two passes over pixel.h, every thread on its own, no barriers, no shared memory, no
// textures, so that the same source also runs on a CPU in tests.
//
//   frametap_vertical    grid covers (vectors of the widest plane, rows, planes x pictures)   source -> Q6 rows
//   frametap_horizontal  grid covers (canvas width, canvas height, pictures)                  Q6 rows -> colour -> slot
#include "kernels/cuda_params.h"
#include "kernels/pixel.h"

// 256 threads in at most 64 registers each: half of what an SM can hold, or more.
#define FRAMETAP_KERNEL extern "C" __global__ void __launch_bounds__(256, 4)

namespace frametap {
namespace {

enum : int32_t { kUint8, kFloat16, kBfloat16, kFloat32 };  // SampleType

// What a vector of 16 bytes holds. The depth is only told apart where sample_value does.
struct Bytes {
  static constexpr int32_t kSamples = 16;
  static __device__ int32_t value(uint32_t word, int32_t i, int32_t) {
    return sample_value(static_cast<uint8_t>(word >> 8 * (i % 4)), 0, 8);
  }
};
template <int32_t kDepth>
struct Words {
  static constexpr int32_t kSamples = 8;
  static __device__ int32_t value(uint32_t word, int32_t i, int32_t shift) {
    return sample_value(static_cast<uint16_t>(word >> 16 * (i % 2)), shift, kDepth);
  }
};

// The first `bytes` of a vector, 0 after them, from any address.
__device__ uint4 load_bytes(const uint8_t* from, int32_t bytes) {
  uint32_t word[4] = {0, 0, 0, 0};
#pragma unroll
  for (int32_t i = 0; i < kCudaVectorBytes; ++i) {
    word[i / 4] |= i < bytes ? static_cast<uint32_t>(from[i]) << 8 * (i % 4) : 0;
  }
  return {word[0], word[1], word[2], word[3]};
}

template <class Samples>
__device__ void accumulate(int32_t (&sum)[Samples::kSamples], const uint4& vector, int32_t weight, int32_t shift) {
  const uint32_t word[4] = {vector.x, vector.y, vector.z, vector.w};
#pragma unroll
  for (int32_t i = 0; i < Samples::kSamples; ++i) {
    sum[i] += weight * Samples::value(word[i * 4 / Samples::kSamples], i, shift);
  }
}

template <class Samples>
__device__ void store_sums(const int32_t (&sum)[Samples::kSamples], int32_t depth, int16_t* to) {
  uint32_t pair[Samples::kSamples / 2];
#pragma unroll
  for (int32_t i = 0; i < Samples::kSamples / 2; ++i) {
    pair[i] = static_cast<uint16_t>(round_vertical(sum[2 * i], depth)) |
              static_cast<uint32_t>(static_cast<uint16_t>(round_vertical(sum[2 * i + 1], depth))) << 16;
  }
#pragma unroll
  for (int32_t i = 0; i < Samples::kSamples / 2; i += 4) {
    *reinterpret_cast<uint4*>(to + 2 * i) = {pair[i], pair[i + 1], pair[i + 2], pair[i + 3]};
  }
}

// One vector of one output row. `whole`: all 16 bytes belong to the picture, at an aligned address.
template <class Samples>
__device__ void vertical_vector(const CudaConvert& p, const CudaPlane& plane, const uint8_t* picture, int32_t vector,
                                int32_t row, int16_t* to) {
  const CudaFilter& f = plane.vertical;
  const int16_t* weights = f.weights + static_cast<int64_t>(row) * f.taps;
  const int32_t at = (plane.first_vector + vector) * kCudaVectorBytes, count = f.count[row];
  const uint8_t* source = picture + (plane.first_row + f.start[row]) * plane.pitch + at;
  int32_t sum[Samples::kSamples] = {};
  if (p.wide && at + kCudaVectorBytes <= plane.row_bytes) {
#pragma unroll 4
    for (int32_t k = 0; k < count; ++k, source += plane.pitch) {
      accumulate<Samples>(sum, *reinterpret_cast<const uint4*>(source), weights[k], p.shift);
    }
  } else {
#pragma unroll 1
    for (int32_t k = 0; k < count; ++k, source += plane.pitch) {
      accumulate<Samples>(sum, load_bytes(source, plane.row_bytes - at), weights[k], p.shift);
    }
  }
  store_sums<Samples>(sum, p.depth, to + vector * Samples::kSamples);
}

__device__ int32_t horizontal_sample(const CudaConvert& p, const CudaComponent& component, const int16_t* scratch,
                                     int32_t x, int32_t y) {
  const CudaFilter& f = component.horizontal;
  const CudaPlane& plane = p.plane[component.plane];
  const int16_t* weights = f.weights + static_cast<int64_t>(x) * f.taps;
  const int16_t* source = scratch + plane.scratch + static_cast<int64_t>(y) * plane.stride + component.offset +
                          static_cast<int64_t>(f.start[x]) * component.step;
  const int32_t count = f.count[x];
  int32_t sum = 0;
#pragma unroll 4
  for (int32_t k = 0; k < count; ++k, source += component.step) {
    sum += weights[k] * *source;
  }
  return round_horizontal(sum);
}

// One channel is gray: three equal ones.
__device__ Rgb mix_channels(const ColorMatrix& m, int32_t a, int32_t b, int32_t c) {
  const int32_t first = mix(m, 0, a, b, c);
  return m.outputs == 3 ? Rgb{first, mix(m, 1, a, b, c), mix(m, 2, a, b, c)} : Rgb{first, first, first};
}

__device__ void store_float(const CudaOutput& out, void* data, int64_t element, float value) {
  if (out.type == kFloat32) {
    static_cast<float*>(data)[element] = value;
  } else {
    static_cast<uint16_t*>(data)[element] = out.type == kFloat16 ? float_to_half(value) : float_to_bfloat16(value);
  }
}

__device__ void store_padding(const CudaOutput& out, void* data, int64_t element, int32_t channel) {
  if (out.type == kUint8) {
    static_cast<uint8_t*>(data)[element] = out.fill[channel];
  } else {
    store_float(out, data, element, normalize(out.fill[channel], out.fill_scale[channel], out.bias[channel]));
  }
}

__device__ void store_mixed(const CudaOutput& out, void* data, int64_t element, int32_t channel, int32_t mixed) {
  if (out.type == kUint8) {
    static_cast<uint8_t*>(data)[element] = mix_to_u8(mixed);
  } else {
    const int32_t value = out.from_mix ? saturate_mix(mixed) : mix_to_u8(mixed);
    store_float(out, data, element, normalize(value, out.scale[channel], out.bias[channel]));
  }
}

}  // namespace

FRAMETAP_KERNEL frametap_vertical(const CudaConvert p) {
  const auto vector = static_cast<int32_t>(blockIdx.x * blockDim.x + threadIdx.x);
  const auto row = static_cast<int32_t>(blockIdx.y * blockDim.y + threadIdx.y);
  const auto planes = static_cast<uint32_t>(p.planes);
  const uint32_t picture = blockIdx.z / planes, index = blockIdx.z % planes;
  const CudaPlane& plane = p.plane[index];
  if (vector >= plane.vectors || row >= p.rows) {
    return;
  }
  const uint8_t* source = p.picture[picture].plane[index];
  int16_t* to = p.scratch + picture * p.scratch_stride + plane.scratch + static_cast<int64_t>(row) * plane.stride;
  if (p.depth == 8) {
    vertical_vector<Bytes>(p, plane, source, vector, row, to);
  } else if (p.depth < 16) {
    vertical_vector<Words<15>>(p, plane, source, vector, row, to);
  } else {
    vertical_vector<Words<16>>(p, plane, source, vector, row, to);
  }
}

FRAMETAP_KERNEL frametap_horizontal(const CudaConvert p) {
  const CudaOutput& out = p.out;
  const auto canvas_x = static_cast<int32_t>(blockIdx.x * blockDim.x + threadIdx.x);
  const auto canvas_y = static_cast<int32_t>(blockIdx.y * blockDim.y + threadIdx.y);
  if (canvas_x >= out.width || canvas_y >= out.height) {
    return;
  }
  void* data = p.picture[blockIdx.z].out;
  const int64_t element = canvas_x * out.step_x + canvas_y * out.step_y;
  int32_t x = canvas_x - out.window_x, y = canvas_y - out.window_y;
  if (x < 0 || y < 0 || x >= out.window_width || y >= out.window_height) {
    for (int32_t channel = 0; channel < out.channels; ++channel) {
      store_padding(out, data, element + channel * out.step_channel, channel);
    }
    return;
  }
  // Display orientation back to that of the picture: undo the flips, then the transposition.
  x = out.flip_x ? out.window_width - 1 - x : x;
  y = out.flip_y ? out.window_height - 1 - y : y;
  const int32_t column = out.transpose ? y : x, row = out.transpose ? x : y;
  const int16_t* scratch = p.scratch + blockIdx.z * p.scratch_stride;
  const bool three = p.matrix.components == 3;
  const int32_t a = horizontal_sample(p, p.component[0], scratch, column, row);
  const int32_t b = three ? horizontal_sample(p, p.component[1], scratch, column, row) : 0;
  const int32_t c = three ? horizontal_sample(p, p.component[2], scratch, column, row) : 0;
  Rgb mixed = mix_channels(p.matrix, a, b, c);
  if (p.tone.to_light != nullptr) {
    mixed = tone_map(p.tone, mixed);
  }
  store_mixed(out, data, element, 0, mixed.a);
  if (out.channels == 3) {
    store_mixed(out, data, element + out.step_channel, 1, mixed.b);
    store_mixed(out, data, element + 2 * out.step_channel, 2, mixed.c);
  }
}

}  // namespace frametap
