// NVDEC decoders, kept between runs: making one takes tens of milliseconds and a good part of the GPU's memory.
#pragma once

#include <compare>
#include <condition_variable>
#include <cstddef>
#include <list>
#include <memory>
#include <mutex>

#include "nvdec/device.h"
#include "nvdec/nvcuvid.h"

namespace frametap {

/// All that cuvidCreateDecoder depends on: two streams with equal formats may use the same decoder.
/// The decoder always puts out the whole coded picture, unscaled; cropping is the conversion's business.
struct DecoderFormat {
  nvcuvid::Codec codec{};
  nvcuvid::ChromaFormat chroma{};
  nvcuvid::SurfaceFormat output{};
  unsigned bit_depth = 8;
  unsigned width = 0, height = 0;  // coded
  unsigned surfaces = 0;           // decode surfaces

  auto operator<=>(const DecoderFormat&) const = default;
};

/// One cuvid decoder. Used by one thread at a time.
class NvDecoder {
 public:
  NvDecoder(Device& device, const DecoderFormat& format);
  ~NvDecoder();
  NvDecoder(const NvDecoder&) = delete;
  NvDecoder& operator=(const NvDecoder&) = delete;

  nvcuvid::Decoder handle() const { return decoder_; }
  /// For the change of hands: what `stream` is given from now on comes after what the last user's stream still reads
  /// from output surfaces. Both with the context current.
  void begin_use(CUstream stream) const;
  void end_use(CUstream stream) const;
  const DecoderFormat& format() const { return format_; }
  /// Device memory its surfaces take, estimated: 4:2:0 takes 1.5 samples per pixel, padded to 64.
  size_t bytes() const;

  /// Whether it can be brought to another format without being made anew.
  bool can_become(const DecoderFormat& format) const;
  /// Only inside a sequence callback, with no surface mapped.
  void reconfigure(const DecoderFormat& format);

 private:
  Device& device_;
  DecoderFormat format_;
  unsigned max_width_, max_height_;
  Event last_use_;
  nvcuvid::Decoder decoder_ = nullptr;
  unsigned engines_ = 1;  // of the GPU, for this codec
  bool working_ = true;   // of the pool's count, under its lock

  friend class DecoderPool;
};

/// Estimated bytes of the surfaces of a decoder of this format.
size_t surface_bytes(const DecoderFormat& format);

/// Idle decoders of one GPU, no more than it has engines, and how many may be at work. Thread-safe.
class DecoderPool {
 public:
  /// By default as many at work as the GPU has NVDEC engines, since one session never runs on two of them. The memory
  /// that all decoders together may take is FRAMETAP_NVDEC_MEMORY_MB, unlimited when unset.
  explicit DecoderPool(Device& device);
  ~DecoderPool();

  /// Waits until another decoder may work, then returns an idle one of the format, or a reconfigured or new one.
  /// Throws DeviceError when it cannot be made, or does not fit into the memory limit beside those that are paused.
  /// The context must be current, and maps must put out on `stream`.
  std::unique_ptr<NvDecoder> acquire(const DecoderFormat& format, CUstream stream);
  /// A decoder whose user does something else for a while does not count as working: others may go on meanwhile.
  void pause(NvDecoder& decoder) noexcept;
  /// Waits until it may work again.
  void resume(NvDecoder& decoder);
  /// Takes back a decoder whose use was ended.
  void release(std::unique_ptr<NvDecoder> decoder) noexcept;
  /// Destroys a decoder that saw an error. Nothing may be reading its output surfaces.
  void discard(std::unique_ptr<NvDecoder> decoder) noexcept;
  /// Destroys all idle decoders; false when there were none.
  bool clear() noexcept;

 private:
  using Decoders = std::list<std::unique_ptr<NvDecoder>>;

  unsigned engines(const DecoderFormat& format) const;
  std::unique_ptr<NvDecoder> acquire_any(const DecoderFormat& format);
  std::unique_ptr<NvDecoder> take_idle(const DecoderFormat& format);
  // Under the lock; what is returned is to be destroyed without it, for that may wait for a stream.
  Decoders make_room(size_t bytes);
  size_t bytes_in_use() const;
  std::unique_ptr<NvDecoder> create(const DecoderFormat& format);
  bool may_work(size_t bytes, unsigned engines) const;
  void stops_working(NvDecoder& decoder) noexcept;  // under the lock

  Device& device_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Decoders idle_;  // most recently used first
  size_t memory_limit_;
  size_t bytes_ = 0;  // of all decoders, idle, working and paused
  unsigned working_ = 0;
};

}  // namespace frametap
