// One GPU as this process uses it: the primary context, the conversion kernels, memory. Thread-safe.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "kernels/cuda_tables.h"
#include "nvdec/nvcuvid.h"

namespace frametap {

class DecoderPool;

class Device : public std::enable_shared_from_this<Device> {
 public:
  /// The device of an ordinal; made on first use, shared afterwards. Throws DeviceError when it cannot be used.
  static std::shared_ptr<Device> get(int ordinal);
  /// How many GPUs the driver shows. Throws DeviceError when there is no driver.
  static int count();
  /// Destroys idle decoders and lets go of all devices; for the end of the process, while the driver still runs.
  static void shutdown() noexcept;

  explicit Device(int ordinal);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  int ordinal() const { return ordinal_; }
  const std::string& name() const { return name_; }
  CUcontext context() const { return context_; }
  CUstream upload_stream() const { return upload_stream_; }
  DecoderPool& decoders() { return *decoders_; }

  /// What NVDEC of this GPU can decode. Throws DeviceError without libnvcuvid.
  nvcuvid::DecodeCaps caps(nvcuvid::Codec codec, nvcuvid::ChromaFormat chroma, int bit_depth) const;

  /// What `later` is given from now on begins after all that `earlier` was given so far.
  void order(CUstream earlier, CUstream later) const;

  /// The ordinal of the GPU that memory is on; -1 for an address that is no memory of a GPU.
  int owner_of(uint64_t address) const;

  /// Launches both conversion kernels on a stream; the context must be current.
  void launch(const CudaTables& tables, const CudaConvert& params, CUstream stream) const;

 private:
  void load_kernels();

  int ordinal_;
  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
  CUmodule module_ = nullptr;
  CUfunction vertical_ = nullptr, horizontal_ = nullptr;
  CUstream upload_stream_ = nullptr;  // for tables: the default stream would wait for everybody's
  CUevent order_event_ = nullptr;     // recorded and waited for in one go, so one serves all streams
  mutable std::mutex order_mutex_;
  std::string name_;
  std::unique_ptr<DecoderPool> decoders_;
};

/// Makes a device's context current on this thread for a scope. Every call of the driver needs one.
class ContextScope {
 public:
  explicit ContextScope(const Device& device);
  ~ContextScope();
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;
};

/// The same for destructors: never throws, and is false where the driver must not be called (in a forked child).
class CleanupScope {
 public:
  explicit CleanupScope(const Device& device) noexcept;
  ~CleanupScope();
  CleanupScope(const CleanupScope&) = delete;
  CleanupScope& operator=(const CleanupScope&) = delete;
  explicit operator bool() const { return pushed_; }

 private:
  bool pushed_ = false;
};

/// Memory from the driver's stream-ordered pool; given back in the order of the stream it was allocated on, or another.
class DeviceMemory {
 public:
  DeviceMemory(std::shared_ptr<Device> device, size_t bytes, CUstream stream);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  uint64_t address() const { return address_; }
  size_t bytes() const { return bytes_; }
  /// Gives it back in the order of another stream, which was made to wait for its allocation.
  void free_on(CUstream stream) { stream_ = stream; }
  /// Another stream was told to wait for ours and may still read when this memory is let go: wait for everything then.
  void shared_with_other_streams() { foreign_readers_ = true; }

 private:
  std::shared_ptr<Device> device_;
  size_t bytes_;
  CUstream stream_;
  CUdeviceptr address_ = 0;
  bool foreign_readers_ = false;
};

/// Page-locked host memory, which copies to the GPU run from without a detour.
class PinnedMemory {
 public:
  PinnedMemory(std::shared_ptr<Device> device, size_t bytes);
  ~PinnedMemory();
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;

  uint8_t* data() const { return static_cast<uint8_t*>(data_); }
  size_t bytes() const { return bytes_; }

 private:
  std::shared_ptr<Device> device_;
  size_t bytes_;
  void* data_ = nullptr;
};

/// A stream of our own that does not wait for the legacy default stream; orders are made explicit with events.
class Stream {
 public:
  explicit Stream(std::shared_ptr<Device> device);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  CUstream handle() const { return stream_; }

 private:
  std::shared_ptr<Device> device_;
  CUstream stream_ = nullptr;
};

/// A point in the work of a stream. The device must outlive it.
class Event {
 public:
  explicit Event(const Device& device);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  CUevent handle() const { return event_; }

 private:
  const Device& device_;
  CUevent event_ = nullptr;
};

}  // namespace frametap
