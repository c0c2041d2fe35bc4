#include "postprocess.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "switches.h"
#include "video_format.h"

extern "C" {
#include <libavutil/pixdesc.h>
}

namespace emu {
namespace {

constexpr uint8_t poison = 0xCB;      // of rows and columns that nobody writes
constexpr uint16_t undefined = 0xEE;  // samples of the coded area beyond the picture

// A plane of the decoded picture.
struct Source {
  const uint8_t* data;
  int pitch, width, height, depth;

  uint16_t at(int x, int y) const {
    if (x < 0 || y < 0 || x >= width || y >= height) return undefined;
    const uint8_t* row = data + static_cast<ptrdiff_t>(y) * pitch;
    if (depth <= 8) return row[x];
    uint16_t value;
    std::memcpy(&value, row + 2 * x, 2);
    return value;
  }
};

// Where target sample `i` of `count` lies in `length` source samples.
int nearest(int i, int count, int length) {
  if (count == length) return i;
  return static_cast<int>((2 * static_cast<int64_t>(i) + 1) * length / (2 * static_cast<int64_t>(count)));
}

struct Weighted {
  int first, second, weight;  // weight of the second, of 256
};

Weighted between(int i, int count, int length) {
  int64_t position = ((2 * static_cast<int64_t>(i) + 1) * length * 128 / count) - 128;  // in 1/256 samples
  position = std::clamp<int64_t>(position, 0, static_cast<int64_t>(length - 1) * 256);
  int first = static_cast<int>(position / 256);
  return {first, std::min(first + 1, length - 1), static_cast<int>(position % 256)};
}

uint16_t blend(const Source& from, const Rect& area, const Weighted& x, const Weighted& y) {
  auto sample = [&](int column, int row) { return static_cast<int>(from.at(area.left + column, area.top + row)); };
  int upper = sample(x.first, y.first) * (256 - x.weight) + sample(x.second, y.first) * x.weight;
  int lower = sample(x.first, y.second) * (256 - x.weight) + sample(x.second, y.second) * x.weight;
  return static_cast<uint16_t>((upper * (256 - y.weight) + lower * y.weight + (1 << 15)) >> 16);
}

int field_row(int row, Field field) {
  if (field == Field::both) return row;
  return row / 2 * 2 + (field == Field::bottom ? 1 : 0);
}

struct Target {
  uint8_t* data;  // sample (0, 0) of the plane
  size_t pitch;
  Rect area;  // in samples of the plane
  int step;   // samples from one to the next: 2 where chroma is interleaved
  bool wide;
};

uint16_t to_output(uint16_t value, int depth, bool wide, bool rounds) {
  if (wide) return static_cast<uint16_t>(value << (16 - depth));
  if (depth <= 8) return value;
  int shift = depth - 8, half = rounds ? 1 << (shift - 1) : 0;
  return static_cast<uint16_t>(std::min((value + half) >> shift, 255));
}

void write_plane(const Source& from, const Rect& area, Field field, const Target& to) {
  bool scaled = area.width() != to.area.width() || area.height() != to.area.height();
  bool smooth = scaled && switches().bilinear_scaling && field == Field::both;
  bool rounds = switches().round_10_to_8;
  for (int y = 0; y < to.area.height(); ++y) {
    uint8_t* row = to.data + static_cast<size_t>(to.area.top + y) * to.pitch;
    int source_y = field_row(area.top + nearest(y, to.area.height(), area.height()), field);
    Weighted v = between(y, to.area.height(), area.height());
    for (int x = 0; x < to.area.width(); ++x) {
      uint16_t value = smooth ? blend(from, area, between(x, to.area.width(), area.width()), v)
                              : from.at(area.left + nearest(x, to.area.width(), area.width()), source_y);
      value = to_output(value, from.depth, to.wide, rounds);
      size_t at = static_cast<size_t>(to.area.left + x) * static_cast<size_t>(to.step);
      if (to.wide) {
        std::memcpy(row + 2 * at, &value, 2);
      } else {
        row[at] = static_cast<uint8_t>(value);
      }
    }
  }
}

Rect subsampled(const Rect& area, int x_shift, int y_shift) {
  auto up = [](int value, int shift) { return (value + (1 << shift) - 1) >> shift; };
  return {area.left >> x_shift, area.top >> y_shift, up(area.right, x_shift), up(area.bottom, y_shift)};
}

void fill(uint8_t* from, size_t bytes, unsigned value, bool wide) {
  if (!wide) {
    std::memset(from, static_cast<int>(value), bytes);
    return;
  }
  auto sample = static_cast<uint16_t>(value << 8);
  for (size_t i = 0; i + 1 < bytes; i += 2) std::memcpy(from + i, &sample, 2);
}

// Colour of what lies outside the target rectangle.
void clear(const OutputLayout& layout, uint8_t* output) {
  size_t luma = layout.pitch * layout.luma_rows();
  fill(output, luma, switches().cleared_luma, layout.wide());
  fill(output + luma, layout.size() - luma, switches().cleared_chroma, layout.wide());
}

}  // namespace

bool OutputLayout::wide() const {
  return format == cudaVideoSurfaceFormat_P016 || format == cudaVideoSurfaceFormat_YUV444_16Bit ||
         format == surface_format_p216;
}

bool OutputLayout::planar_444() const {
  return format == cudaVideoSurfaceFormat_YUV444 || format == cudaVideoSurfaceFormat_YUV444_16Bit;
}

bool OutputLayout::full_height_chroma() const {
  return planar_444() || format == surface_format_nv16 || format == surface_format_p216;
}

size_t OutputLayout::size() const {
  size_t luma = pitch * luma_rows();
  return planar_444() ? luma * 3 : full_height_chroma() ? luma * 2 : luma + luma / 2;
}

OutputLayout output_layout(int format, int width, int height) {
  OutputLayout layout{format, width, height, 0};
  unsigned row = round_up(static_cast<unsigned>(width), 2) * (layout.wide() ? 2 : 1);
  layout.pitch = round_up(row, std::max(switches().pitch_alignment, 2u));
  return layout;
}

void post_process(const Picture& picture, const PostProcess& job, uint8_t* output) {
  const OutputLayout& layout = job.layout;
  const AVPixFmtDescriptor* pixels = av_pix_fmt_desc_get(picture.format);
  int depth = pixels->comp[0].depth;
  std::memset(output, poison, layout.size());
  bool whole = job.target.left == 0 && job.target.top == 0 && job.target.right == layout.width &&
               job.target.bottom == layout.height;
  if (!whole) clear(layout, output);

  Source luma{picture.planes[0], picture.pitches[0], picture.width, picture.height, depth};
  write_plane(luma, job.source, job.field, {output, layout.pitch, job.target, 1, layout.wide()});

  uint8_t* chroma = output + layout.pitch * layout.luma_rows();
  bool gray = pixels->nb_components < 3;
  if (gray) fill(chroma, layout.size() - layout.pitch * layout.luma_rows(), 128, layout.wide());
  for (size_t i = 1; i < 3 && !gray; ++i) {
    Rect all = subsampled({0, 0, picture.width, picture.height}, pixels->log2_chroma_w, pixels->log2_chroma_h);
    Source from{picture.planes[i], picture.pitches[i], all.right, all.bottom, depth};
    Rect area = subsampled(job.source, pixels->log2_chroma_w, pixels->log2_chroma_h);
    Rect target = subsampled(job.target, layout.planar_444() ? 0 : 1, layout.full_height_chroma() ? 0 : 1);
    size_t sample = layout.wide() ? 2 : 1;
    uint8_t* plane = layout.planar_444() ? output + layout.pitch * layout.luma_rows() * i : chroma + (i - 1) * sample;
    write_plane(from, area, job.field, {plane, layout.pitch, target, layout.planar_444() ? 1 : 2, layout.wide()});
  }
  if (job.garbled) std::for_each(output, output + layout.size(), [](uint8_t& byte) { byte ^= 0xFF; });
}

}  // namespace emu
