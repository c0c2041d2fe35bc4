// Colour over vec.h: the matrix of pixel.h, two components per multiply.
#pragma once

#include "kernels/pixel.h"
#include "kernels/row_kernels.h"
#include "kernels/rows_vector.h"
#include "kernels/vec.h"

namespace frametap {
namespace {

// Which components an output channel reads: (a, b), (a, c), or all three.
enum class Mix : int32_t { kAB, kAC, kABC };

struct ChannelVec {
  Vec ab, ac, bias;  // weight pairs; for kABC the a in `ac` is 0, because `ab` has it
};

inline ChannelVec channel_vec(const ColorMatrix& m, int32_t channel, Mix mix, int32_t extra_bias) {
  const int16_t* w = m.weight[channel];
  return {all_pairs(w[0], w[1]), all_pairs(mix == Mix::kABC ? 0 : w[0], w[2]), all32(m.bias[channel] + extra_bias)};
}

template <Mix kMix>
inline Vec mix_half(const ChannelVec& channel, Vec ab, Vec ac) {
  if constexpr (kMix == Mix::kAB) {
    return multiply_add16(channel.bias, ab, channel.ab);
  } else if constexpr (kMix == Mix::kAC) {
    return multiply_add16(channel.bias, ac, channel.ac);
  } else {
    return multiply_add16(multiply_add16(channel.bias, ab, channel.ab), ac, channel.ac);
  }
}

// One vector of every component, paired for the multiplies.
struct Pixels {
  Vec ab_low, ab_high, ac_low, ac_high;

