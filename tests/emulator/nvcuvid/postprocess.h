// What cuvidMapVideoFrame does to a decoded picture: crop, scale, deinterlace, convert to the output format.
#pragma once

#include <cstddef>
#include <cstdint>

#include "abi.h"
#include "picture.h"

namespace emu {

struct Rect {
  int left = 0, top = 0, right = 0, bottom = 0;
  int width() const { return right - left; }
  int height() const { return bottom - top; }
};

// One allocation, one pitch, planes one below the other; luma has an even number of rows.
struct OutputLayout {
  int format = cudaVideoSurfaceFormat_NV12;
  int width = 0, height = 0;
  size_t pitch = 0;

  bool wide() const;  // 16 bits per sample
  bool planar_444() const;
  bool full_height_chroma() const;  // 4:2:2 or 4:4:4
  size_t luma_rows() const { return static_cast<size_t>(height + 1) / 2 * 2; }
  size_t size() const;
};

OutputLayout output_layout(int format, int width, int height);

enum class Field { both, top, bottom };

struct PostProcess {
  Rect source;  // of the picture, in luma samples
  Rect target;  // of the output
  OutputLayout layout;
  Field field = Field::both;
  bool garbled = false;  // the picture was damaged or lacked its references
};

void post_process(const Picture& picture, const PostProcess& job, uint8_t* output);

}  // namespace emu
