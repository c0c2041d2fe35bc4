// One decoded picture to one slot of a batch: crop, resample, colour, normalise, store, without a full-size RGB frame.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/plane.h"

namespace frametap {

struct Rect {
  int x = 0, y = 0, width = 0, height = 0;
};

/// What the picture is and what the slot must hold. Crop, grid and window are in source orientation, the canvas in
/// display orientation. See python/frametap/transform.py, which works these numbers out.
struct ConvertParams {
  std::string pixel_format;
  int width = 0, height = 0;
  std::string matrix;
  bool full_range = false;
  std::string chroma_location = "left";
  Rect crop;                            // luma samples; taps never read outside it
  int grid_width = 0, grid_height = 0;  // what the crop is resampled to
  Rect window;                          // the part of the grid that is kept
  std::string filter;
  bool antialias = true;
  bool transpose = false, flip_x = false, flip_y = false;
  int canvas_width = 0, canvas_height = 0;
  int offset_x = 0, offset_y = 0;  // of the oriented window in the canvas
  std::array<int, 3> fill{};       // RGB of the rest of the canvas
  std::string color, layout, dtype;
  std::array<double, 3> mean{}, std{};  // of R, G, B (gray: the first)
  std::string tone_map = "none";        // or pq, hlg: what the picture is, to become SDR
  std::string primaries = "bt2020";     // of the picture; only tone mapping reads them
};

/// Thread-safe: convert() may run on any number of threads at once; each call borrows its own scratch rows.
class Converter {
 public:
  /// Throws UnsupportedError for a pixel format or matrix it does not know, ArgumentError for numbers that make no
  /// sense.
  explicit Converter(const ConvertParams& params);
  ~Converter();
  Converter(Converter&&) noexcept;
  Converter& operator=(Converter&&) noexcept;

  /// Reads only the samples the taps need; writes every element of the slot (C-contiguous, shape out_shape()).
  /// A large slot is split by rows over up to `threads` threads, the caller's own among them.
  void convert(std::span<const Plane> planes, void* out, int threads = 1) const;

  /// (C, H, W), or (H, W, C) for NHWC.
  std::array<int, 3> out_shape() const;
  /// How many planes convert() expects at least.
  int plane_count() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace frametap
