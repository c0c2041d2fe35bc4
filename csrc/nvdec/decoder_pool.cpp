#include "nvdec/decoder_pool.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "nvdec/driver.h"

namespace frametap {
namespace {

// Mapped at once: one is being converted while the next is being post-processed.
constexpr unsigned kOutputSurfaces = 2;

nvcuvid::Rect16 whole(const DecoderFormat& format) {
  return {0, 0, static_cast<int16_t>(format.width), static_cast<int16_t>(format.height)};
}

bool same_but_size(const DecoderFormat& a, const DecoderFormat& b) {
  return a.codec == b.codec && a.chroma == b.chroma && a.output == b.output && a.bit_depth == b.bit_depth;
}

size_t memory_limit_from_environment() {
  const char* megabytes = std::getenv("FRAMETAP_NVDEC_MEMORY_MB");
  if (megabytes == nullptr || *megabytes == '\0') {
    return std::numeric_limits<size_t>::max();
  }
  char* end = nullptr;
  const unsigned long long value = std::strtoull(megabytes, &end, 10);
  check<ArgumentError>(end != megabytes && *end == '\0',
                       "FRAMETAP_NVDEC_MEMORY_MB must be a whole number of MiB, got \"", megabytes, "\"");
  return static_cast<size_t>(value) << 20;
}

}  // namespace

size_t surface_bytes(const DecoderFormat& format) {
  const auto padded = [](unsigned side) { return (static_cast<size_t>(side) + 63) / 64 * 64; };
  const size_t samples = padded(format.width) * padded(format.height) * (format.bit_depth > 8 ? 2 : 1);
  const size_t halves = format.chroma == nvcuvid::k444 ? 6 : format.chroma == nvcuvid::k422 ? 4 : 3;
  return samples * halves / 2 * (format.surfaces + kOutputSurfaces);
}

NvDecoder::NvDecoder(Device& device, const DecoderFormat& format)
    : device_(device), format_(format), max_width_(format.width), max_height_(format.height), last_use_(device) {
  nvcuvid::DecoderCreateInfo info{};
  info.width = info.max_width = info.target_width = format.width;
  info.height = info.max_height = info.target_height = format.height;
  info.num_decode_surfaces = format.surfaces;
  info.codec = format.codec;
  info.chroma_format = format.chroma;
  info.creation_flags = nvcuvid::kCreatePreferCuvid;
  info.bit_depth_minus8 = format.bit_depth - 8;
  info.display_area = whole(format);
  info.output_format = format.output;
  info.deinterlace_mode = nvcuvid::kDeinterlaceWeave;
  info.num_output_surfaces = kOutputSurfaces;
  FRAMETAP_CU(cuvidCreateDecoder, &decoder_, &info);
}

NvDecoder::~NvDecoder() {
  const CleanupScope scope(device_);
  if (scope) {
    driver().cuEventSynchronize(last_use_.handle());  // its output surfaces may still be read
    driver().cuvidDestroyDecoder(decoder_);
  }
}

void NvDecoder::begin_use(CUstream stream) const { FRAMETAP_CU(cuStreamWaitEvent, stream, last_use_.handle(), 0); }
void NvDecoder::end_use(CUstream stream) const { FRAMETAP_CU(cuEventRecord, last_use_.handle(), stream); }

size_t NvDecoder::bytes() const {
  DecoderFormat largest = format_;
  largest.width = max_width_;
  largest.height = max_height_;
  return surface_bytes(largest);
}

bool NvDecoder::can_become(const DecoderFormat& format) const {
  return same_but_size(format_, format) && format.surfaces <= format_.surfaces && format.width <= max_width_ &&
         format.height <= max_height_;
}

void NvDecoder::reconfigure(const DecoderFormat& format) {
  FRAMETAP_CU(cuEventSynchronize, last_use_.handle());  // it acts at once, whatever streams still read
  nvcuvid::ReconfigureInfo info{};
  info.width = info.target_width = format.width;
  info.height = info.target_height = format.height;
  info.num_decode_surfaces = format_.surfaces;  // as made: fewer would free nothing
  info.display_area = whole(format);
  FRAMETAP_CU(cuvidReconfigureDecoder, decoder_, &info);
  format_.width = format.width;
  format_.height = format.height;
}

DecoderPool::DecoderPool(Device& device) : device_(device), memory_limit_(memory_limit_from_environment()) {}
DecoderPool::~DecoderPool() { clear(); }

bool DecoderPool::clear() noexcept {
  Decoders gone;
  {
    const std::lock_guard lock(mutex_);
    bytes_ = bytes_in_use();
    gone.swap(idle_);
  }
  return !gone.empty();
}

std::unique_ptr<NvDecoder> DecoderPool::create(const DecoderFormat& format) {
  try {
    return std::make_unique<NvDecoder>(device_, format);
  } catch (const DeviceMemoryError&) {
    if (!clear()) {
      throw;
    }
  }
  return std::make_unique<NvDecoder>(device_, format);  // idle ones may have held what it needs
}

std::unique_ptr<NvDecoder> DecoderPool::take_idle(const DecoderFormat& format) {
  auto found = std::find_if(idle_.begin(), idle_.end(), [&](const auto& d) { return d->format() == format; });
  if (found == idle_.end()) {
    found = std::find_if(idle_.begin(), idle_.end(), [&](const auto& d) { return d->can_become(format); });
  }
  if (found == idle_.end()) {
    return nullptr;
  }
  auto decoder = std::move(*found);
  idle_.erase(found);
  return decoder;
}

DecoderPool::Decoders DecoderPool::make_room(size_t bytes) {
  Decoders gone;
  while (!idle_.empty() && bytes_ + bytes > memory_limit_) {
    bytes_ -= idle_.back()->bytes();
    gone.splice(gone.begin(), idle_, std::prev(idle_.end()));
  }
  return gone;
}

size_t DecoderPool::bytes_in_use() const {
  return std::accumulate(idle_.begin(), idle_.end(), bytes_,
                         [](size_t bytes, const auto& decoder) { return bytes - decoder->bytes(); });
}

bool DecoderPool::may_work(size_t bytes, unsigned engines) const {
  // With none at work there is nothing to wait for.
  return working_ == 0 || (working_ < engines && bytes_in_use() + bytes <= memory_limit_);
}

std::unique_ptr<NvDecoder> DecoderPool::acquire(const DecoderFormat& format, CUstream stream) {
  auto decoder = acquire_any(format);
  try {
    decoder->begin_use(stream);
    if (decoder->format() != format) {
      decoder->reconfigure(format);
    }
  } catch (...) {
    discard(std::move(decoder));
    throw;
  }
  return decoder;
}

unsigned DecoderPool::engines(const DecoderFormat& format) const {
  const auto caps = device_.caps(format.codec, format.chroma, static_cast<int>(format.bit_depth));
  return std::max<unsigned>(1, caps.num_engines);
}

std::unique_ptr<NvDecoder> DecoderPool::acquire_any(const DecoderFormat& format) {
  const unsigned most = engines(format);
  const size_t bytes = surface_bytes(format);
  check<DeviceError>(bytes <= memory_limit_, "a decoder for ", format.width, "x", format.height, " takes about ",
                     bytes >> 20, " MiB, more than FRAMETAP_NVDEC_MEMORY_MB=", memory_limit_ >> 20,
                     " allows; raise it, or use device=\"cpu\"");
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return may_work(bytes, most); });
  auto decoder = take_idle(format);
  if (decoder) {
    ++working_;
    decoder->working_ = true;
    return decoder;
  }
  check<DeviceError>(bytes_in_use() + bytes <= memory_limit_, "a decoder for ", format.width, "x", format.height,
                     " takes about ", bytes >> 20, " MiB, and those of unfinished batches() leave too little of ",
                     "FRAMETAP_NVDEC_MEMORY_MB=", memory_limit_ >> 20, "; finish or close them first, or raise it");
  ++working_;
  Decoders gone = make_room(bytes);
  bytes_ += bytes;
  lock.unlock();
  gone.clear();
  try {
    decoder = create(format);
    decoder->engines_ = most;
    return decoder;
  } catch (...) {
    lock.lock();
    --working_;
    bytes_ -= bytes;
    changed_.notify_all();
    throw;
  }
}

