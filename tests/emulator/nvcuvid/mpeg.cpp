#include "mpeg.h"

#include "video_format.h"

namespace emu {
namespace {

// Start code values.
enum : uint8_t {
  picture_code = 0x00,
  slice_first = 0x01,
  slice_last = 0xAF,
  user_data = 0xB2,
  sequence_code = 0xB3,
  extension_code = 0xB5,
  group_code = 0xB8,
  object_first = 0x00,
  layer_first = 0x20,
  layer_last = 0x2F,
  visual_sequence = 0xB0,
  group_of_vop = 0xB3,
  visual_object = 0xB5,
  vop_code = 0xB6
};

// Two references, the picture being decoded, and one more.
constexpr unsigned char mpeg_surfaces = 4;

}  // namespace

// ------------------------------------------------------------------------------------------------------ MPEG-1 and 2

bool MpegVideoStream::is_slice(Bytes unit) const { return unit[0] >= slice_first && unit[0] <= slice_last; }

bool MpegVideoStream::opens_picture(Bytes unit) const {
  return unit[0] == picture_code || unit[0] == sequence_code || unit[0] == group_code;
}

bool MpegVideoStream::read_unit(Bytes unit) {
  BitReader in(unit.subspan(1));
  if (is_slice(unit)) {
    if (!width_) ++dropped_;
    if (!width_ || !picture_type_) return false;
    if (current_.slices.empty()) describe();
    return true;
  }
  if (unit[0] == sequence_code) read_sequence(in);
  if (unit[0] == extension_code) read_extension(in);
  if (unit[0] == picture_code) {
    in.u(10);
    picture_type_ = in.u(3);
    picture_structure_ = 3;
  }
  return true;
}

void MpegVideoStream::read_sequence(BitReader in) {
  width_ = in.u(12);
  height_ = in.u(12);
  aspect_ = in.u(4);
  rate_ = in.u(4);
  rate_num_ = rate_den_ = chroma_ = 1;
  progressive_ = true;
}

void MpegVideoStream::read_extension(BitReader in) {
  switch (in.u(4)) {
    case 1:  // sequence extension
      in.u(8);
      progressive_ = in.flag();
      chroma_ = in.u(2);
      width_ |= in.u(2) << 12;
      height_ |= in.u(2) << 12;
      in.u(12 + 1 + 8 + 1);  // bit rate, marker, buffer size, low delay
      rate_num_ = in.u(2) + 1;
      rate_den_ = in.u(5) + 1;
      break;
    case 2:  // sequence display extension
      video_format_ = in.u(3);
      if (in.flag()) primaries_ = in.u(8), transfer_ = in.u(8), matrix_ = in.u(8);
      break;
    case 8:  // picture coding extension
      in.u(16 + 2);
      picture_structure_ = in.u(2);
      break;
    default:
      break;
  }
}

void MpegVideoStream::describe() {
  static constexpr unsigned rates[][2] = {{0, 0},  {24000, 1001}, {24, 1},       {25, 1}, {30000, 1001},
                                          {30, 1}, {50, 1},       {60000, 1001}, {60, 1}};
  CUVIDEOFORMAT& f = current_.format.format;
  f.codec = codec_;
  f.coded_width = round_up(width_, 16);
  f.coded_height = round_up(height_, progressive_ ? 16 : 32);
  f.display_area = {0, 0, static_cast<int>(width_), static_cast<int>(height_)};
  f.chroma_format = static_cast<cudaVideoChromaFormat>(chroma_);
  f.progressive_sequence = progressive_;
  f.min_num_decode_surfaces = mpeg_surfaces;
  if (rate_ < std::size(rates)) f.frame_rate = {rates[rate_][0] * rate_num_, rates[rate_][1] * rate_den_};
  set_signal(f, video_format_, false, primaries_, transfer_, matrix_);
  set_aspect(f, 1, 1);
  if (codec_ == cudaVideoCodec_MPEG2 && aspect_ == 2) f.display_aspect_ratio = {4, 3};
  if (codec_ == cudaVideoCodec_MPEG2 && aspect_ == 3) f.display_aspect_ratio = {16, 9};
  current_.width = static_cast<int>(f.coded_width);
  current_.height = static_cast<int>(f.coded_height);
  current_.intra = picture_type_ == 1;
  current_.reference = picture_type_ != 3;
  current_.field = picture_structure_ != 3;
  current_.bottom_field = picture_structure_ == 2;
  current_.starts_sequence = first_;
  first_ = false;
}

// ------------------------------------------------------------------------------------------------------------- MPEG-4

bool Mpeg4Stream::is_slice(Bytes unit) const { return unit[0] == vop_code; }

bool Mpeg4Stream::opens_picture(Bytes unit) const { return unit[0] != user_data; }

bool Mpeg4Stream::read_unit(Bytes unit) {
  if (unit[0] >= layer_first && unit[0] <= layer_last) read_object_layer(BitReader(unit.subspan(1)));
  if (!is_slice(unit)) return true;
  if (!width_) {
    ++dropped_;
    return false;
  }
  CUVIDEOFORMAT& f = current_.format.format;
  f.codec = cudaVideoCodec_MPEG4;
  f.coded_width = round_up(width_, 16);
  f.coded_height = round_up(height_, 16);
  f.display_area = {0, 0, static_cast<int>(width_), static_cast<int>(height_)};
  f.chroma_format = cudaVideoChromaFormat_420;
  f.progressive_sequence = !interlaced_;
  f.min_num_decode_surfaces = mpeg_surfaces;
  if (increment_) f.frame_rate = {ticks_, increment_};
  set_signal(f, 5, false, 1, 1, 1);  // guessed: the stream does not say
  set_aspect(f, sar_width_, sar_height_);
  current_.width = static_cast<int>(f.coded_width);
  current_.height = static_cast<int>(f.coded_height);
  unsigned type = unit[1] >> 6;  // vop_coding_type: I, P, B, S
  current_.intra = type == 0;
  current_.reference = type != 2;
  current_.starts_sequence = first_;
  first_ = false;
  return true;
}

void Mpeg4Stream::read_object_layer(BitReader in) {
  static constexpr unsigned sar[][2] = {{1, 1}, {1, 1}, {12, 11}, {10, 11}, {16, 11}, {40, 33}};
  in.u(1 + 8);
  if (in.flag()) in.u(4 + 3);
  unsigned aspect = in.u(4);
  if (aspect == 15) sar_width_ = in.u(8), sar_height_ = in.u(8);
  if (aspect < std::size(sar)) sar_width_ = sar[aspect][0], sar_height_ = sar[aspect][1];
  if (in.flag()) {  // vol_control_parameters
    in.u(2 + 1);
    if (in.flag()) in.skip(79);  // buffer and bit rate
  }
  if (in.u(2) != 0) return;  // only rectangular objects
  in.bit();
  ticks_ = in.u(16);
  in.bit();
  increment_ = in.flag() ? in.u(std::bit_width(ticks_ ? ticks_ - 1 : 0u) ? std::bit_width(ticks_ - 1) : 1) : 0;
  in.bit();
  width_ = in.u(13);
  in.bit();
  height_ = in.u(13);
  in.bit();
  interlaced_ = in.flag();
}

}  // namespace emu
