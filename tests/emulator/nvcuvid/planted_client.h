// A correct client of NVDEC, with places to plant bugs in.
#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "abi.h"

extern "C" {
tcuvidCreateVideoParser cuvidCreateVideoParser;
tcuvidParseVideoData cuvidParseVideoData;
tcuvidDestroyVideoParser cuvidDestroyVideoParser;
tcuvidCreateDecoder cuvidCreateDecoder;
tcuvidDestroyDecoder cuvidDestroyDecoder;
tcuvidDecodePicture cuvidDecodePicture;
tcuvidReconfigureDecoder cuvidReconfigureDecoder;
CUresult cuvidMapVideoFrame64(CUvideodecoder, int, unsigned long long*, unsigned*, CUVIDPROCPARAMS*);
CUresult cuvidUnmapVideoFrame64(CUvideodecoder, unsigned long long);
size_t emu_list(const char* what, char* buffer, size_t size);
}

namespace planted {

struct Mapped {
  unsigned long long pointer = 0;
  unsigned pitch = 0;
};

struct Client {
  std::vector<unsigned char> stream;
  CUcontext context = nullptr;
  CUvideoparser parser = nullptr;
  CUvideodecoder decoder = nullptr;
  int surfaces = 0, pictures = 0, displayed = 0;
  int other_index = 0;  // of a picture displayed earlier

  // Where bugs are planted.
  std::function<void(CUVIDDECODECREATEINFO&)> before_create = [](auto&) {};
  std::function<int(int)> sequence_answer = [](int surfaces) { return surfaces; };
  std::function<void(CUVIDPICPARAMS&)> on_decode = [this](CUVIDPICPARAMS& p) { cuvidDecodePicture(decoder, &p); };
  std::function<void(CUVIDPARSERDISPINFO&)> on_display = [this](CUVIDPARSERDISPINFO& d) { show(d.picture_index); };

  void open() {
    cuInit(0);
    cuCtxCreate(&context, nullptr, 0, 0);
    CUVIDPARSERPARAMS params{};
    params.CodecType = cudaVideoCodec_H264;
    params.ulMaxNumDecodeSurfaces = 1;
    params.pUserData = this;
    params.pfnSequenceCallback = [](void* self, CUVIDEOFORMAT* f) { return static_cast<Client*>(self)->sequence(*f); };
    params.pfnDecodePicture = [](void* self, CUVIDPICPARAMS* p) { return static_cast<Client*>(self)->decode(*p); };
    params.pfnDisplayPicture = [](void* self, CUVIDPARSERDISPINFO* d) {
      return static_cast<Client*>(self)->display(*d);
    };
    cuvidCreateVideoParser(&parser, &params);
  }

  int sequence(const CUVIDEOFORMAT& format) {
    surfaces = format.min_num_decode_surfaces;
    if (!decoder) create(format);
    return sequence_answer(surfaces);
  }
  void create(const CUVIDEOFORMAT& format) {
    CUVIDDECODECREATEINFO info{};
    info.CodecType = format.codec;
    info.ChromaFormat = format.chroma_format;
    info.ulWidth = info.ulTargetWidth = format.coded_width;
    info.ulHeight = info.ulTargetHeight = format.coded_height;
    info.ulNumDecodeSurfaces = static_cast<unsigned long>(surfaces);
    info.ulNumOutputSurfaces = 2;
    before_create(info);
    cuvidCreateDecoder(&decoder, &info);
  }
  int decode(CUVIDPICPARAMS& params) {
    on_decode(params);
    ++pictures;
    return 1;
  }
  int display(CUVIDPARSERDISPINFO& info) {
    on_display(info);
    ++displayed;
    return 1;
  }

  CUresult map(int index, Mapped& mapped, CUVIDPROCPARAMS params = {}) const {
    params.progressive_frame = 1;
    return cuvidMapVideoFrame64(decoder, index, &mapped.pointer, &mapped.pitch, &params);
  }
  void unmap(const Mapped& mapped) const { cuvidUnmapVideoFrame64(decoder, mapped.pointer); }
  void show(int index) const {
    Mapped mapped;
    if (map(index, mapped) == CUDA_SUCCESS) unmap(mapped);
  }

  void packet(const unsigned char* data, size_t size, unsigned long flags) const {
    CUVIDSOURCEDATAPACKET packet{};
    packet.flags = flags;
    packet.payload = data;
    packet.payload_size = size;
    cuvidParseVideoData(parser, &packet);
  }
  void feed(size_t from = 0) const {
    constexpr size_t chunk = 700;
    for (size_t at = from; at < stream.size(); at += chunk) packet(&stream[at], std::min(chunk, stream.size() - at), 0);
    packet(nullptr, 0, CUVID_PKT_ENDOFSTREAM);
  }
  // Where the first slice starts, behind the parameter sets.
  size_t first_slice() const {
    for (size_t i = 0; i + 3 < stream.size(); ++i)
      if (!stream[i] && !stream[i + 1] && stream[i + 2] == 1 && (stream[i + 3] & 31) == 5) return i;
    return 0;
  }
  void close() {
    if (parser) cuvidDestroyVideoParser(parser);
    if (decoder) cuvidDestroyDecoder(decoder);
    cuCtxDestroy(context);
  }
};

}  // namespace planted