void DecoderPool::stops_working(NvDecoder& decoder) noexcept {
  working_ -= std::exchange(decoder.working_, false) ? 1 : 0;
}

void DecoderPool::pause(NvDecoder& decoder) noexcept {
  {
    const std::lock_guard lock(mutex_);
    stops_working(decoder);
  }
  changed_.notify_all();
}

void DecoderPool::resume(NvDecoder& decoder) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return working_ < decoder.engines_; });
  working_ += std::exchange(decoder.working_, true) ? 0 : 1;
}

void DecoderPool::release(std::unique_ptr<NvDecoder> decoder) noexcept {
  Decoders gone;
  {
    // One lock for both: who waits for an engine finds the decoder too, and makes no new one.
    const std::lock_guard lock(mutex_);
    stops_working(*decoder);
    const unsigned most = decoder->engines_;
    idle_.push_front(std::move(decoder));
    while (idle_.size() > most) {
      bytes_ -= idle_.back()->bytes();
      gone.splice(gone.begin(), idle_, std::prev(idle_.end()));
    }
  }
  changed_.notify_all();
}

void DecoderPool::discard(std::unique_ptr<NvDecoder> decoder) noexcept {
  pause(*decoder);
  const size_t bytes = decoder->bytes();
  decoder.reset();
  {
    const std::lock_guard lock(mutex_);
    bytes_ -= bytes;
  }
  changed_.notify_all();
}

}  // namespace frametap
