#include "video_parser.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "driver.h"
#include "switches.h"

namespace emu {
namespace {

constexpr size_t retired_buffers = 64;
std::atomic<uint64_t> pictures_begun{0};

// The packet being parsed, even if a callback throws.
class Busy {
 public:
  explicit Busy(std::atomic<bool>& flag) : flag_(flag), entered_(!flag.exchange(true)) {}
  ~Busy() {
    if (entered_) flag_ = false;
  }
  bool entered() const { return entered_; }

 private:
  std::atomic<bool>& flag_;
  bool entered_;
};

}  // namespace

VideoParser::VideoParser(const CUVIDPARSERPARAMS& params)
    : params_(params),
      live_("parsers", nullptr),
      timestamps_(params.ulClockRate),
      announcements_(std::make_shared<Announcements>()) {
  announcements_->made = params.pfnDisplayPicture != nullptr;
  pool_.resize(params.ulMaxNumDecodeSurfaces);
  reset();
  if (const CUVIDEOFORMATEX* header = params.pExtVideoInfo)
    bitstream_->write({header->raw_seqhdr_data, header->format.seqhdr_data_length}, false, [](AccessUnit&&) {});
}

VideoParser::~VideoParser() {
  for (auto& buffer : retired_) forget_bitstream(buffer.data());
}

// As new, but for the surfaces that the last sequence callback gave it.
void VideoParser::reset() {
  if (!bitstream_ || switches().eos_forgets_headers) {
    bitstream_ = open_bitstream(params_.CodecType, params_.bAnnexb);
    software_ = std::make_unique<SoftwareDecoder>(params_.CodecType);
    timestamps_ = Timestamps(params_.ulClockRate);
  } else {
    software_->discard();
    timestamps_.drop_queued();
  }
  software_->on_begin = [this] { pool_.snapshot(); };
  pool_.clear();
  has_format_ = false;
  awaits_second_field_ = false;
  last_picture_.reset();
  previous_reference_.reset();
  av1_slots_ = {};
}

CUresult VideoParser::parse(const CUVIDSOURCEDATAPACKET& packet) {
  Busy busy(busy_);
  if (!busy.entered()) {
    violation("cuvidParseVideoData entered while another call works on the same parser");
    return CUDA_ERROR_UNKNOWN;
  }
  status_ = dead_ ? CUDA_ERROR_UNKNOWN : CUDA_SUCCESS;
  auto sink = [this](AccessUnit&& unit) { take_unit(std::move(unit)); };
  if (packet.flags & CUVID_PKT_DISCONTINUITY) discontinuity();
  if (packet.payload_size) {
    if (packet.flags & CUVID_PKT_TIMESTAMP) timestamps_.packet_starts(bitstream_->position(), packet.timestamp);
    count("nvcuvid.parsed_bytes", static_cast<int64_t>(packet.payload_size));
    bitstream_->write({packet.payload, packet.payload_size}, packet.flags & CUVID_PKT_ENDOFPICTURE, sink);
  } else if (packet.flags & CUVID_PKT_ENDOFPICTURE) {
    bitstream_->finish(sink);
  }
  if (size_t dropped = bitstream_->take_dropped())
    leniency("cuvidParseVideoData: ", dropped, " slices are ignored: their parameter sets are not known, or were",
             " forgotten at the end of stream");
  if (bitstream_->corrupt()) status_ = CUDA_ERROR_UNKNOWN;
  if (packet.flags & CUVID_PKT_ENDOFSTREAM) end_of_stream(packet.flags & CUVID_PKT_NOTIFY_EOS);
  return status_;
}

void VideoParser::end_of_stream(bool notify) {
  bitstream_->finish([this](AccessUnit&& unit) { take_unit(std::move(unit)); });
  flush_software_decoder();
  display_all();
  reset();
  if (notify && params_.pfnDisplayPicture && status_ == CUDA_SUCCESS)
    params_.pfnDisplayPicture(params_.pUserData, nullptr);
}

void VideoParser::discontinuity() {
  leniency("CUVID_PKT_DISCONTINUITY: what it does is not documented");
  if (switches().discontinuity == Discontinuity::none) return;
  bitstream_->finish([this](AccessUnit&& unit) { take_unit(std::move(unit)); });
  timestamps_.drop_queued();
  if (switches().discontinuity == Discontinuity::drain) {
    flush_software_decoder();
    display_all();
  }
}

void VideoParser::flush_software_decoder() {
  for (const PicturePtr& picture : software_->drain().output) queue(picture);
}

void VideoParser::display_all() {
  while (!display_queue_.empty() && display_oldest()) {
  }
}

// A callback failed. What the client sees of it is one of the open questions.
void VideoParser::fail() {
  if (switches().callback_failure == CallbackFailure::propagate) status_ = CUDA_ERROR_UNKNOWN;
}

void VideoParser::take_unit(AccessUnit&& unit) {
  if (dead_ || status_ != CUDA_SUCCESS) return;
  bool needs_idr = params_.CodecType == cudaVideoCodec_H264 && switches().h264_start == H264Start::idr;
  if (!has_format_ && needs_idr && !unit.starts_sequence) return;
  bool changes = !has_format_ || std::memcmp(&unit.format, &format_, sizeof format_) != 0;
  start_over(unit, changes && has_format_);
  if (changes && !begin_sequence(unit)) return;
  pool_.snapshot();
  Decoded decoded = decode_in_software(unit);
  if (unit.shows_existing) return show_existing(unit, decoded);
  // What comes out keeps its surface until it was displayed.
  for (const PicturePtr& picture : decoded.output) picture->queued = true;
  PicturePtr picture = begun_picture(unit, decoded);
  bool second_field = !picture && unit.field && awaits_second_field_;
  if (second_field) picture = last_picture_;
  awaits_second_field_ = unit.field && !second_field;
  if (picture && !decode(unit, picture, second_field, decoded.output)) std::erase(decoded.output, picture);
  last_picture_ = picture;
  for (const PicturePtr& output : decoded.output) queue(output);
}

// Where nothing earlier is referred to any more, what waits for output is displayed. Frames of VP8, VP9 and AV1 do
// not wait, and may change their size between keyframes.
void VideoParser::start_over(const AccessUnit& unit, bool changes) {
  bool reorders = params_.CodecType != cudaVideoCodec_VP8 && params_.CodecType != cudaVideoCodec_VP9 &&
                  params_.CodecType != cudaVideoCodec_AV1;
  if (!has_format_ || !reorders || !(unit.starts_sequence || changes)) return;
  if (unit.discard_prior) {
    software_->discard();
  } else {
    flush_software_decoder();
  }
}

Decoded VideoParser::decode_in_software(const AccessUnit& unit) {
  if (params_.CodecType == cudaVideoCodec_AV1) return decode_av1(unit);
  if (!unit.undecodable) return software_->decode(unit.data);
  Decoded nothing;
  auto format = unit.format.format.bit_depth_luma_minus8 ? AV_PIX_FMT_YUV420P10 : AV_PIX_FMT_YUV420P;
  nothing.begun.push_back(make_picture(format, unit.width, unit.height));
  if (switches().rasl == Rasl::show) nothing.output = nothing.begun;
  return nothing;
}

// Keeps the reference slots itself. A hidden frame has no samples until a later unit shows it.
Decoded VideoParser::decode_av1(const AccessUnit& unit) {
  Decoded decoded = software_->decode(unit.data);
  PicturePtr picture = unit.shows_existing      ? av1_slots_[static_cast<size_t>(unit.shown_slot)]
                       : decoded.output.empty() ? std::make_shared<Picture>()
                                                : decoded.output.front();
  if (!picture) return decoded;
  if (!unit.shows_existing) decoded.begun = {picture};
  if (unit.shows_existing && !decoded.output.empty()) {
    Picture& samples = *decoded.output.front();
    picture->format = samples.format;
    picture->width = samples.width;
    picture->height = samples.height;
    picture->planes = samples.planes;
    picture->pitches = samples.pitches;
    picture->memory = std::move(samples.memory);
    decoded.output.front() = picture;
  }
  for (size_t slot = 0; slot < av1_slots_.size(); ++slot) {
    if (!(unit.refreshes >> slot & 1)) continue;
    PicturePtr old = std::exchange(av1_slots_[slot], picture);
    if (old) old->in_dpb = std::find(av1_slots_.begin(), av1_slots_.end(), old) != av1_slots_.end();
  }
  picture->in_dpb = std::find(av1_slots_.begin(), av1_slots_.end(), picture) != av1_slots_.end();
  return decoded;
}

// Display without decode: the frame was decoded earlier, perhaps hidden.
void VideoParser::show_existing(const AccessUnit& unit, const Decoded& decoded) {
  for (const PicturePtr& picture : decoded.output) {
    if (auto stamp = timestamps_.take(unit.position)) {
      picture->timestamp = *stamp;
      picture->has_timestamp = true;
    }
    queue(picture);
  }
}

// True unless the client refused. Called for every change of the format, however small.
bool VideoParser::begin_sequence(const AccessUnit& unit) {
  display_all();
  format_ = unit.format;
  has_format_ = true;
  CUVIDEOFORMATEX told = format_;
  auto& needed = told.format.min_num_decode_surfaces;
  unsigned minimum = needed;
  if (!switches().report_min_surfaces) needed = 0;
  trace("  sequence ", told.format.coded_width, "x", told.format.coded_height, ", needs ", minimum, " surfaces");
  count("nvcuvid.sequence_callbacks");
  int answer = params_.pfnSequenceCallback(params_.pUserData, &told.format);
  if (answer <= 0) {
    dead_ = true;
    status_ = CUDA_ERROR_UNKNOWN;
    return false;
  }
  if (answer > 1) pool_.resize(static_cast<size_t>(answer));
  if (pool_.size() < minimum)
    violation("the parser may cycle through ", pool_.size(), " surfaces, but the stream needs ", minimum);
  std::lock_guard lock(announcements_->mutex);
  announcements_->by_index.resize(std::max(pool_.size(), announcements_->by_index.size()));
  return true;
}

// The picture of this access unit among the buffers that libavcodec asked for: it also makes up missing references,
// in H.264 before the picture itself (frame number gaps), elsewhere after it.
PicturePtr VideoParser::begun_picture(const AccessUnit& unit, const Decoded& decoded) {
  if (decoded.begun.empty()) return nullptr;
  const PicturePtr& picture = params_.CodecType == cudaVideoCodec_H264 ? decoded.begun.back() : decoded.begun.front();
  picture->number = ++pictures_begun;
  picture->reference = unit.reference;
  picture->intra = unit.intra;
  if (auto stamp = unit.shown ? timestamps_.take(unit.position) : std::nullopt) {
    picture->timestamp = *stamp;
    picture->has_timestamp = true;
  }
  if (!unit.starts_sequence) picture->previous_reference = previous_reference_;
  return picture;
}

// False: the client does not want the picture, and it is not displayed.
bool VideoParser::decode(AccessUnit& unit, const PicturePtr& picture, bool second_field,
                         std::vector<PicturePtr>& outputs) {
  if (!second_field && !give_index(picture, outputs)) return false;
  call_decode(unit, picture, second_field);
  picture->previous_reference.reset();
  if (picture->reference) previous_reference_ = picture;
  return picture->index >= 0;
}

// Where surfaces are short, what waits for display is displayed before its time.
bool VideoParser::give_index(const PicturePtr& picture, std::vector<PicturePtr>& outputs) {
  int index = pool_.pick(false);
  if (index < 0) {
    auto own = std::find(outputs.begin(), outputs.end(), picture);
    for (auto other = outputs.begin(); other != own; ++other) queue(*other);
    outputs.erase(outputs.begin(), own);
    index = pool_.pick(false);
  }
  while (index < 0 && !display_queue_.empty()) {
    if (!display_oldest()) return false;
    index = pool_.pick(false);
  }
  if (index < 0) index = pool_.pick(true);
  if (index < 0) {
    violation("no free surface among ", pool_.size(), ": pictures wait for display or serve as references");
    status_ = CUDA_ERROR_UNKNOWN;
    return false;
  }
  picture->index = index;
  pool_.assign(index, picture);
  return true;
}

void VideoParser::call_decode(AccessUnit& unit, const PicturePtr& picture, bool second_field) {
  CUVIDPICPARAMS params = unit.picture;
  params.PicWidthInMbs = (unit.width + 15) / 16;
  params.FrameHeightInMbs = (unit.height + 15) / 16;
  params.CurrPicIdx = picture->index;
  params.field_pic_flag = unit.field;
  params.bottom_field_flag = unit.bottom_field;
  params.second_field = second_field;
  params.nBitstreamDataLen = static_cast<unsigned>(unit.slices.size());
  params.nNumSlices = static_cast<unsigned>(unit.slice_offsets.size());
  params.pSliceDataOffsets = unit.slice_offsets.data();
  params.ref_pic_flag = unit.reference;
  params.intra_pic_flag = unit.intra;

  std::vector<uint8_t>& buffer = retired_.emplace_back(std::move(unit.slices));
  params.pBitstreamData = buffer.data();
  struct OnOffer {  // retired even if the callback throws
    std::vector<uint8_t>& buffer;
    ~OnOffer() {
      retire_bitstream(buffer.data());
      std::fill(buffer.begin(), buffer.end(), uint8_t{0xDB});
    }
  } on_offer{buffer};
  offer_bitstream(buffer.data(), {picture, announcements_});
  trace("  decode index ", picture->index, ", ", params.nNumSlices, " slices, ", params.nBitstreamDataLen, " bytes");
  count("nvcuvid.decode_callbacks");
  int answer = params_.pfnDecodePicture(params_.pUserData, &params);
  if (retired_.size() > retired_buffers) {
    forget_bitstream(retired_.front().data());
    retired_.pop_front();
  }
  if (answer > 0) return;
  picture->skipped = true;
  picture->queued = false;
  fail();
}

void VideoParser::queue(const PicturePtr& picture) {
  picture->queued = false;
  if (picture->index < 0 || picture->skipped) return;
  timestamps_.display(*picture, pool_.waiting(), format_.format);
  picture->queued = true;
  display_queue_.push_back(picture);
  while (display_queue_.size() > params_.ulMaxDisplayDelay && display_oldest()) {
  }
}

bool VideoParser::display_oldest() {
  PicturePtr picture = std::move(display_queue_.front());
  display_queue_.pop_front();
  CUVIDPARSERDISPINFO info{};
  info.picture_index = picture->index;
  info.progressive_frame = !picture->interlaced;
  info.top_field_first = picture->top_field_first;
  info.repeat_first_field = picture->repeat_first_field;
  info.timestamp = picture->timestamp;
  picture->displayed = true;
  struct Done {  // the surface is free once the callback is over, however it ends
    Picture& picture;
    ~Done() {
      picture.queued = false;
      picture.release();
    }
  } done{*picture};
  if (!params_.pfnDisplayPicture) return true;
  {
    std::lock_guard lock(announcements_->mutex);
    announcements_->by_index[static_cast<size_t>(picture->index)] = picture;
  }
  trace("  display index ", info.picture_index, ", timestamp ", info.timestamp);
  count("nvcuvid.display_callbacks", 1);
  if (params_.pfnDisplayPicture(params_.pUserData, &info) > 0) return true;
  fail();
  return status_ == CUDA_SUCCESS;
}

}  // namespace emu
