// frametap declares the structs of nvcuvid itself. Here its declarations meet NVIDIA's: same sizes, same offsets.
#include "abi.h"
#include "nvdec/nvcuvid.h"

namespace ours = frametap::nvcuvid;

#define SAME_SIZE(our, theirs) static_assert(sizeof(ours::our) == sizeof(theirs))
#define SAME(our, our_field, theirs, their_field)                                  \
  static_assert(offsetof(ours::our, our_field) == offsetof(theirs, their_field) && \
                sizeof(ours::our::our_field) == sizeof(theirs::their_field))
// Bit fields and groups have a place, but no offsetof on NVIDIA's side.
#define AFTER(our, our_field, theirs, previous) \
  static_assert(offsetof(ours::our, our_field) == offsetof(theirs, previous) + sizeof(theirs::previous))

SAME_SIZE(VideoFormat, CUVIDEOFORMAT);
SAME(VideoFormat, codec, CUVIDEOFORMAT, codec);
SAME(VideoFormat, progressive_sequence, CUVIDEOFORMAT, progressive_sequence);
SAME(VideoFormat, bit_depth_luma_minus8, CUVIDEOFORMAT, bit_depth_luma_minus8);
SAME(VideoFormat, bit_depth_chroma_minus8, CUVIDEOFORMAT, bit_depth_chroma_minus8);
SAME(VideoFormat, min_num_decode_surfaces, CUVIDEOFORMAT, min_num_decode_surfaces);
SAME(VideoFormat, coded_width, CUVIDEOFORMAT, coded_width);
SAME(VideoFormat, coded_height, CUVIDEOFORMAT, coded_height);
SAME(VideoFormat, display_area, CUVIDEOFORMAT, display_area);
SAME(VideoFormat, chroma_format, CUVIDEOFORMAT, chroma_format);
SAME(VideoFormat, bitrate, CUVIDEOFORMAT, bitrate);
SAME(VideoFormat, seqhdr_data_length, CUVIDEOFORMAT, seqhdr_data_length);

SAME_SIZE(PictureParams, CUVIDPICPARAMS);
SAME(PictureParams, width_in_macroblocks, CUVIDPICPARAMS, PicWidthInMbs);
SAME(PictureParams, height_in_macroblocks, CUVIDPICPARAMS, FrameHeightInMbs);
SAME(PictureParams, picture_index, CUVIDPICPARAMS, CurrPicIdx);
SAME(PictureParams, field_pic_flag, CUVIDPICPARAMS, field_pic_flag);
SAME(PictureParams, second_field, CUVIDPICPARAMS, second_field);
SAME(PictureParams, bitstream_length, CUVIDPICPARAMS, nBitstreamDataLen);
SAME(PictureParams, bitstream, CUVIDPICPARAMS, pBitstreamData);
SAME(PictureParams, slices, CUVIDPICPARAMS, nNumSlices);
SAME(PictureParams, slice_offsets, CUVIDPICPARAMS, pSliceDataOffsets);
SAME(PictureParams, ref_pic_flag, CUVIDPICPARAMS, ref_pic_flag);
SAME(PictureParams, intra_pic_flag, CUVIDPICPARAMS, intra_pic_flag);
SAME(PictureParams, codec_specific, CUVIDPICPARAMS, CodecSpecific);

SAME_SIZE(DisplayInfo, CUVIDPARSERDISPINFO);
SAME(DisplayInfo, picture_index, CUVIDPARSERDISPINFO, picture_index);
SAME(DisplayInfo, progressive_frame, CUVIDPARSERDISPINFO, progressive_frame);
SAME(DisplayInfo, top_field_first, CUVIDPARSERDISPINFO, top_field_first);
SAME(DisplayInfo, repeat_first_field, CUVIDPARSERDISPINFO, repeat_first_field);
SAME(DisplayInfo, timestamp, CUVIDPARSERDISPINFO, timestamp);

SAME_SIZE(SourcePacket, CUVIDSOURCEDATAPACKET);
SAME(SourcePacket, flags, CUVIDSOURCEDATAPACKET, flags);
SAME(SourcePacket, payload_size, CUVIDSOURCEDATAPACKET, payload_size);
SAME(SourcePacket, payload, CUVIDSOURCEDATAPACKET, payload);
SAME(SourcePacket, timestamp, CUVIDSOURCEDATAPACKET, timestamp);

SAME_SIZE(ParserParams, CUVIDPARSERPARAMS);
SAME(ParserParams, codec, CUVIDPARSERPARAMS, CodecType);
SAME(ParserParams, max_num_decode_surfaces, CUVIDPARSERPARAMS, ulMaxNumDecodeSurfaces);
SAME(ParserParams, clock_rate, CUVIDPARSERPARAMS, ulClockRate);
SAME(ParserParams, error_threshold, CUVIDPARSERPARAMS, ulErrorThreshold);
SAME(ParserParams, max_display_delay, CUVIDPARSERPARAMS, ulMaxDisplayDelay);
SAME(ParserParams, user_data, CUVIDPARSERPARAMS, pUserData);
SAME(ParserParams, on_sequence, CUVIDPARSERPARAMS, pfnSequenceCallback);
SAME(ParserParams, on_decode, CUVIDPARSERPARAMS, pfnDecodePicture);
SAME(ParserParams, on_display, CUVIDPARSERPARAMS, pfnDisplayPicture);
SAME(ParserParams, on_operating_point, CUVIDPARSERPARAMS, pfnGetOperatingPoint);
AFTER(ParserParams, on_sei, CUVIDPARSERPARAMS, pfnGetOperatingPoint);
SAME(ParserParams, ext_video_info, CUVIDPARSERPARAMS, pExtVideoInfo);

