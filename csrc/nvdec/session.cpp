#include "nvdec/session.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "core/error.h"
#include "nvdec/driver.h"

namespace frametap {
namespace {

// Pictures the parser may hold back after they are decoded, so that NVDEC works on while one is mapped.
constexpr unsigned kDisplayDelay = 3;
// Between two questions whether a picture is decoded.
constexpr std::chrono::microseconds kStatusPause{100};

/// One mapped surface; unmapped at the end of the scope. The next map is on the same stream, so the driver overwrites
/// it only after the kernels that read it.
class MappedSurface {
 public:
  MappedSurface(nvcuvid::Decoder decoder, const nvcuvid::DisplayInfo& info, CUstream stream) : decoder_(decoder) {
    nvcuvid::MapParams params{};
    params.progressive_frame = info.progressive_frame;
    params.second_field = info.repeat_first_field + 1;
    params.top_field_first = info.top_field_first;
    params.unpaired_field = info.repeat_first_field < 0;
    params.output_stream = stream;
    FRAMETAP_CU(cuvidMapVideoFrame64, decoder_, info.picture_index, &address_, &pitch_, &params);
  }
  ~MappedSurface() {
    if (address_ != 0) {
      driver().cuvidUnmapVideoFrame64(decoder_, address_);
    }
  }
  MappedSurface(const MappedSurface&) = delete;
  MappedSurface& operator=(const MappedSurface&) = delete;

  uint64_t address() const { return address_; }
  unsigned pitch() const { return pitch_; }
  void unmap() { FRAMETAP_CU(cuvidUnmapVideoFrame64, decoder_, std::exchange(address_, 0)); }

