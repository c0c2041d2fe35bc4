// What the CUDA kernels are passed, by value: plain data, the same bytes for g++ and nvcc.
#pragma once

#include <cstdint>

#include "core/color_matrix.h"

namespace frametap {

/// Filter in device memory: weights[o * taps + k] multiplies sample start[o] + k, for k < count[o].
struct CudaFilter {
  const int32_t* start;
  const int32_t* count;
  const int16_t* weights;
  int32_t taps;
};

struct CudaPlane {
  const uint8_t* data;  // first row of the plane
  int64_t pitch;
  int32_t first_row, first_element, elements;
  CudaFilter vertical;
  int16_t* resampled;  // rows * elements, written by the first kernel
};

struct CudaComponent {
  int32_t plane, step, offset;
  CudaFilter horizontal;
};

struct CudaOutput {
  void* data;
  int32_t width, height, channels;                          // canvas
  int32_t window_x, window_y, window_width, window_height;  // in the canvas, oriented
  int32_t transpose, flip_x, flip_y;
  int64_t step_x, step_y, step_channel;  // in elements, canvas orientation
  int32_t type;                          // SampleType
  int32_t from_mix;
  float scale[3], bias[3];
  float fill_scale[3];  // fill is a byte also where `scale` is that of Q19
  uint8_t fill[4];
};

struct CudaConvert {
  int32_t planes, rows, columns, depth, shift;  // rows and columns of the window, source orientation
  CudaPlane plane[3];
  CudaComponent component[3];
  ColorMatrix matrix;
  CudaOutput out;
};

static_assert(sizeof(CudaConvert) <= 4096, "kernel parameters are limited to 4 KiB");

}  // namespace frametap
