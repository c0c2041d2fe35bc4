#include "kernels/store.h"

#include <algorithm>
#include <atomic>
#include <cstring>

namespace frametap {
namespace {

template <class Element>
void scatter_as(const void* row, int count, uint8_t* out, int64_t step) {
  const auto* in = static_cast<const Element*>(row);
  auto* target = reinterpret_cast<Element*>(out);
  for (int i = 0; i < count; ++i) {
    target[i * step] = in[i];
  }
}

void scatter(const void* row, size_t element_bytes, int count, uint8_t* out, int64_t step) {
  switch (element_bytes) {
    case 1:
      return scatter_as<uint8_t>(row, count, out, step);
    case 2:
      return scatter_as<uint16_t>(row, count, out, step);
    default:
      return scatter_as<uint32_t>(row, count, out, step);
  }
}

}  // namespace

// A slot this large would only push everything else out of the L2 cache.
constexpr int64_t kStreamBytes = 4 << 20;

bool RowStore::streams() const {
  const OutputPlan& o = plan_.output;
  return o.type == SampleType::kUint8 && o.step_x == 1 && int64_t{o.width} * o.height * o.channels >= kStreamBytes;
}

void RowStore::finish_stores() const {
  if (streams()) {
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
}

uint8_t* RowStore::address(int64_t element) const {
  return out_ + element * static_cast<int64_t>(plan_.output.element_bytes());
}

void RowStore::finish(size_t channel, void* target) const {
  const float scale = plan_.scale[channel], bias = plan_.bias[channel];
  if (plan_.from_mix) {
    kernels_.normalize_mix(scratch_.mix_row(channel), plan_.columns, scale, bias, plan_.output.type, target);
  } else {
    kernels_.normalize_u8(scratch_.byte_row(channel), plan_.columns, scale, bias, plan_.output.type, target);
  }
}

/// Fills the mix rows where values stay unrounded, else `byte_rows`.
void RowStore::color(uint8_t* const* byte_rows) const {
  const bool tone = !plan_.tone.empty();
  if (!plan_.from_mix && !tone) {
    kernels_.color_u8(plan_.matrix, scratch_.component.data(), plan_.columns, streams(), byte_rows);
    return;
  }
  const std::array<int32_t*, 3> mixes{scratch_.mix_row(0), scratch_.mix_row(1), scratch_.mix_row(2)};
  kernels_.color_mix(plan_.matrix, scratch_.component.data(), plan_.columns, mixes.data());
  if (tone) {
    kernels_.tone_map(tone_, plan_.output.channels, plan_.columns, mixes.data());
  }
  for (size_t c = 0; c < static_cast<size_t>(plan_.output.channels) && !plan_.from_mix; ++c) {
    kernels_.round_mix(mixes[c], plan_.columns, byte_rows[c]);
  }
}

void RowStore::write_row(int y) const {
  const OutputPlan& output = plan_.output;
  const bool contiguous = output.step_x == 1;
  const bool bytes = output.type == SampleType::kUint8;
  const auto channels = static_cast<size_t>(output.channels);
  std::array<uint8_t*, 3> target{}, byte_rows{};
  for (size_t c = 0; c < channels; ++c) {
    target[c] = address(output.origin + y * output.step_y + static_cast<int64_t>(c) * output.step_channel);
    byte_rows[c] = bytes && contiguous ? target[c] : scratch_.byte_row(c);
  }
  color(byte_rows.data());
  if (bytes && contiguous) {
    return;
  }
  if (bytes && channels == 3 && output.step_x == 3 && output.step_channel == 1) {
    kernels_.interleave_u8(byte_rows.data(), plan_.columns, target[0]);
    return;
  }
  for (size_t c = 0; c < channels; ++c) {
    void* row = bytes ? byte_rows[c] : (contiguous ? target[c] : scratch_.staging_row());
    if (!bytes) {
      finish(c, row);
    }
    if (!contiguous) {
      scatter(row, output.element_bytes(), plan_.columns, target[c], output.step_x);
    }
  }
}

void RowStore::fill_padding() const {
  const OutputPlan& o = plan_.output;
  const Rect& w = o.window;
  if (w.width == o.width && w.height == o.height) {
    return;
  }
  const size_t size = o.element_bytes();
  const int64_t pixel = o.channels_last ? o.channels : 1;
  for (size_t c = 0; c < static_cast<size_t>(o.channels); ++c) {
    uint32_t value = plan_.fill[c];
    if (o.type != SampleType::kUint8) {
      kernels_.normalize_u8(&plan_.fill[c], 1, plan_.fill_scale[c], plan_.bias[c], o.type, &value);
    }
    const auto run = [&](int x, int y, int count) {
      uint8_t* target =
          address(static_cast<int64_t>(c) * o.step_channel + (static_cast<int64_t>(y) * o.width + x) * pixel);
      for (int i = 0; i < count; ++i, target += pixel * static_cast<int64_t>(size)) {
        std::memcpy(target, &value, size);
      }
    };
    for (int y = 0; y < o.height; ++y) {
      const bool outside = y < w.y || y >= w.y + w.height;
      run(0, y, outside ? o.width : w.x);
      run(w.x + w.width, y, outside ? 0 : o.width - w.x - w.width);
    }
  }
}

}  // namespace frametap
