// The binary interface of libnvcuvid: Debian's ffnvcodec headers (SDK 11.1) plus what later SDKs carved out of reserved
// fields. The sizes and offsets are those of SDK 13.0 on LP64.
#pragma once

#include <cuda.h>

#include <cstddef>

#define __CUVID_INTERNAL 1  // declare cuvidMapVideoFrame beside cuvidMapVideoFrame64
#include <ffnvcodec/dynlink_nvcuvid.h>

namespace emu {

// cudaVideoSurfaceFormat of SDK 13: 4:2:2, luma plane and full-height interleaved chroma.
constexpr int surface_format_nv16 = 4;
constexpr int surface_format_p216 = 5;

static_assert(sizeof(CUVIDPARSERPARAMS) == 136 && offsetof(CUVIDPARSERPARAMS, pUserData) == 40);
static_assert(offsetof(CUVIDPARSERPARAMS, pvReserved2) == 80);  // [0] became pfnGetSEIMsg
static_assert(offsetof(CUVIDPARSERPARAMS, pExtVideoInfo) == 128);
static_assert(sizeof(CUVIDEOFORMAT) == 64 && sizeof(CUVIDEOFORMATEX) == 1088);
static_assert(offsetof(CUVIDEOFORMAT, min_num_decode_surfaces) == 15 && offsetof(CUVIDEOFORMAT, display_area) == 24);
static_assert(sizeof(CUVIDSOURCEDATAPACKET) == 32 && sizeof(CUVIDPARSERDISPINFO) == 24);
static_assert(sizeof(CUVIDPICPARAMS) == 4280 && offsetof(CUVIDPICPARAMS, CodecSpecific) == 184);
static_assert(offsetof(CUVIDPICPARAMS, pBitstreamData) == 32 && offsetof(CUVIDPICPARAMS, Reserved) == 64);
static_assert(sizeof(CUVIDDECODECREATEINFO) == 176 && offsetof(CUVIDDECODECREATEINFO, enableHistogram) == 136);
static_assert(offsetof(CUVIDDECODECREATEINFO, display_area) == 80 && offsetof(CUVIDDECODECREATEINFO, vidLock) == 120);
static_assert(sizeof(CUVIDRECONFIGUREDECODERINFO) == 128 && offsetof(CUVIDRECONFIGUREDECODERINFO, target_rect) == 76);
static_assert(sizeof(CUVIDPROCPARAMS) == 264 && offsetof(CUVIDPROCPARAMS, output_stream) == 56);
static_assert(sizeof(CUVIDDECODECAPS) == 88 && sizeof(CUVIDGETDECODESTATUS) == 192);
static_assert(sizeof(CUVIDOPERATINGPOINTINFO) == 1028);

}  // namespace emu
