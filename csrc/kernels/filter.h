// Resampling weights of one axis: Pillow's rules in double, then Q14 integers.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace frametap {

enum class FilterKind : uint8_t { kNearest, kBilinear, kBicubic, kLanczos, kArea };

/// Throws ArgumentError for an unknown name.
FilterKind filter_kind(std::string_view name);

/// Where the outputs of one axis lie among `samples` source samples: output o has its centre at origin + (o + 0.5) *
/// scale, in samples, sample j having its own at j + 0.5.
struct Axis {
  int samples = 0;
  double scale = 1.0;
  double origin = 0.0;
  int first_output = 0;
  int outputs = 0;
};

/// Weights of every output: weights[o * taps + k] multiplies sample start[o] + k, for k < count[o].
/// Rows sum to 16384; weights past count[o] are zero, but their samples may not exist.
struct Filter {
  int taps = 0;
  std::vector<int32_t> start;
  std::vector<int32_t> count;
  std::vector<int16_t> weights;

  int outputs() const { return static_cast<int>(start.size()); }
  /// True when output o is exactly sample start[0] + o.
  bool is_identity() const;
  /// First sample any output needs, and one past the last.
  int first_sample() const;
  int end_sample() const;
};

Filter build_filter(FilterKind kind, bool antialias, const Axis& axis);

}  // namespace frametap
