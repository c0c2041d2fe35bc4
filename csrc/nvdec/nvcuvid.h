// The part of NVIDIA's video decoder API that frametap calls, declared here so that nothing of the Video Codec SDK is
// needed to build. libnvcuvid.so.1 comes with the driver; the ABI is that of SDK 8 to 13. New SDKs carve new fields out
// of reserved ones, so every struct is zeroed before it is filled and reserved fields are never written.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>

namespace frametap::nvcuvid {

enum Codec : int32_t { kMpeg1, kMpeg2, kMpeg4, kVc1, kH264, kJpeg, kH264Svc, kH264Mvc, kHevc, kVp8, kVp9, kAv1 };
enum ChromaFormat : int32_t { kMonochrome, k420, k422, k444 };
enum SurfaceFormat : int32_t { kNv12, kP016, kYuv444, kYuv444Deep, kNv16, kP216 };
enum PacketFlag : unsigned long { kEndOfStream = 1, kTimestamp = 2 };
enum DecodeStatus : int32_t { kInvalid = 0, kInProgress = 1, kSuccess = 2, kError = 8, kErrorConcealed = 9 };

constexpr unsigned long kCreatePreferCuvid = 4;
constexpr int32_t kDeinterlaceWeave = 0;
/// More decode surfaces than this are refused by cuvidCreateDecoder.
constexpr unsigned kMaxDecodeSurfaces = 32;

using Parser = void*;
using Decoder = void*;

struct Rect32 {
  int32_t left, top, right, bottom;
};
struct Rect16 {
  int16_t left, top, right, bottom;
};

struct VideoFormat {
  Codec codec;
  uint32_t frame_rate_numerator, frame_rate_denominator;
  uint8_t progressive_sequence, bit_depth_luma_minus8, bit_depth_chroma_minus8, min_num_decode_surfaces;
  uint32_t coded_width, coded_height;
  Rect32 display_area;
  ChromaFormat chroma_format;
  uint32_t bitrate;
  int32_t aspect_x, aspect_y;
  uint8_t signal_bits;  // video_format : 3, video_full_range_flag : 1
  uint8_t color_primaries, transfer_characteristics, matrix_coefficients;
  uint32_t seqhdr_data_length;
};
static_assert(sizeof(VideoFormat) == 64 && offsetof(VideoFormat, min_num_decode_surfaces) == 15 &&
              offsetof(VideoFormat, display_area) == 24 && offsetof(VideoFormat, chroma_format) == 40 &&
              offsetof(VideoFormat, signal_bits) == 56 && offsetof(VideoFormat, seqhdr_data_length) == 60);

/// What one cuvidDecodePicture decodes. Filled by the parser and passed on; only the head is looked at.
struct PictureParams {
  int32_t width_in_macroblocks, height_in_macroblocks;
  int32_t picture_index;
  int32_t field_pic_flag, bottom_field_flag, second_field;
  uint32_t bitstream_length;
  const uint8_t* bitstream;
  uint32_t slices;
  const uint32_t* slice_offsets;
  int32_t ref_pic_flag, intra_pic_flag;
  uint32_t reserved[30];
  uint32_t codec_specific[1024];
};
static_assert(sizeof(PictureParams) == 4280 && offsetof(PictureParams, picture_index) == 8 &&
              offsetof(PictureParams, bitstream) == 32 && offsetof(PictureParams, slice_offsets) == 48 &&
              offsetof(PictureParams, ref_pic_flag) == 56 && offsetof(PictureParams, codec_specific) == 184);

struct DisplayInfo {
  int32_t picture_index, progressive_frame, top_field_first, repeat_first_field;
  int64_t timestamp;
};
static_assert(sizeof(DisplayInfo) == 24);

struct SourcePacket {
  unsigned long flags, payload_size;
  const uint8_t* payload;
  int64_t timestamp;
};
static_assert(sizeof(SourcePacket) == 32);

struct ParserParams {
  Codec codec;
  uint32_t max_num_decode_surfaces, clock_rate, error_threshold, max_display_delay, bits, reserved[4];
  void* user_data;
  int (*on_sequence)(void*, VideoFormat*);
  int (*on_decode)(void*, PictureParams*);
  int (*on_display)(void*, DisplayInfo*);
  int (*on_operating_point)(void*, void*);
  int (*on_sei)(void*, void*);
  void* reserved_pointers[5];
  void* ext_video_info;
};
static_assert(sizeof(ParserParams) == 136 && offsetof(ParserParams, user_data) == 40 &&
              offsetof(ParserParams, on_display) == 64 && offsetof(ParserParams, ext_video_info) == 128);

struct DecoderCreateInfo {
  unsigned long width, height, num_decode_surfaces;
  Codec codec;
  ChromaFormat chroma_format;
  unsigned long creation_flags, bit_depth_minus8, intra_decode_only, max_width, max_height, reserved1;
  Rect16 display_area;
  SurfaceFormat output_format;
  int32_t deinterlace_mode;
  unsigned long target_width, target_height, num_output_surfaces;
  void* lock;
  Rect16 target_rect;
  unsigned long enable_histogram, reserved2[4];
};
static_assert(sizeof(DecoderCreateInfo) == 176 && offsetof(DecoderCreateInfo, codec) == 24 &&
              offsetof(DecoderCreateInfo, max_width) == 56 && offsetof(DecoderCreateInfo, display_area) == 80 &&
              offsetof(DecoderCreateInfo, target_width) == 96 && offsetof(DecoderCreateInfo, target_rect) == 128);

struct ReconfigureInfo {
  uint32_t width, height, target_width, target_height, num_decode_surfaces, reserved1[12];
  Rect16 display_area, target_rect;
  uint32_t reserved2[11];
};
static_assert(sizeof(ReconfigureInfo) == 128 && offsetof(ReconfigureInfo, display_area) == 68 &&
              offsetof(ReconfigureInfo, target_rect) == 76);

struct MapParams {
  int32_t progressive_frame, second_field, top_field_first, unpaired_field;
  uint32_t reserved_flags, reserved_zero;
  uint64_t raw_input;
  uint32_t raw_input_pitch, raw_input_format;
  uint64_t raw_output;
  uint32_t raw_output_pitch, reserved1;
  CUstream output_stream;
  uint32_t reserved[46];
  uint64_t* histogram;
  void* reserved2;
};
static_assert(sizeof(MapParams) == 264 && offsetof(MapParams, output_stream) == 56 &&
              offsetof(MapParams, histogram) == 248);

struct DecodeCaps {
  Codec codec;
  ChromaFormat chroma_format;
  uint32_t bit_depth_minus8, reserved1[3];
  uint8_t is_supported, num_engines;
  uint16_t output_format_mask;
  uint32_t max_width, max_height, max_macroblocks;
  uint16_t min_width, min_height;
  uint8_t is_histogram_supported, counter_bit_depth;
  uint16_t max_histogram_bins;
  uint32_t reserved3[10];
};
static_assert(sizeof(DecodeCaps) == 88 && offsetof(DecodeCaps, is_supported) == 24 &&
              offsetof(DecodeCaps, max_width) == 28 && offsetof(DecodeCaps, min_width) == 40);

struct StatusInfo {
  DecodeStatus status;
  uint32_t reserved[31];
  void* reserved_pointers[8];
};
static_assert(sizeof(StatusInfo) == 192);

// Entry points of libnvcuvid.so.1; never linked, see driver.h.
extern "C" {
CUresult cuvidGetDecoderCaps(DecodeCaps*);
CUresult cuvidCreateVideoParser(Parser*, ParserParams*);
CUresult cuvidParseVideoData(Parser, SourcePacket*);
CUresult cuvidDestroyVideoParser(Parser);
CUresult cuvidCreateDecoder(Decoder*, DecoderCreateInfo*);
CUresult cuvidDestroyDecoder(Decoder);
CUresult cuvidReconfigureDecoder(Decoder, ReconfigureInfo*);
CUresult cuvidDecodePicture(Decoder, PictureParams*);
CUresult cuvidGetDecodeStatus(Decoder, int, StatusInfo*);
CUresult cuvidMapVideoFrame64(Decoder, int, unsigned long long* address, unsigned* pitch, MapParams*);
CUresult cuvidUnmapVideoFrame64(Decoder, unsigned long long address);
}

}  // namespace frametap::nvcuvid
