#include "kernels/plan.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include "core/error.h"

namespace frametap {
namespace {

constexpr int kLargestSide = 1 << 16;

void check_rect(const Rect& r, int width, int height, const char* what, const char* where) {
  check<ArgumentError>(
      r.width > 0 && r.height > 0 && r.x >= 0 && r.y >= 0 && r.x <= width - r.width && r.y <= height - r.height, what,
      " (", r.x, ", ", r.y, ", ", r.width, ", ", r.height, ") does not lie inside the ", where, " of ", width, "x",
      height);
}

void check_side(int value, const char* what) {
  check<ArgumentError>(value > 0 && value <= kLargestSide, what, " is ", value, "; it must be 1 to ", kLargestSide);
}

template <class Value>
Value lookup(std::string_view name, const char* what, std::initializer_list<std::pair<std::string_view, Value>> names) {
  for (const auto& [key, value] : names) {
    if (key == name) {
      return value;
    }
  }
  fail<ArgumentError>(what, " \"", name, "\" is not known");
}

/// How far, in its own samples, a plane of this ratio is shifted on an axis with this siting.
double siting_shift(int ratio, double siting) { return siting * (ratio - 1) / (2.0 * ratio); }

struct Siting {
  double horizontal, vertical;  // 1 co-sited with the first luma sample, 0 centred, -1 with the last
};

Siting siting_of(std::string_view location) {
  return lookup<Siting>(location, "chroma location",
                        {{"left", {1, 0}},
                         {"center", {0, 0}},
                         {"topleft", {1, 1}},
                         {"top", {0, 1}},
                         {"bottomleft", {1, -1}},
                         {"bottom", {0, -1}}});
}

struct AxisWish {
  int crop_start, crop_size, grid, window_start, window_size;
};

struct PlacedFilter {
  Filter filter;
  int first;  // first sample of the crop in the plane
};

/// The samples of one plane axis that cover the crop, and the weights from them to the window of the grid.
PlacedFilter place_filter(const ConvertParams& params, const AxisWish& wish, int log2_ratio, double siting) {
  const int ratio = 1 << log2_ratio;
  const int first = wish.crop_start >> log2_ratio;
  const int end = (wish.crop_start + wish.crop_size + ratio - 1) >> log2_ratio;
  Axis axis;
  axis.samples = end - first;
  axis.scale = static_cast<double>(wish.crop_size) / wish.grid / ratio;
  axis.origin = static_cast<double>(wish.crop_start) / ratio - first + siting_shift(ratio, siting);
  axis.first_output = wish.window_start;
  axis.outputs = wish.window_size;
  return {build_filter(filter_kind(params.filter), params.antialias, axis), first};
}

void check_params(const ConvertParams& p) {
  check_side(p.width, "width");
  check_side(p.height, "height");
  check_side(p.grid_width, "grid width");
  check_side(p.grid_height, "grid height");
  check_side(p.canvas_width, "canvas width");
  check_side(p.canvas_height, "canvas height");
  check_rect(p.crop, p.width, p.height, "crop", "picture");
  check_rect(p.window, p.grid_width, p.grid_height, "window", "grid");
  for (const int value : p.fill) {
    check<ArgumentError>(value >= 0 && value <= 255, "fill ", value, " is not a byte");
  }
}

OutputPlan plan_output(const ConvertParams& p) {
  OutputPlan out;
  out.channels = lookup<int>(p.color, "color", {{"rgb", 3}, {"bgr", 3}, {"gray", 1}});
  out.channels_last = lookup<bool>(p.layout, "layout", {{"NCHW", false}, {"NHWC", true}});
  out.type = lookup<SampleType>(p.dtype, "dtype",
                                {{"uint8", SampleType::kUint8},
                                 {"float16", SampleType::kFloat16},
                                 {"bfloat16", SampleType::kBfloat16},
                                 {"float32", SampleType::kFloat32}});
  out.width = p.canvas_width;
  out.height = p.canvas_height;
  out.transpose = p.transpose;
  out.flip_x = p.flip_x;
  out.flip_y = p.flip_y;
  out.window = {p.offset_x, p.offset_y, p.window.width, p.window.height};
  if (p.transpose) {
    std::swap(out.window.width, out.window.height);
  }
  check_rect(out.window, p.canvas_width, p.canvas_height, "window at offset", "canvas");
  const int64_t pixel = out.channels_last ? out.channels : 1;
  const int64_t line = pixel * out.width;
  out.step_channel = out.channels_last ? 1 : line * out.height;
  const int64_t left = p.flip_x ? out.window.x + out.window.width - 1 : out.window.x;
  const int64_t top = p.flip_y ? out.window.y + out.window.height - 1 : out.window.y;
  out.origin = left * pixel + top * line;
  out.step_x = p.flip_x ? -pixel : pixel;
  out.step_y = p.flip_y ? -line : line;
  if (p.transpose) {
    std::swap(out.step_x, out.step_y);
  }
  return out;
}

void plan_filters(ConvertPlan& plan, const ConvertParams& p) {
  const AxisWish across{p.crop.x, p.crop.width, p.grid_width, p.window.x, p.window.width};
  const AxisWish down{p.crop.y, p.crop.height, p.grid_height, p.window.y, p.window.height};
  const Siting siting = siting_of(p.chroma_location);
  const bool has_chroma = plan.matrix.components == 3;
  std::array<int, 2> first_column{}, first_row{};
  for (size_t r = 0; r < (has_chroma ? 2u : 1u); ++r) {
    PlacedFilter columns = place_filter(p, across, r == 0 ? 0 : plan.format.log2_chroma_width, siting.horizontal);
    PlacedFilter rows = place_filter(p, down, r == 0 ? 0 : plan.format.log2_chroma_height, siting.vertical);
    first_column[r] = columns.first;
    first_row[r] = rows.first;
    plan.horizontal[r] = std::move(columns.filter);
    plan.vertical[r] = std::move(rows.filter);
  }
  for (size_t c = 0; c < static_cast<size_t>(plan.matrix.components); ++c) {
    const Component& component = plan.format.component[c];
    const size_t r = plan.format.family == PixelFamily::kYuv && c > 0 ? 1 : 0;
    const int first = first_column[r] + plan.horizontal[r].first_sample();
    const int last = first_column[r] + plan.horizontal[r].end_sample() - 1;
    const int begin = first * component.step + component.offset;
    const int end = last * component.step + component.offset + 1;
    auto plane = std::find_if(plan.planes.begin(), plan.planes.end(),
                              [&](const PlanePlan& known) { return known.index == component.plane; });
    if (plane == plan.planes.end()) {
      plane = plan.planes.insert(plane, {component.plane, begin, end - begin, first_row[r], static_cast<int>(r)});
    } else {
      const int plane_end = std::max(end, plane->first_element + plane->elements);
      plane->first_element = std::min(begin, plane->first_element);
      plane->elements = plane_end - plane->first_element;
    }
    const int samples = r == 0 ? p.width : -(-p.width >> plan.format.log2_chroma_width);
    plane->row_elements = std::max(plane->row_elements, samples * component.step);
    plan.component[c] = {static_cast<int>(plane - plan.planes.begin()), component.step, begin, static_cast<int>(r)};
  }
  for (size_t c = 0; c < static_cast<size_t>(plan.matrix.components); ++c) {
    ComponentPlan& component = plan.component[c];
    component.offset -= plan.planes[static_cast<size_t>(component.plane)].first_element;
  }
  for (size_t r = 0; r < (has_chroma ? 2u : 1u); ++r) {
    const int first = plan.horizontal[r].first_sample();
    for (int32_t& start : plan.horizontal[r].start) {
      start -= first;
    }
  }
}

void plan_numbers(ConvertPlan& plan, const ConvertParams& p) {
  const bool bgr = p.color == "bgr";
  if (bgr) {
    std::swap(plan.matrix.weight[0], plan.matrix.weight[2]);
    std::swap(plan.matrix.bias[0], plan.matrix.bias[2]);
  }
  const bool is_float = plan.output.type != SampleType::kUint8;
  plan.from_mix = is_float && plan.format.depth > 8;
  const double one = plan.from_mix ? std::ldexp(255.0, kMatrixBits + 6) : 255.0;
  for (size_t i = 0; i < static_cast<size_t>(plan.output.channels); ++i) {
    const size_t rgb = bgr ? 2 - i : i;
    plan.scale[i] = static_cast<float>(1.0 / (one * p.std[rgb]));
    plan.fill_scale[i] = static_cast<float>(1.0 / (255.0 * p.std[rgb]));
    plan.bias[i] = static_cast<float>(-p.mean[rgb] / p.std[rgb]);
    check<ArgumentError>(!is_float || (std::isfinite(plan.scale[i]) && std::isfinite(plan.bias[i])), "mean ",
                         p.mean[rgb], " and std ", p.std[rgb], " do not normalise: both must be finite, std not 0");
    plan.fill[i] =
        plan.output.channels == 1 ? luma_of_rgb(p.fill[0], p.fill[1], p.fill[2]) : static_cast<uint8_t>(p.fill[rgb]);
  }
}

}  // namespace

size_t OutputPlan::element_bytes() const {
  return type == SampleType::kUint8 ? 1 : (type == SampleType::kFloat32 ? 4 : 2);
}

ConvertPlan make_plan(const ConvertParams& params) {
  ConvertPlan plan;
  plan.format = find_pixel_format(params.pixel_format);
  check_params(params);
  plan.output = plan_output(params);
  plan.matrix = derive_color_matrix(plan.format, params.matrix, params.full_range, plan.output.channels == 1);
  plan.columns = params.window.width;
  plan.rows = params.window.height;
  plan_filters(plan, params);
  plan_numbers(plan, params);
  plan.tone = make_tone_tables(params.tone_map, params.primaries, params.color == "bgr");
  return plan;
}

}  // namespace frametap