 private:
  nvcuvid::Decoder decoder_;
  unsigned long long address_ = 0;
  unsigned pitch_ = 0;
};

unsigned bit_depth(const nvcuvid::VideoFormat& format) {
  return 8U + std::max(format.bit_depth_luma_minus8, format.bit_depth_chroma_minus8);
}

/// The surface format of full precision for a chroma format and depth, and FFmpeg's name of its layout.
std::pair<nvcuvid::SurfaceFormat, std::string> surface_layout(const nvcuvid::VideoFormat& format) {
  const unsigned depth = bit_depth(format);
  check<UnsupportedError>(depth == 8 || depth == 10 || depth == 12, "NVDEC does not decode ", depth, " bits");
  const std::string deep = depth == 10 ? "10" : "12";  // P016 and its kin hold them in the high bits
  switch (format.chroma_format) {
    case nvcuvid::k420:
      return depth == 8 ? std::pair{nvcuvid::kNv12, std::string("nv12")}
                        : std::pair{nvcuvid::kP016, "p0" + deep + "le"};
    case nvcuvid::k422:
      return depth == 8 ? std::pair{nvcuvid::kNv16, std::string("nv16")}
                        : std::pair{nvcuvid::kP216, "p2" + deep + "le"};
    case nvcuvid::k444:
      return depth == 8 ? std::pair{nvcuvid::kYuv444, std::string("yuv444p")}
                        : std::pair{nvcuvid::kYuv444Deep, "yuv444p" + deep + "msble"};
    default:
      fail<UnsupportedError>("what NVDEC puts into the chroma planes of a monochrome stream is not documented");
  }
}

/// Where FFmpeg lets a cropped picture begin: it keeps each row's start at a multiple of 32 bytes, giving up columns at
/// the left, so that device="cuda" and device="cpu" see the same picture.
int aligned_left(int left, const nvcuvid::VideoFormat& format) {
  const int bytes = bit_depth(format) > 8 ? 2 : 1;
  const int narrowest =
      format.chroma_format == nvcuvid::k444 ? 1 : 2;  // chroma samples are this many luma samples wide
  return left / (32 * narrowest / bytes) * (32 * narrowest / bytes);
}

/// Whether a decoder goes on for a sequence of the wanted format: more surfaces than it needs do no harm.
bool fits(const DecoderFormat& decoder, DecoderFormat wanted) {
  wanted.surfaces = std::max(wanted.surfaces, decoder.surfaces);
  return decoder == wanted;
}

}  // namespace

NvdecSession::NvdecSession(std::shared_ptr<Device> device, nvcuvid::Codec codec)
    : device_(std::move(device)), codec_(codec), stream_(device_) {}

NvdecSession::~NvdecSession() { abandon(); }

template <class Info, int (NvdecSession::*handle)(Info&)>
int NvdecSession::callback(void* session, Info* info) {
  auto& self = *static_cast<NvdecSession*>(session);
  if (info == nullptr) {
    return 1;
  }
  if (self.error_) {
    return 0;
  }
  try {
    return (self.*handle)(*info);
  } catch (...) {
    self.error_ = std::current_exception();
    return 0;
  }
}

void NvdecSession::begin(FormatCallback on_format, bool judge_all) {
  abandon();
  judge_all_ = judge_all;
  on_format_ = std::move(on_format);
  error_ = nullptr;
  format_ = {};
  damaged_ = false;
  wanted_.clear();
  converted_.clear();
  nvcuvid::ParserParams params{};
  params.codec = codec_;
  params.max_num_decode_surfaces = 1;  // replaced by what on_sequence returns
  params.max_display_delay = kDisplayDelay;
  params.user_data = this;
  params.on_sequence = callback<nvcuvid::VideoFormat, &NvdecSession::on_sequence>;
  params.on_decode = callback<nvcuvid::PictureParams, &NvdecSession::on_decode>;
  params.on_display = callback<nvcuvid::DisplayInfo, &NvdecSession::on_display>;
  const ContextScope scope(*device_);
  FRAMETAP_CU(cuvidCreateVideoParser, &parser_, &params);
}

void NvdecSession::feed(std::span<const uint8_t> packet, int64_t timestamp) {
  check<ArgumentError>(parser_ != nullptr, "feed() outside a run");
  const ContextScope scope(*device_);
  parse(packet, nvcuvid::kTimestamp, timestamp);
}

void NvdecSession::pause() noexcept {
  if (decoder_) {
    device_->decoders().pause(*decoder_);
  }
}

void NvdecSession::resume() {
  driver();  // refuses forked children, where nobody is left to wait for
  if (decoder_) {
    device_->decoders().resume(*decoder_);
  }
}

void NvdecSession::finish() {
  check<ArgumentError>(parser_ != nullptr, "finish() outside a run");
  const ContextScope scope(*device_);
  parse({}, nvcuvid::kEndOfStream, 0);
  for (size_t surface = 0; judge_all_ && surface < unchecked_.size(); ++surface) {
    check_status(static_cast<int>(surface));
  }
  destroy_parser();
  release_decoder();
  on_format_ = nullptr;
}

void NvdecSession::abandon() noexcept {
  const CleanupScope scope(*device_);
  if (scope) {
    destroy_parser();
    if (decoder_) {
      driver().cuStreamSynchronize(stream_.handle());  // its output surfaces may still be read
      device_->decoders().discard(std::move(decoder_));
    }
  }
  unchecked_.fill(false);
  wanted_.clear();
  on_format_ = nullptr;  // what it refers to may refer to this session
}

std::vector<int64_t> NvdecSession::take_converted() { return std::exchange(converted_, {}); }

void NvdecSession::parse(std::span<const uint8_t> data, unsigned long flags, int64_t timestamp) {
  nvcuvid::SourcePacket packet{flags, data.size(), data.data(), timestamp};
  const CUresult result = driver().cuvidParseVideoData(parser_, &packet);
  // A callback's own error says more than the parser's, which need not even report that one failed.
  if (error_) {
    std::rethrow_exception(std::exchange(error_, nullptr));
  }
  check_cuda(result, "cuvidParseVideoData");
}

void NvdecSession::destroy_parser() noexcept {
  if (parser_ != nullptr) {
    driver().cuvidDestroyVideoParser(std::exchange(parser_, nullptr));
  }
}

void NvdecSession::release_decoder() {
  unchecked_.fill(false);
  if (decoder_) {
    decoder_->end_use(stream_.handle());
    device_->decoders().release(std::move(decoder_));
  }
}

int NvdecSession::on_sequence(nvcuvid::VideoFormat& format) {
  use_decoder_for(format);
  display_area_ = format.display_area;
  display_area_.left = aligned_left(display_area_.left, format);
  SurfaceFormat found;
  found.width = display_area_.right - display_area_.left;
  found.height = display_area_.bottom - display_area_.top;
  found.pixel_format = surface_layout(format).second;
  check<DecodeError>(found.width > 0 && found.height > 0, "the stream crops its pictures to nothing");
  if (found != format_) {
    format_ = found;
    on_format_(format_);
  }
  return static_cast<int>(decoder_->format().surfaces);
}

void NvdecSession::use_decoder_for(const nvcuvid::VideoFormat& format) {
  DecoderFormat wanted;
  wanted.codec = codec_;
  wanted.chroma = format.chroma_format;
  wanted.output = surface_layout(format).first;
  wanted.bit_depth = bit_depth(format);
  wanted.width = format.coded_width;
  wanted.height = format.coded_height;
  // The driver need not say how many; how many pictures a parser keeps waiting beyond its references is its own affair.
  const unsigned needed =
      format.min_num_decode_surfaces != 0 ? format.min_num_decode_surfaces : nvcuvid::kMaxDecodeSurfaces;
  wanted.surfaces = std::min(needed + kDisplayDelay, nvcuvid::kMaxDecodeSurfaces);
  if (decoder_ && fits(decoder_->format(), wanted)) {
    return;
  }
  check<UnsupportedError>(decoder_ == nullptr || (codec_ != nvcuvid::kVp9 && codec_ != nvcuvid::kAv1),
                          "the pictures change their size where others refer to them");
  check<UnsupportedError>(wanted.width % 2 == 0 && wanted.height % 2 == 0,
                          "NVDEC's output sizes are even, and a picture of ", wanted.width, "x", wanted.height,
                          " would be scaled");
  const nvcuvid::DecodeCaps caps = device_->caps(codec_, wanted.chroma, static_cast<int>(wanted.bit_depth));
  check<UnsupportedError>(caps.is_supported != 0 && (caps.output_format_mask >> wanted.output & 1U) != 0 &&
                              wanted.width >= caps.min_width && wanted.width <= caps.max_width &&
                              wanted.height >= caps.min_height && wanted.height <= caps.max_height &&
                              (wanted.width / 16) * (wanted.height / 16) <= caps.max_macroblocks,
                          "NVDEC of ", device_->name(), " does not decode ", wanted.width, "x", wanted.height, " at ",
                          wanted.bit_depth, " bits");
  release_decoder();
  decoder_ = device_->decoders().acquire(wanted, stream_.handle());
}

int NvdecSession::on_decode(nvcuvid::PictureParams& picture) {
  check<DecodeError>(decoder_ != nullptr, "a picture came before the headers of its sequence");
  const int surface = picture.picture_index;
  check<DecodeError>(surface >= 0 && surface < static_cast<int>(decoder_->format().surfaces),
                     "the parser names surface ", surface, " of ", decoder_->format().surfaces);
  if (picture.second_field == 0) {
    if (judge_all_) {
      check_status(surface);  // of the picture before in this surface, which is overwritten now
    }
    ++decoded_;
  }
  const CUresult result = driver().cuvidDecodePicture(decoder_->handle(), &picture);
  if (result == CUDA_ERROR_INVALID_VALUE) {  // what damaged headers lead to: parameters that make no sense
    fail<DecodeError>(cuda_failure(result, "cuvidDecodePicture"));
  }
  check_cuda(result, "cuvidDecodePicture");
  unchecked_[static_cast<size_t>(surface)] = true;
  return 1;
}

int NvdecSession::on_display(nvcuvid::DisplayInfo& info) {
  const auto found = wanted_.find(info.timestamp);
  if (found != wanted_.end()) {
    convert(info, found->second);
    check_status(info.picture_index);
    wanted_.erase(found);
    converted_.push_back(info.timestamp);
    ++mapped_;
  }
  return 1;
}

void NvdecSession::convert(const nvcuvid::DisplayInfo& info, const Slot& slot) {
  MappedSurface surface(decoder_->handle(), info, stream_.handle());
  stream_.convert(*slot.converter, planes_of(surface.address(), surface.pitch()), slot.out);
  surface.unmap();
}

std::array<Plane, 3> NvdecSession::planes_of(uint64_t surface, unsigned pitch) const {
  // One allocation of one pitch: the luma rows, rounded up to even, then the chroma rows, without a gap.
  const DecoderFormat& format = decoder_->format();
  const int bytes = format.bit_depth > 8 ? 2 : 1;
  const uint64_t plane_bytes = static_cast<uint64_t>(pitch) * ((format.height + 1) & ~1U);
  const auto at = [&](uint64_t plane, int top) {
    const uint64_t address = surface + plane * plane_bytes + static_cast<uint64_t>(top) * pitch +
                             static_cast<uint64_t>(display_area_.left * bytes);
    return Plane{reinterpret_cast<const uint8_t*>(static_cast<uintptr_t>(address)), static_cast<ptrdiff_t>(pitch)};
  };
  const int top = display_area_.top;
  const int chroma_top = format.chroma == nvcuvid::k420 ? top / 2 : top;
  return {at(0, top), at(1, chroma_top), format.chroma == nvcuvid::k444 ? at(2, top) : Plane{}};
}

void NvdecSession::check_status(int surface) {
  // Only these codecs have a status (Video Decoder API guide, 4.2.6).
  const bool has_status = codec_ == nvcuvid::kH264 || codec_ == nvcuvid::kHevc;
  bool& unchecked = unchecked_[static_cast<size_t>(surface)];
  if (!decoder_ || !unchecked || !has_status) {
    return;
  }
  nvcuvid::StatusInfo info{};
  do {  // until NVDEC is done with it: the next picture in this surface takes the place of what is known of this one
    if (info.status == nvcuvid::kInProgress) {
      std::this_thread::sleep_for(kStatusPause);
    }
    FRAMETAP_CU(cuvidGetDecodeStatus, decoder_->handle(), surface, &info);
  } while (info.status == nvcuvid::kInProgress);
  unchecked = false;
  damaged_ = damaged_ || info.status == nvcuvid::kError || info.status == nvcuvid::kErrorConcealed;
}

}  // namespace frametap
