// The entry points of libnvcuvid.so.1.
#include <algorithm>
#include <map>
#include <memory>
#include <mutex>

#include "caps.h"
#include "driver.h"
#include "switches.h"
#include "video_decoder.h"
#include "video_parser.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

using namespace emu;

// The objects of one kind that clients hold handles of. Handles are never used twice, so that a stale one is noticed.
template <class T>
class Handles {
 public:
  void* add(std::shared_ptr<T> object) {
    std::lock_guard lock(mutex_);
    void* handle = reinterpret_cast<void*>(next_ += 16);
    objects_[handle] = std::move(object);
    return handle;
  }
  // Null, and reported, for what is not alive.
  std::shared_ptr<T> find(void* handle, const char* entry) {
    std::lock_guard lock(mutex_);
    auto found = objects_.find(handle);
    if (found != objects_.end()) return found->second;
    violation(entry, ": no such ", kind_, (handle ? " (destroyed already?)" : " (null)"));
    return nullptr;
  }
  void remove(void* handle) {
    std::lock_guard lock(mutex_);
    objects_.erase(handle);
  }
  Handles(const char* kind, uintptr_t first) : kind_(kind), next_(first) {}

 private:
  const char* kind_;
  std::mutex mutex_;
  std::map<void*, std::shared_ptr<T>> objects_;
  uintptr_t next_;
};