SAME_SIZE(DecoderCreateInfo, CUVIDDECODECREATEINFO);
SAME(DecoderCreateInfo, width, CUVIDDECODECREATEINFO, ulWidth);
SAME(DecoderCreateInfo, height, CUVIDDECODECREATEINFO, ulHeight);
SAME(DecoderCreateInfo, num_decode_surfaces, CUVIDDECODECREATEINFO, ulNumDecodeSurfaces);
SAME(DecoderCreateInfo, codec, CUVIDDECODECREATEINFO, CodecType);
SAME(DecoderCreateInfo, chroma_format, CUVIDDECODECREATEINFO, ChromaFormat);
SAME(DecoderCreateInfo, creation_flags, CUVIDDECODECREATEINFO, ulCreationFlags);
SAME(DecoderCreateInfo, bit_depth_minus8, CUVIDDECODECREATEINFO, bitDepthMinus8);
SAME(DecoderCreateInfo, intra_decode_only, CUVIDDECODECREATEINFO, ulIntraDecodeOnly);
SAME(DecoderCreateInfo, max_width, CUVIDDECODECREATEINFO, ulMaxWidth);
SAME(DecoderCreateInfo, max_height, CUVIDDECODECREATEINFO, ulMaxHeight);
SAME(DecoderCreateInfo, display_area, CUVIDDECODECREATEINFO, display_area);
SAME(DecoderCreateInfo, output_format, CUVIDDECODECREATEINFO, OutputFormat);
SAME(DecoderCreateInfo, deinterlace_mode, CUVIDDECODECREATEINFO, DeinterlaceMode);
SAME(DecoderCreateInfo, target_width, CUVIDDECODECREATEINFO, ulTargetWidth);
SAME(DecoderCreateInfo, target_height, CUVIDDECODECREATEINFO, ulTargetHeight);
SAME(DecoderCreateInfo, num_output_surfaces, CUVIDDECODECREATEINFO, ulNumOutputSurfaces);
SAME(DecoderCreateInfo, lock, CUVIDDECODECREATEINFO, vidLock);
SAME(DecoderCreateInfo, target_rect, CUVIDDECODECREATEINFO, target_rect);
SAME(DecoderCreateInfo, enable_histogram, CUVIDDECODECREATEINFO, enableHistogram);

SAME_SIZE(ReconfigureInfo, CUVIDRECONFIGUREDECODERINFO);
SAME(ReconfigureInfo, width, CUVIDRECONFIGUREDECODERINFO, ulWidth);
SAME(ReconfigureInfo, height, CUVIDRECONFIGUREDECODERINFO, ulHeight);
SAME(ReconfigureInfo, target_width, CUVIDRECONFIGUREDECODERINFO, ulTargetWidth);
SAME(ReconfigureInfo, target_height, CUVIDRECONFIGUREDECODERINFO, ulTargetHeight);
SAME(ReconfigureInfo, num_decode_surfaces, CUVIDRECONFIGUREDECODERINFO, ulNumDecodeSurfaces);
SAME(ReconfigureInfo, display_area, CUVIDRECONFIGUREDECODERINFO, display_area);
SAME(ReconfigureInfo, target_rect, CUVIDRECONFIGUREDECODERINFO, target_rect);

SAME_SIZE(MapParams, CUVIDPROCPARAMS);
SAME(MapParams, progressive_frame, CUVIDPROCPARAMS, progressive_frame);
SAME(MapParams, second_field, CUVIDPROCPARAMS, second_field);
SAME(MapParams, top_field_first, CUVIDPROCPARAMS, top_field_first);
SAME(MapParams, unpaired_field, CUVIDPROCPARAMS, unpaired_field);
SAME(MapParams, output_stream, CUVIDPROCPARAMS, output_stream);
SAME(MapParams, reserved, CUVIDPROCPARAMS, Reserved);
SAME(MapParams, histogram, CUVIDPROCPARAMS, histogram_dptr);

SAME_SIZE(DecodeCaps, CUVIDDECODECAPS);
SAME(DecodeCaps, codec, CUVIDDECODECAPS, eCodecType);
SAME(DecodeCaps, chroma_format, CUVIDDECODECAPS, eChromaFormat);
SAME(DecodeCaps, bit_depth_minus8, CUVIDDECODECAPS, nBitDepthMinus8);
SAME(DecodeCaps, is_supported, CUVIDDECODECAPS, bIsSupported);
SAME(DecodeCaps, num_engines, CUVIDDECODECAPS, nNumNVDECs);
SAME(DecodeCaps, output_format_mask, CUVIDDECODECAPS, nOutputFormatMask);
SAME(DecodeCaps, max_width, CUVIDDECODECAPS, nMaxWidth);
SAME(DecodeCaps, max_height, CUVIDDECODECAPS, nMaxHeight);
SAME(DecodeCaps, max_macroblocks, CUVIDDECODECAPS, nMaxMBCount);
SAME(DecodeCaps, min_width, CUVIDDECODECAPS, nMinWidth);
SAME(DecodeCaps, min_height, CUVIDDECODECAPS, nMinHeight);

SAME_SIZE(StatusInfo, CUVIDGETDECODESTATUS);
SAME(StatusInfo, status, CUVIDGETDECODESTATUS, decodeStatus);
