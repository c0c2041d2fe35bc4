// Everything about a conversion that does not depend on the picture's bytes or on the machine: weights, matrix, where
// things go.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/color.h"
#include "core/pixel_format.h"
#include "kernels/converter.h"
#include "kernels/filter.h"
#include "kernels/row_kernels.h"
#include "kernels/tone_tables.h"

namespace frametap {

/// One plane that is read: the elements of a row that any tap needs, and which vertical filter applies.
struct PlanePlan {
  int index = 0;          // among the planes the caller passes
  int first_element = 0;  // of a row
  int elements = 0;
  int first_row = 0;     // of the crop
  int resolution = 0;    // 0 luma, 1 chroma: index into ConvertPlan::vertical
  int row_elements = 0;  // that a row of the picture has, crop or not
};

/// One component: where it starts in the elements of its plane, and which horizontal filter applies.
struct ComponentPlan {
  int plane = 0;  // index into ConvertPlan::planes
  int step = 1;
  int offset = 0;
  int resolution = 0;
};

/// Where a pixel of the window goes: element origin + x * step_x + y * step_y + channel * step_channel of the slot.
struct OutputPlan {
  int channels = 3;
  int width = 0, height = 0;  // canvas
  bool channels_last = false;
  int64_t origin = 0, step_x = 0, step_y = 0, step_channel = 0;
  Rect window;  // in the canvas, oriented
  bool transpose = false, flip_x = false, flip_y = false;
  SampleType type = SampleType::kUint8;

  size_t element_bytes() const;
};

struct ConvertPlan {
  PixelFormat format;
  ColorMatrix matrix;         // rows in output channel order
  ToneTables tone;            // channels in the same order
  int columns = 0, rows = 0;  // the window, source orientation
  std::array<Filter, 2> vertical,
      horizontal;  // luma, chroma; horizontal starts are relative to the elements that are read
  std::vector<PlanePlan> planes;
  std::array<ComponentPlan, 3> component;  // the first matrix.components are used
  OutputPlan output;
  bool from_mix = false;  // float output of a deep source: normalise the unrounded value
  std::array<float, 3> scale{}, bias{};
  std::array<float, 3> fill_scale{};  // of the fill, which is a byte even where `scale` is that of the unrounded value
  std::array<uint8_t, 3> fill{};      // in output channel order
};

/// Checks every number; throws ArgumentError or UnsupportedError.
ConvertPlan make_plan(const ConvertParams& params);

}  // namespace frametap