// Addresses that no process maps: a client that looks behind a handle faults.
auto& parsers = *new Handles<VideoParser>("video parser", 0x7a00'0000'0000'0000);
auto& decoders = *new Handles<VideoDecoder>("decoder", 0x7b00'0000'0000'0000);

template <size_t N, class T>
void expect_zero(const T (&reserved)[N], const char* what, size_t from = 0) {
  if (std::any_of(reserved + from, reserved + N, [](const T& value) { return value != T{}; }))
    violation(what, " is not zero: later drivers read it");
}

void expect_own_context(const VideoDecoder& decoder, const char* entry) {
  CUcontext current = current_context();
  if (current && current != decoder.context()) violation(entry, ": another context is current than the decoder's");
}

}  // namespace

EXPORT CUresult cuvidGetDecoderCaps(CUVIDDECODECAPS* caps) {
  if (CUresult error = enter(__func__)) return error;
  if (!caps) return CUDA_ERROR_INVALID_VALUE;
  expect_zero(caps->reserved1, "CUVIDDECODECAPS::reserved1");
  fill_caps(profile_of(current_context()), *caps);
  return CUDA_SUCCESS;
}

EXPORT CUresult cuvidCreateVideoParser(CUvideoparser* parser, CUVIDPARSERPARAMS* params) {
  if (CUresult error = enter(__func__, Need::nothing)) return error;
  if (!parser || !params || !params->pfnSequenceCallback || !params->pfnDecodePicture) return CUDA_ERROR_INVALID_VALUE;
  expect_zero(params->uReserved1, "CUVIDPARSERPARAMS::uReserved1");
  expect_zero(params->pvReserved2, "CUVIDPARSERPARAMS::pvReserved2", 1);
  if (!params->ulMaxNumDecodeSurfaces) violation("cuvidCreateVideoParser: ulMaxNumDecodeSurfaces is 0");
  if (!open_bitstream(params->CodecType, params->bAnnexb) || !SoftwareDecoder::supports(params->CodecType))
    return CUDA_ERROR_NOT_SUPPORTED;
  *parser = parsers.add(std::make_shared<VideoParser>(*params));
  return CUDA_SUCCESS;
}

EXPORT CUresult cuvidParseVideoData(CUvideoparser handle, CUVIDSOURCEDATAPACKET* packet) {
  if (CUresult error = enter(__func__, Need::nothing)) return error;
  auto parser = parsers.find(handle, __func__);
  if (!parser || !packet || (packet->payload_size && !packet->payload)) return CUDA_ERROR_INVALID_VALUE;
  trace("  packet of ", packet->payload_size, " bytes, flags ", packet->flags, ", timestamp ", packet->timestamp);
  return parser->parse(*packet);
}

EXPORT CUresult cuvidDestroyVideoParser(CUvideoparser handle) {
  CUresult fault = CUDA_SUCCESS;
  if (CUresult error = enter(__func__, Need::nothing, &fault)) return error;
  auto parser = parsers.find(handle, __func__);
  if (!parser) return CUDA_ERROR_INVALID_VALUE;
  if (parser->busy()) violation("cuvidDestroyVideoParser while the parser works");
  parsers.remove(handle);
  return fault;
}

EXPORT CUresult cuvidCreateDecoder(CUvideodecoder* decoder, CUVIDDECODECREATEINFO* info) {
  if (CUresult error = enter(__func__)) return error;
  if (!decoder || !info) return CUDA_ERROR_INVALID_VALUE;
  if (info->Reserved1) violation("CUVIDDECODECREATEINFO::Reserved1 is not zero: later drivers read it");
  expect_zero(info->Reserved2, "CUVIDDECODECREATEINFO::Reserved2");
  CUVIDDECODECAPS caps{};
  caps.eCodecType = info->CodecType;
  caps.eChromaFormat = info->ChromaFormat;
  caps.nBitDepthMinus8 = static_cast<unsigned>(info->bitDepthMinus8);
  fill_caps(profile_of(current_context()), caps);
  trace("  ", info->ulWidth, "x", info->ulHeight, " -> ", info->ulTargetWidth, "x", info->ulTargetHeight, ", ",
        info->ulNumDecodeSurfaces, " decode and ", info->ulNumOutputSurfaces, " output surfaces");
  if (CUresult error = check_create_info(*info, caps)) return error;
  auto created = std::make_shared<VideoDecoder>(*info);
  if (CUresult error = created->open()) return error;
  count("nvcuvid.decoders");
  *decoder = decoders.add(std::move(created));
  return CUDA_SUCCESS;
}

EXPORT CUresult cuvidDestroyDecoder(CUvideodecoder handle) {
  Need need = switches().destroy_needs_context ? Need::context : Need::context_wanted;
  CUresult fault = CUDA_SUCCESS;
  if (CUresult error = enter(__func__, need, &fault)) return error;
  auto decoder = decoders.find(handle, __func__);
  if (!decoder) return CUDA_ERROR_INVALID_HANDLE;
  expect_own_context(*decoder, __func__);
  if (size_t mapped = decoder->mapped()) violation("cuvidDestroyDecoder with ", mapped, " mapped frames");
  decoder->wait();
  decoders.remove(handle);
  return fault;
}

EXPORT CUresult cuvidDecodePicture(CUvideodecoder handle, CUVIDPICPARAMS* params) {
  if (CUresult error = enter(__func__)) return error;
  auto decoder = decoders.find(handle, __func__);
  if (!decoder) return CUDA_ERROR_INVALID_HANDLE;
  if (!params || !params->pBitstreamData || (params->nNumSlices && !params->pSliceDataOffsets))
    return CUDA_ERROR_INVALID_VALUE;
  expect_own_context(*decoder, __func__);
  expect_zero(params->Reserved, "CUVIDPICPARAMS::Reserved");
  return decoder->decode(*params);
}

EXPORT CUresult cuvidGetDecodeStatus(CUvideodecoder handle, int index, CUVIDGETDECODESTATUS* status) {
  if (CUresult error = enter(__func__)) return error;
  auto decoder = decoders.find(handle, __func__);
  if (!decoder) return CUDA_ERROR_INVALID_HANDLE;
  if (!status) return CUDA_ERROR_INVALID_VALUE;
  return decoder->status(index, *status);
}

EXPORT CUresult cuvidReconfigureDecoder(CUvideodecoder handle, CUVIDRECONFIGUREDECODERINFO* info) {
  if (CUresult error = enter(__func__)) return error;
  auto decoder = decoders.find(handle, __func__);
  if (!decoder) return CUDA_ERROR_INVALID_HANDLE;
  if (!info) return CUDA_ERROR_INVALID_VALUE;
  expect_own_context(*decoder, __func__);
  expect_zero(info->reserved1, "CUVIDRECONFIGUREDECODERINFO::reserved1");
  expect_zero(info->reserved2, "CUVIDRECONFIGUREDECODERINFO::reserved2");
  decoder->wait();
  return decoder->reconfigure(*info);
}

EXPORT CUresult cuvidMapVideoFrame64(CUvideodecoder handle, int index, unsigned long long* pointer, unsigned* pitch,
                                     CUVIDPROCPARAMS* params) {
  if (CUresult error = enter(__func__)) return error;
  auto decoder = decoders.find(handle, __func__);
  if (!decoder) return CUDA_ERROR_INVALID_HANDLE;
  if (!pointer || !pitch || !params) return CUDA_ERROR_INVALID_VALUE;
  expect_own_context(*decoder, __func__);
  expect_zero(params->Reserved, "CUVIDPROCPARAMS::Reserved");
  CUdeviceptr mapped = 0;
  CUresult result = decoder->map(index, *params, mapped, *pitch);
  if (result == CUDA_SUCCESS) *pointer = mapped;
  return result;
}

EXPORT CUresult cuvidUnmapVideoFrame64(CUvideodecoder handle, unsigned long long pointer) {
  Need need = switches().unmap_needs_context ? Need::context : Need::context_wanted;
  CUresult fault = CUDA_SUCCESS;
  if (CUresult error = enter(__func__, need, &fault)) return error;
  auto decoder = decoders.find(handle, __func__);
  if (!decoder) return CUDA_ERROR_INVALID_HANDLE;
  expect_own_context(*decoder, __func__);
  CUresult result = decoder->unmap(pointer);
  return result ? result : fault;
}