  Pixels(const int16_t* const* in, int32_t components, int32_t i) {
    const Vec a = load(in[0] + i);
    const Vec b = components == 3 ? load(in[1] + i) : zero();
    const Vec c = components == 3 ? load(in[2] + i) : zero();
    ab_low = unpack_low16(a, b);
    ab_high = unpack_high16(a, b);
    ac_low = unpack_low16(a, c);
    ac_high = unpack_high16(a, c);
  }
};

template <Mix kMix>
inline Vec words_of(const ChannelVec& channel, const Pixels& p) {
  return pack16(shift_right32(mix_half<kMix>(channel, p.ab_low, p.ac_low), kMixBits),
                shift_right32(mix_half<kMix>(channel, p.ab_high, p.ac_high), kMixBits));
}

template <bool kStream>
inline void put(uint8_t* p, Vec v) {
  if constexpr (kStream) {
    stream(p, v);
  } else {
    store(p, v);
  }
}

// Bytes from here to the next address that a vector can be streamed to.
inline int32_t before_aligned(const uint8_t* p) {
  return static_cast<int32_t>(-reinterpret_cast<uintptr_t>(p) % static_cast<uintptr_t>(kVecBytes));
}

template <Mix kRed, Mix kGreen, Mix kBlue, bool kStream>
void color_u8_as(const ColorMatrix& m, const int16_t* const* in, int32_t count, uint8_t* const* out) {
  constexpr int32_t kHalf = kVecBytes / 2;
  constexpr int32_t kRound = 1 << (kMixBits - 1);
  const ChannelVec red = channel_vec(m, 0, kRed, kRound), green = channel_vec(m, 1, kGreen, kRound),
                   blue = channel_vec(m, 2, kBlue, kRound);
  const auto block = [&]<bool kPast>(int32_t i, uint8_t* r, uint8_t* g, uint8_t* b) {
    const Pixels p(in, m.components, i), q(in, m.components, i + kHalf);
    put<kPast>(r, pack_bytes(words_of<kRed>(red, p), words_of<kRed>(red, q)));
    put<kPast>(g, pack_bytes(words_of<kGreen>(green, p), words_of<kGreen>(green, q)));
    put<kPast>(b, pack_bytes(words_of<kBlue>(blue, p), words_of<kBlue>(blue, q)));
  };
  const auto part = [&](int32_t begin, int32_t end) {  // of a vector
    alignas(64) uint8_t bytes[3][kVecBytes];
    block.template operator()<false>(begin, bytes[0], bytes[1], bytes[2]);
    for (int32_t c = 0; c < 3 && begin < end; ++c) {
      __builtin_memcpy(out[c] + begin, bytes[c], static_cast<uint64_t>(end - begin));
    }
  };
  int32_t i = 0;
  if constexpr (kStream) {
    i = clamp(before_aligned(out[0]), 0, count);
    part(0, i);
  }
  for (; i + kVecBytes <= count; i += kVecBytes) {
    block.template operator()<kStream>(i, out[0] + i, out[1] + i, out[2] + i);
  }
  part(i, count);
}

void color_u8_one(const ColorMatrix& m, const int16_t* const* in, int32_t count, uint8_t* out) {
  constexpr int32_t kHalf = kVecBytes / 2;
  const ChannelVec gray = channel_vec(m, 0, Mix::kABC, 1 << (kMixBits - 1));
  for (int32_t i = 0; i < count; i += kVecBytes) {
    const Pixels p(in, m.components, i), q(in, m.components, i + kHalf);
    alignas(64) uint8_t bytes[kVecBytes];
    store(bytes, pack_bytes(words_of<Mix::kABC>(gray, p), words_of<Mix::kABC>(gray, q)));
    __builtin_memcpy(out + i, bytes, static_cast<uint64_t>(count - i < kVecBytes ? count - i : kVecBytes));
  }
}

template <Mix kRed, Mix kGreen, Mix kBlue>
void color_u8_three(const ColorMatrix& m, const int16_t* const* in, int32_t count, bool stream, uint8_t* const* out) {
  if (stream && before_aligned(out[0]) == before_aligned(out[1]) && before_aligned(out[0]) == before_aligned(out[2])) {
    color_u8_as<kRed, kGreen, kBlue, true>(m, in, count, out);
  } else {
    color_u8_as<kRed, kGreen, kBlue, false>(m, in, count, out);
  }
}

inline bool is_rgb_of_yuv(const ColorMatrix& m) { return m.weight[0][1] == 0 && m.weight[2][2] == 0; }
inline bool is_bgr_of_yuv(const ColorMatrix& m) { return m.weight[0][2] == 0 && m.weight[2][1] == 0; }

void color_u8(const ColorMatrix& m, const int16_t* const* in, int32_t count, bool stream, uint8_t* const* out) {
  if (m.outputs == 1) {
    color_u8_one(m, in, count, out[0]);
  } else if (m.components == 1) {
    color_u8_one(m, in, count, out[0]);
    __builtin_memcpy(out[1], out[0], static_cast<uint64_t>(count));
    __builtin_memcpy(out[2], out[0], static_cast<uint64_t>(count));
  } else if (is_rgb_of_yuv(m)) {
    color_u8_three<Mix::kAC, Mix::kABC, Mix::kAB>(m, in, count, stream, out);
  } else if (is_bgr_of_yuv(m)) {
    color_u8_three<Mix::kAB, Mix::kABC, Mix::kAC>(m, in, count, stream, out);
  } else {
    color_u8_three<Mix::kABC, Mix::kABC, Mix::kABC>(m, in, count, stream, out);
  }
}

void color_mix(const ColorMatrix& m, const int16_t* const* in, int32_t count, int32_t* const* out) {
  constexpr int32_t kHalf = kVecBytes / 2;
  const Vec black = zero(), white = all32(kMixWhite);
  for (int32_t c = 0; c < m.outputs; ++c) {
    const ChannelVec channel = channel_vec(m, c, Mix::kABC, 0);
    for (int32_t i = 0; i < count; i += kHalf) {  // may pass the end: mix rows have slack
      const Pixels p(in, m.components, i);
      store_pairs32(out[c] + i, clamp32(mix_half<Mix::kABC>(channel, p.ab_low, p.ac_low), black, white),
                    clamp32(mix_half<Mix::kABC>(channel, p.ab_high, p.ac_high), black, white));
    }
  }
}

}  // namespace
}  // namespace frametap
