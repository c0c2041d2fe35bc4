// What the CUDA kernels are passed, by value: plain data, the same bytes for g++ and nvcc.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/color_matrix.h"
#include "kernels/tone_map.h"

namespace frametap {

constexpr int32_t kCudaVectorBytes = 16;  // the vertical pass reads and writes this much at a time
constexpr int32_t kCudaPictures = 32;     // of one launch

/// Filter in device memory: weights[o * taps + k] multiplies sample start[o] + k, for k < count[o].
struct CudaFilter {
  const int32_t* start;
  const int32_t* count;
  const int16_t* weights;
  int32_t taps;
  int32_t unused = 0;
};

/// One plane, for every picture of the launch. Columns are vectors of 16 bytes, counted from the start of the row.
struct CudaPlane {
  int64_t pitch;
  int64_t scratch;  // where in a picture's scratch its resampled rows begin, in samples
  int32_t first_row;
  int32_t first_vector, vectors;  // of a row, that any tap needs
  int32_t row_bytes;              // that the picture has: nothing is read past them
  int32_t stride;                 // samples from one resampled row to the next
  int32_t unused = 0;
  CudaFilter vertical;
};

struct CudaComponent {
  CudaFilter horizontal;
  int32_t plane, step;
  int32_t offset;  // of its first sample in a resampled row
  int32_t unused = 0;
};

// No padding: it would pass on what the stack held, and could look like an address.
static_assert(std::has_unique_object_representations_v<CudaPlane> &&
              std::has_unique_object_representations_v<CudaComponent>);

struct CudaOutput {
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

struct CudaPicture {
  const uint8_t* plane[3];  // first row of each
  void* out;
};

struct CudaConvert {
  int32_t planes, rows, depth, shift;  // rows of the window, source orientation
  int32_t wide;                        // every row of every picture starts at 16 bytes
  CudaPlane plane[3];
  CudaComponent component[3];
  ColorMatrix matrix;
  ToneMap tone;  // in device memory
  CudaOutput out;
  int16_t* scratch;
  int64_t scratch_stride;  // samples from one picture's scratch to the next
  CudaPicture picture[kCudaPictures];
};

static_assert(sizeof(CudaConvert) <= 4096, "kernel parameters are limited to 4 KiB");

}  // namespace frametap
