#include "video_decoder.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "driver.h"
#include "switches.h"
#include "video_format.h"

namespace emu {
namespace {

std::atomic<uint64_t> decoders_created{0};

// Counts pictures over all decoders, from when the switch was set to what it is.
bool is_damaged(int number) {
  static std::mutex mutex;
  static int set_to = -1, decoded = 0;
  std::lock_guard lock(mutex);
  if (std::exchange(set_to, number) != number) decoded = 0;
  return decoded++ == number;
}

template <typename T>
Rect rect_of(const T& area) {
  return {static_cast<int>(area.left), static_cast<int>(area.top), static_cast<int>(area.right),
          static_cast<int>(area.bottom)};
}

bool empty(const Rect& rect) { return rect.width() <= 0 || rect.height() <= 0; }

}  // namespace

VideoDecoder::VideoDecoder(const CUVIDDECODECREATEINFO& info)
    : info_(info), context_(current_context()), live_("decoders", context_), number_(++decoders_created) {
  if (!info_.ulMaxWidth) info_.ulMaxWidth = info_.ulWidth;
  if (!info_.ulMaxHeight) info_.ulMaxHeight = info_.ulHeight;
}

VideoDecoder::~VideoDecoder() { release(); }

// Luma and chroma of every decode surface, for the largest picture that the decoder may be reconfigured to.
size_t VideoDecoder::surface_bytes() const {
  size_t samples = round_up(static_cast<unsigned>(info_.ulMaxWidth), 16) * size_t{1} *
                   round_up(static_cast<unsigned>(info_.ulMaxHeight), 16);
  size_t bytes = info_.ChromaFormat == cudaVideoChromaFormat_444   ? samples * 3
                 : info_.ChromaFormat == cudaVideoChromaFormat_422 ? samples * 2
                                                                   : samples * 3 / 2;
  return bytes * (info_.bitDepthMinus8 ? 2 : 1) * info_.ulNumDecodeSurfaces;
}

CUresult VideoDecoder::open() {
  std::this_thread::sleep_for(std::chrono::milliseconds(switches().create_milliseconds));
  return allocate();
}

CUresult VideoDecoder::allocate() {
  layout_ =
      output_layout(info_.OutputFormat, static_cast<int>(info_.ulTargetWidth), static_cast<int>(info_.ulTargetHeight));
  surfaces_.assign(info_.ulNumDecodeSurfaces, {});
  outputs_.assign(info_.ulNumOutputSurfaces, {});
  CUresult result = emu::allocate(context_, surface_bytes(), "NVDEC decode surfaces", &surface_memory_);
  if (result == CUDA_SUCCESS) show_to_client(surface_memory_, false);
  for (Output& output : outputs_) {
    if (result != CUDA_SUCCESS) break;
    result = emu::allocate(context_, layout_.size(), "NVDEC output surface", &output.pointer);
    if (result == CUDA_SUCCESS) show_to_client(output.pointer, false);
  }
  if (result != CUDA_SUCCESS) release();
  return result;
}

void VideoDecoder::release() {
  if (surface_memory_) emu::release(surface_memory_);
  surface_memory_ = 0;
  for (Output& output : outputs_) {
    if (output.mapped) count_live("mapped_surfaces", -1);
    if (output.pointer) emu::release(output.pointer);
  }
  outputs_.clear();
  surfaces_.clear();
}

size_t VideoDecoder::mapped() const {
  std::lock_guard lock(mutex_);
  return static_cast<size_t>(std::count_if(outputs_.begin(), outputs_.end(), [](const Output& o) { return o.mapped; }));
}

CUresult VideoDecoder::decode(const CUVIDPICPARAMS& params) {
  std::lock_guard lock(mutex_);
  if (params.CurrPicIdx < 0 || static_cast<size_t>(params.CurrPicIdx) >= surfaces_.size()) {
    violation("cuvidDecodePicture: CurrPicIdx ", params.CurrPicIdx, " of a decoder with ", surfaces_.size(),
              " surfaces");
    return CUDA_ERROR_INVALID_VALUE;
  }
  Offer offer;
  BitstreamAddress address = find_bitstream(params.pBitstreamData, offer);
  if (address == BitstreamAddress::retired) {
    violation("cuvidDecodePicture: pBitstreamData belongs to a decode callback that has returned");
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (static_cast<unsigned>(params.PicWidthInMbs) * 16 > round_up(static_cast<unsigned>(info_.ulWidth), 16) ||
      static_cast<unsigned>(params.FrameHeightInMbs) * 16 > round_up(static_cast<unsigned>(info_.ulHeight), 32)) {
    violation("cuvidDecodePicture: a picture of ", params.PicWidthInMbs, "x", params.FrameHeightInMbs,
              " macroblocks in a decoder for ", info_.ulWidth, "x", info_.ulHeight);
    return CUDA_ERROR_INVALID_VALUE;
  }
  for (unsigned i = 0; i < params.nNumSlices; ++i)
    if (params.pSliceDataOffsets[i] >= params.nBitstreamDataLen) return CUDA_ERROR_INVALID_VALUE;
  count("nvcuvid.decodes", 1);
  count("nvcuvid.bitstream_bytes", static_cast<int64_t>(params.nBitstreamDataLen));
  std::this_thread::sleep_for(std::chrono::microseconds(switches().decode_microseconds));
  return store(params, offer);
}

// Pictures after a reference picture that this decoder did not decode are damaged until decoding can start again.
bool VideoDecoder::lacks_references(const Picture& picture) const {
  const Picture* reference = picture.previous_reference.get();
  return !picture.intra && reference && (reference->decoded_by != number_ || reference->tainted);
}

CUresult VideoDecoder::store(const CUVIDPICPARAMS& params, const Offer& offer) {
  Surface& surface = surfaces_[static_cast<size_t>(params.CurrPicIdx)];
  PicturePtr picture = offer.picture;
  if (picture) {
    if (picture->index != params.CurrPicIdx) violation("cuvidDecodePicture: CurrPicIdx was changed by the client");
    announcements_ = offer.announcements;
    if (lacks_references(*picture)) {
      violation("cuvidDecodePicture: an earlier reference picture was not decoded by this decoder");
      picture->tainted = true;
    }
    picture->decoded_by = number_;
  } else {
    if (!foreign_) foreign_ = open_picture_params(info_);
    if (!foreign_) return CUDA_ERROR_NOT_SUPPORTED;
    picture = foreign_->decode(params);
    if (!picture) return CUDA_ERROR_UNKNOWN;
  }
  bool second_field = params.second_field && surface.picture == picture;
  bool damaged = !second_field && is_damaged(switches().damaged_picture);
  surface = {picture, picture->tainted || damaged || (second_field && surface.garbled),
             damaged ? switches().damaged_status : surface.status, 0};
  if (!damaged && !second_field) surface.status = 0;
  return CUDA_SUCCESS;
}

CUresult VideoDecoder::status(int index, CUVIDGETDECODESTATUS& result) {
  std::lock_guard lock(mutex_);
  if (info_.CodecType != cudaVideoCodec_H264 && info_.CodecType != cudaVideoCodec_HEVC) return CUDA_ERROR_NOT_SUPPORTED;
  if (index < 0 || static_cast<size_t>(index) >= surfaces_.size()) return CUDA_ERROR_INVALID_VALUE;
  Surface& surface = surfaces_[static_cast<size_t>(index)];
  int status = surface.status;
  if (surface.picture && !status) status = surface.picture->error_status;
  if (!surface.picture) status = cuvidDecodeStatus_Invalid;
  if (surface.picture && !status) status = cuvidDecodeStatus_Success;
  if (surface.picture && surface.asked++ < switches().in_progress) status = cuvidDecodeStatus_InProgress;
  result.decodeStatus = static_cast<cuvidDecodeStatus>(status);
  return CUDA_SUCCESS;
}

// Compares the surface with the picture that the parser announced under this index.
void VideoDecoder::check_announcement(int index) {
  if (!announcements_ || !announcements_->made) return;
  std::lock_guard lock(announcements_->mutex);
  auto at = static_cast<size_t>(index);
  PicturePtr announced = at < announcements_->by_index.size() ? announcements_->by_index[at] : nullptr;
  const PicturePtr& held = surfaces_[at].picture;
  if (!announced) {
    violation("cuvidMapVideoFrame: picture index ", index, " was not announced by a display callback");
  } else if (announced != held) {
    bool skipped = announced->decoded_by != number_;
    violation("cuvidMapVideoFrame: surface ", index, " ",
              skipped ? "does not hold the picture announced: it was not decoded"
                      : "holds another picture than the one announced: it was decoded over");
  }
}

PostProcess VideoDecoder::job(const CUVIDPROCPARAMS& params) const {
  PostProcess job;
  job.layout = layout_;
  job.source = rect_of(info_.display_area);
  if (empty(job.source)) job.source = {0, 0, static_cast<int>(info_.ulWidth), static_cast<int>(info_.ulHeight)};
  job.target = rect_of(info_.target_rect);
  if (empty(job.target)) job.target = {0, 0, layout_.width, layout_.height};
  if (info_.DeinterlaceMode != cudaVideoDeinterlaceMode_Weave && !params.progressive_frame)
    job.field = (params.top_field_first != 0) != (params.second_field == 1) ? Field::top : Field::bottom;
  return job;
}

CUresult VideoDecoder::map(int index, const CUVIDPROCPARAMS& params, CUdeviceptr& pointer, unsigned& pitch) {
  std::lock_guard lock(mutex_);
  if (index < 0 || static_cast<size_t>(index) >= surfaces_.size()) {
    violation("cuvidMapVideoFrame: picture index ", index, " of a decoder with ", surfaces_.size(), " surfaces");
    return CUDA_ERROR_INVALID_VALUE;
  }
  const Surface& surface = surfaces_[static_cast<size_t>(index)];
  check_announcement(index);
  if (!surface.picture) {
    violation("cuvidMapVideoFrame: surface ", index, " was never decoded into");
    if (switches().undecoded_map_error != CUDA_SUCCESS) return switches().undecoded_map_error;
  }
  auto output = std::find_if(outputs_.begin(), outputs_.end(), [](const Output& o) { return !o.mapped; });
  if (output == outputs_.end()) {
    violation("cuvidMapVideoFrame: all ", outputs_.size(), " output surfaces are mapped");
    return switches().over_map_error;
  }
  auto* memory = reinterpret_cast<uint8_t*>(host_alias(output->pointer, layout_.size()));
  PostProcess work = job(params);
  work.garbled = surface.garbled;
  CUstream stream = params.output_stream;
  {
    std::lock_guard adding(pending_->mutex);
    ++pending_->jobs[stream];
  }
  auto run = [picture = surface.picture, work, memory, stream, pending = pending_] {
    if (picture && picture->memory) post_process(*picture, work, memory);
    std::lock_guard done(pending->mutex);
    if (--pending->jobs[stream] == 0) pending->jobs.erase(stream);
  };
  CUresult queued = enqueue(context_, stream, "NVDEC post-processing", run);
  if (queued != CUDA_SUCCESS) {
    std::lock_guard dropping(pending_->mutex);
    if (--pending_->jobs[stream] == 0) pending_->jobs.erase(stream);
  }
  if (queued != CUDA_SUCCESS) return queued;
  output->mapped = true;
  count_live("mapped_surfaces", 1);
  show_to_client(output->pointer, true);
  count("nvcuvid.maps", 1);
  pointer = output->pointer;
  pitch = static_cast<unsigned>(layout_.pitch);
  return CUDA_SUCCESS;
}

void VideoDecoder::wait() {
  std::vector<CUstream> streams;
  {
    std::lock_guard lock(pending_->mutex);
    for (auto& [stream, jobs] : pending_->jobs) streams.push_back(stream);
  }
  for (CUstream stream : streams)
    if (is_alive(context_)) synchronize(context_, stream);
}

CUresult VideoDecoder::unmap(CUdeviceptr pointer) {
  std::lock_guard lock(mutex_);
  for (Output& output : outputs_)
    if (output.pointer == pointer && output.mapped) {
      output.mapped = false;
      count_live("mapped_surfaces", -1);
      show_to_client(pointer, false);
      count("nvcuvid.unmaps", 1);
      return CUDA_SUCCESS;
    }
  violation("cuvidUnmapVideoFrame: ", pointer, " is not mapped");
  return CUDA_ERROR_INVALID_VALUE;
}

CUresult VideoDecoder::reconfigure(const CUVIDRECONFIGUREDECODERINFO& info) {
  if (size_t open = mapped()) {
    violation("cuvidReconfigureDecoder with ", open, " mapped frames");
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::lock_guard lock(mutex_);
  if (info.ulWidth > info_.ulMaxWidth || info.ulHeight > info_.ulMaxHeight || !info.ulWidth || !info.ulHeight ||
      !info.ulTargetWidth || !info.ulTargetHeight || !info.ulNumDecodeSurfaces || info.ulNumDecodeSurfaces > 32)
    return CUDA_ERROR_INVALID_VALUE;
  info_.ulWidth = info.ulWidth;
  info_.ulHeight = info.ulHeight;
  info_.ulTargetWidth = info.ulTargetWidth;
  info_.ulTargetHeight = info.ulTargetHeight;
  info_.ulNumDecodeSurfaces = info.ulNumDecodeSurfaces;
  auto copy = [](auto& to, const auto& from) { to = {from.left, from.top, from.right, from.bottom}; };
  copy(info_.display_area, info.display_area);
  copy(info_.target_rect, info.target_rect);
  foreign_.reset();
  announcements_.reset();
  release();
  return allocate();
}

CUresult check_create_info(const CUVIDDECODECREATEINFO& info, const CUVIDDECODECAPS& caps) {
  if (!caps.bIsSupported || info.OutputFormat > 15 || !(caps.nOutputFormatMask >> info.OutputFormat & 1))
    return CUDA_ERROR_NOT_SUPPORTED;
  if (info.ulWidth < caps.nMinWidth || info.ulHeight < caps.nMinHeight || info.ulWidth > caps.nMaxWidth ||
      info.ulHeight > caps.nMaxHeight || (info.ulWidth >> 4) * (info.ulHeight >> 4) > caps.nMaxMBCount)
    return CUDA_ERROR_INVALID_VALUE;
  if (info.ulNumDecodeSurfaces < 1 || info.ulNumDecodeSurfaces > 32) {
    violation("cuvidCreateDecoder: ", info.ulNumDecodeSurfaces, " decode surfaces; 1 to 32 are allowed");
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (info.ulNumOutputSurfaces < 1 || info.ulNumOutputSurfaces > 64) {
    violation("cuvidCreateDecoder: ", info.ulNumOutputSurfaces, " output surfaces; 1 to 64 are allowed");
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (!info.ulTargetWidth || !info.ulTargetHeight) return CUDA_ERROR_INVALID_VALUE;
  if (info.ulTargetWidth % 2 || info.ulTargetHeight % 2) {
    leniency("cuvidCreateDecoder: target ", info.ulTargetWidth, "x", info.ulTargetHeight,
             " is odd; it should be aligned to 2");
    if (!switches().odd_targets) return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

}  // namespace emu
