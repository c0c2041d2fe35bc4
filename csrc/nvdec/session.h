// Decodes runs of packets with NVDEC and converts the wanted pictures, straight from the surfaces they are decoded
// into.
#pragma once

#include <array>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "nvdec/convert_stream.h"
#include "nvdec/decoder_pool.h"
#include "nvdec/device.h"

namespace frametap {

/// What the pictures of a sequence are, as the stream's headers say; but for colour, which the parser guesses where
/// they do not.
struct SurfaceFormat {
  int width = 0, height = 0;  // of the picture, cropped as the stream says
  std::string pixel_format;   // FFmpeg's name of how a surface is laid out: nv12, p010le, yuv444p, ...

  bool operator==(const SurfaceFormat&) const = default;
};

/// A stream, a parser and, while a run is decoded, a decoder. One thread at a time.
///
/// A run: begin(), feed() its packets, finish(). Each picture that leaves the parser in display order and was asked for
/// is mapped, converted into its slot and unmapped, all on the session's stream; no other picture is mapped. Whatever
/// fails ends the run and is thrown; the decoder is then destroyed, never reused. Work may still be in flight when
/// finish() returns: stream().order_after() makes another stream wait for it.
class NvdecSession {
 public:
  struct Slot {
    std::shared_ptr<const CudaConverter> converter;
    uint64_t out = 0;  // device address
  };
  /// Called when a sequence begins; sets the slots that are wanted from here on by want().
  using FormatCallback = std::function<void(const SurfaceFormat&)>;

  NvdecSession(std::shared_ptr<Device> device, nvcuvid::Codec codec);
  ~NvdecSession();
  NvdecSession(const NvdecSession&) = delete;
  NvdecSession& operator=(const NvdecSession&) = delete;

  /// Starts a run with a new parser, which knows nothing of the run before: its first packet must carry the parameter
  /// sets.
  /// judge_all: whether damage in pictures nobody wants counts too, since others may refer to them.
  void begin(FormatCallback on_format, bool judge_all);
  /// Asks for the picture with this timestamp.
  void want(int64_t timestamp, Slot slot) { wanted_[timestamp] = std::move(slot); }
  /// Feeds one packet, in the form of an elementary stream: Annex B for H.264 and HEVC. Timestamps must be unique and
  /// rise in display order: with falling ones the parser takes them for decoding times and hands out others.
  void feed(std::span<const uint8_t> packet, int64_t timestamp);
  /// Between two calls of feed(): lets others use the engine while the caller does something else. resume() may wait.
  void pause() noexcept;
  void resume();
  /// Drains: every picture fed is displayed. The run is over.
  void finish();
  /// Ends a run without draining; the decoder is not reused.
  void abandon() noexcept;

  /// Timestamps of the pictures converted since the last call.
  std::vector<int64_t> take_converted();
  /// Whether NVDEC reported an error in a picture of this run, wanted or not: others may refer to it.
  bool damaged() const { return damaged_; }

  /// Where the pictures are converted, to be ordered with the streams of others.
  ConvertStream& stream() { return stream_; }

  int64_t decoded() const { return decoded_; }
  int64_t mapped() const { return mapped_; }

 private:
  template <class Info, int (NvdecSession::*handle)(Info&)>
  static int callback(void* session, Info* info);
  int on_sequence(nvcuvid::VideoFormat& format);
  int on_decode(nvcuvid::PictureParams& picture);
  int on_display(nvcuvid::DisplayInfo& info);

  void parse(std::span<const uint8_t> data, unsigned long flags, int64_t timestamp);
  void use_decoder_for(const nvcuvid::VideoFormat& format);
  void release_decoder();
  void destroy_parser() noexcept;
  void convert(const nvcuvid::DisplayInfo& info, const Slot& slot);
  std::array<Plane, 3> planes_of(uint64_t surface, unsigned pitch) const;
  void check_status(int surface);

  std::shared_ptr<Device> device_;
  nvcuvid::Codec codec_;
  ConvertStream stream_;
  nvcuvid::Parser parser_ = nullptr;
  std::unique_ptr<NvDecoder> decoder_;
  FormatCallback on_format_;
  std::exception_ptr error_;  // of a callback; exceptions must not pass through the driver
  nvcuvid::Rect32 display_area_{};
  SurfaceFormat format_;
  std::unordered_map<int64_t, Slot> wanted_;
  std::vector<int64_t> converted_;
  std::array<bool, nvcuvid::kMaxDecodeSurfaces> unchecked_{};  // surfaces whose decode status was not asked yet
  bool judge_all_ = true, damaged_ = false;
  int64_t decoded_ = 0, mapped_ = 0;
};

}  // namespace frametap
