#include "kernels/filter.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "core/error.h"

namespace frametap {
namespace {

constexpr int kOne = 1 << 14;

double sinc(double x) {
  const double t = x * std::numbers::pi;
  return x == 0.0 ? 1.0 : std::sin(t) / t;
}

double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) {
    return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  }
  return x < 2.0 ? (((x - 5.0) * x + 8.0) * x - 4.0) * a : 0.0;
}

double kernel(FilterKind kind, double x) {
  switch (kind) {
    case FilterKind::kBilinear:
      return std::max(0.0, 1.0 - std::abs(x));
    case FilterKind::kBicubic:
      return bicubic(x);
    case FilterKind::kLanczos:
      return std::abs(x) < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0;
    case FilterKind::kArea:
      return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
    case FilterKind::kNearest:
      break;
  }
  return 0.0;
}

double support_of(FilterKind kind) {
  switch (kind) {
    case FilterKind::kBilinear:
      return 1.0;
    case FilterKind::kBicubic:
      return 2.0;
    case FilterKind::kLanczos:
      return 3.0;
    default:
      return 0.5;
  }
}

struct Row {
  int start = 0;
  std::vector<int16_t> weights;
};

Row single_sample(double centre, int samples) {
  const double nearest = std::clamp(std::floor(centre), 0.0, static_cast<double>(samples - 1));
  return {static_cast<int>(nearest), {static_cast<int16_t>(kOne)}};
}

/// Rounds to Q14 and spreads what the sum then misses evenly over the row: for short rows that is the middle weight,
/// and long rows, whose weights are a few units each, keep their shape. Zero weights at the ends are dropped.
Row quantize(int start, const std::vector<double>& weights, double sum) {
  std::vector<int> rounded;
  for (const double w : weights) {
    rounded.push_back(static_cast<int>(std::lround(w / sum * kOne)));
  }
  const int missing = kOne - std::accumulate(rounded.begin(), rounded.end(), 0);
  const auto taps = static_cast<int64_t>(rounded.size());
  const int64_t units = std::abs(missing);
  for (int64_t i = 0; i < units; ++i) {
    rounded[static_cast<size_t>((2 * i + 1) * taps / (2 * units))] += missing > 0 ? 1 : -1;
  }
  const int largest = *std::max_element(rounded.begin(), rounded.end());
  check<ArgumentError>(largest <= INT16_MAX, "resampling weight ", largest, " does not fit 16 bits");
  const auto nonzero = [](int w) { return w != 0; };
  const auto begin = std::find_if(rounded.begin(), rounded.end(), nonzero);
  const auto end = std::find_if(rounded.rbegin(), rounded.rend(), nonzero).base();
  Row row{start + static_cast<int>(begin - rounded.begin()), {}};
  std::transform(begin, end, std::back_inserter(row.weights), [](int w) { return static_cast<int16_t>(w); });
  return row;
}

Row build_row(FilterKind kind, bool antialias, const Axis& axis, int output) {
  const double centre = axis.origin + (output + 0.5) * axis.scale;
  if (kind == FilterKind::kNearest) {
    return single_sample(centre, axis.samples);
  }
  const double filter_scale = antialias ? std::max(1.0, axis.scale) : 1.0;
  const double support = support_of(kind) * filter_scale;
  const int first = std::max(0, static_cast<int>(centre - support + 0.5));
  const int end = std::min(axis.samples, static_cast<int>(centre + support + 0.5));
  std::vector<double> weights;
  for (int j = first; j < end; ++j) {
    weights.push_back(kernel(kind, (j - centre + 0.5) / filter_scale));
  }
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  // A chroma siting shift can put a centre outside the plane, where a short kernel reaches no sample.
  return sum > 0.0 ? quantize(first, weights, sum) : single_sample(centre, axis.samples);
}

}  // namespace

FilterKind filter_kind(std::string_view name) {
  if (name == "nearest") return FilterKind::kNearest;
  if (name == "bilinear") return FilterKind::kBilinear;
  if (name == "bicubic") return FilterKind::kBicubic;
  if (name == "lanczos") return FilterKind::kLanczos;
  if (name == "area") return FilterKind::kArea;
  fail<ArgumentError>("filter \"", name, "\" is not one of nearest, bilinear, bicubic, lanczos, area");
}

bool Filter::is_identity() const {
  for (int o = 0; o < outputs(); ++o) {
    const auto row = static_cast<size_t>(o);
    if (count[row] != 1 || start[row] != start[0] + o) {
      return false;
    }
  }
  return true;
}

int Filter::first_sample() const { return *std::min_element(start.begin(), start.end()); }

int Filter::end_sample() const {
  int end = 0;
  for (size_t o = 0; o < start.size(); ++o) {
    end = std::max(end, start[o] + count[o]);
  }
  return end;
}

Filter build_filter(FilterKind kind, bool antialias, const Axis& axis) {
  std::vector<Row> rows;
  size_t taps = 0;
  for (int o = 0; o < axis.outputs; ++o) {
    rows.push_back(build_row(kind, antialias, axis, axis.first_output + o));
    taps = std::max(taps, rows.back().weights.size());
  }
  Filter filter;
  filter.taps = static_cast<int>(taps);
  filter.weights.assign(rows.size() * taps, 0);
  for (size_t o = 0; o < rows.size(); ++o) {
    filter.start.push_back(rows[o].start);
    filter.count.push_back(static_cast<int32_t>(rows[o].weights.size()));
    std::copy(rows[o].weights.begin(), rows[o].weights.end(),
              filter.weights.begin() + static_cast<ptrdiff_t>(o * taps));
  }
  return filter;
}

}  // namespace frametap
