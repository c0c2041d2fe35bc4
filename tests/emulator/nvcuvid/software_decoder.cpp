#include "software_decoder.h"

#include <cstring>
#include <stdexcept>

extern "C" {
#include <libavutil/imgutils.h>
}

namespace emu {
namespace {

AVCodecID codec_id(cudaVideoCodec codec) {
  switch (codec) {
    case cudaVideoCodec_MPEG1:
      return AV_CODEC_ID_MPEG1VIDEO;
    case cudaVideoCodec_MPEG2:
      return AV_CODEC_ID_MPEG2VIDEO;
    case cudaVideoCodec_MPEG4:
      return AV_CODEC_ID_MPEG4;
    case cudaVideoCodec_H264:
      return AV_CODEC_ID_H264;
    case cudaVideoCodec_HEVC:
      return AV_CODEC_ID_HEVC;
    case cudaVideoCodec_VP8:
      return AV_CODEC_ID_VP8;
    case cudaVideoCodec_VP9:
      return AV_CODEC_ID_VP9;
    case cudaVideoCodec_AV1:
      return AV_CODEC_ID_AV1;
    default:
      return AV_CODEC_ID_NONE;
  }
}

const AVCodec* find_decoder(cudaVideoCodec codec) {
  AVCodecID id = codec_id(codec);
  // FFmpeg's own "av1" decoder works with hardware only.
  return id == AV_CODEC_ID_AV1 ? avcodec_find_decoder_by_name("libdav1d") : avcodec_find_decoder(id);
}

constexpr int poison = 0xEE;

}  // namespace

PicturePtr make_picture(AVPixelFormat format, int width, int height) {
  constexpr int align = 64;
  auto picture = std::make_shared<Picture>();
  picture->format = format;
  picture->width = width;
  picture->height = height;
  // Room for what decoders write beyond the picture: macroblocks and edges.
  int padded_width = FFALIGN(width + align, align), padded_height = FFALIGN(height, 32) + 32;
  int size = av_image_get_buffer_size(format, padded_width, padded_height, align);
  if (size < 0) throw std::runtime_error("software decoder: no memory layout for its pixel format");
  picture->memory = std::make_unique<uint8_t[]>(static_cast<size_t>(size) + 2 * align);
  std::memset(picture->memory.get(), poison, static_cast<size_t>(size) + 2 * align);
  auto start = (reinterpret_cast<uintptr_t>(picture->memory.get()) + align - 1) / align * align;
  av_image_fill_arrays(picture->planes.data(), picture->pitches.data(), reinterpret_cast<uint8_t*>(start), format,
                       padded_width, padded_height, align);
  return picture;
}

bool SoftwareDecoder::supports(cudaVideoCodec codec) { return find_decoder(codec) != nullptr; }

SoftwareDecoder::SoftwareDecoder(cudaVideoCodec codec, Bytes extradata) {
  const AVCodec* decoder = find_decoder(codec);
  context_ = avcodec_alloc_context3(decoder);
  context_->opaque = this;
  context_->get_buffer2 = get_buffer;
  context_->thread_count = 1;
  context_->thread_type = 0;
  context_->apply_cropping = 0;
  context_->flags |= AV_CODEC_FLAG_OUTPUT_CORRUPT;
  context_->flags2 |= AV_CODEC_FLAG2_SHOW_ALL;  // a picture with missing references is shown too
  // Without a limit in the stream, H.264 pictures wait for as many others as the level allows, not as a guess says.
  context_->strict_std_compliance = FF_COMPLIANCE_STRICT;
  if (codec == cudaVideoCodec_AV1) context_->flags |= AV_CODEC_FLAG_LOW_DELAY;
  if (!extradata.empty()) {
    context_->extradata = static_cast<uint8_t*>(av_mallocz(extradata.size() + AV_INPUT_BUFFER_PADDING_SIZE));
    std::memcpy(context_->extradata, extradata.data(), extradata.size());
    context_->extradata_size = static_cast<int>(extradata.size());
  }
  av_log_set_level(AV_LOG_QUIET);
  avcodec_open2(context_, decoder, nullptr);
  frame_ = av_frame_alloc();
  packet_ = av_packet_alloc();
}

SoftwareDecoder::~SoftwareDecoder() {
  av_frame_free(&frame_);
  av_packet_free(&packet_);
  avcodec_free_context(&context_);
}

Decoded SoftwareDecoder::decode(Bytes unit) {
  std::vector<uint8_t> padded(unit.size() + AV_INPUT_BUFFER_PADDING_SIZE);
  std::copy(unit.begin(), unit.end(), padded.begin());
  packet_->data = padded.data();
  packet_->size = static_cast<int>(unit.size());
  packet_->pts = packet_->dts = sent_++;
  begun_.clear();
  Decoded result;
  avcodec_send_packet(context_, packet_);  // a damaged unit is an error here and a picture that never begins
  receive(result);
  return result;
}

Decoded SoftwareDecoder::drain() {
  begun_.clear();
  Decoded result;
  avcodec_send_packet(context_, nullptr);
  receive(result);
  avcodec_flush_buffers(context_);
  return result;
}

void SoftwareDecoder::discard() { avcodec_flush_buffers(context_); }

void SoftwareDecoder::receive(Decoded& result) {
  while (avcodec_receive_frame(context_, frame_) >= 0) {
    if (PicturePtr picture = picture_of(*frame_)) {
      picture->interlaced = frame_->interlaced_frame;
      picture->top_field_first = frame_->interlaced_frame ? frame_->top_field_first : true;
      picture->repeat_first_field = frame_->repeat_pict;
      if (frame_->decode_error_flags) picture->error_status = cuvidDecodeStatus_Error_Concealed;
      result.output.push_back(std::move(picture));
    }
    av_frame_unref(frame_);
  }
  result.begun = std::move(begun_);
  begun_.clear();
  std::erase_if(by_memory_, [](const auto& entry) { return entry.second.expired(); });
}

// libdav1d brings its own memory: its output is copied into a picture of ours.
PicturePtr SoftwareDecoder::picture_of(const AVFrame& frame) {
  auto known = frame.buf[0] ? by_memory_.find(frame.buf[0]->data) : by_memory_.end();
  if (known != by_memory_.end()) return known->second.lock();
  PicturePtr copy = make_picture(static_cast<AVPixelFormat>(frame.format), frame.width, frame.height);
  av_image_copy(copy->planes.data(), copy->pitches.data(), const_cast<const uint8_t**>(frame.data), frame.linesize,
                copy->format, frame.width, frame.height);
  return copy;
}

int SoftwareDecoder::get_buffer(AVCodecContext* context, AVFrame* frame, int) {
  auto* self = static_cast<SoftwareDecoder*>(context->opaque);
  int width = frame->width, height = frame->height, alignment[AV_NUM_DATA_POINTERS];
  avcodec_align_dimensions2(context, &width, &height, alignment);
  PicturePtr picture = make_picture(static_cast<AVPixelFormat>(frame->format), width, height);
  picture->width = frame->width;
  picture->height = frame->height;
  picture->in_dpb = true;
  if (self->on_begin && self->begun_.empty()) self->on_begin();
  for (size_t i = 0; i < 4; ++i) {
    frame->data[i] = picture->planes[i];
    frame->linesize[i] = picture->pitches[i];
  }
  frame->extended_data = frame->data;
  // The reference belongs to the buffer, so that the samples live as long as libavcodec needs them.
  auto* reference = new PicturePtr(picture);
  frame->buf[0] = av_buffer_create(picture->memory.get(), 1, release_buffer, reference, 0);
  self->by_memory_[picture->memory.get()] = picture;
  self->begun_.push_back(std::move(picture));
  return 0;
}

void SoftwareDecoder::release_buffer(void* opaque, uint8_t*) {
  auto* reference = static_cast<PicturePtr*>(opaque);
  (*reference)->in_dpb = false;
  (*reference)->release();
  delete reference;
}

}  // namespace emu
