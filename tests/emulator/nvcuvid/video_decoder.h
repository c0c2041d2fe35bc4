// The decoder behind cuvidDecodePicture: decode surfaces, output surfaces, and the rules for mapping them.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "abi.h"
#include "driver.h"
#include "handover.h"
#include "picture.h"
#include "picture_params.h"
#include "postprocess.h"

namespace emu {

class VideoDecoder {
 public:
  explicit VideoDecoder(const CUVIDDECODECREATEINFO& info);
  ~VideoDecoder();
  VideoDecoder(const VideoDecoder&) = delete;
  VideoDecoder& operator=(const VideoDecoder&) = delete;

  // Allocates what the surfaces take of the device's memory.
  CUresult open();
  CUresult decode(const CUVIDPICPARAMS& params);
  CUresult status(int index, CUVIDGETDECODESTATUS& result);
  CUresult map(int index, const CUVIDPROCPARAMS& params, CUdeviceptr& pointer, unsigned& pitch);
  CUresult unmap(CUdeviceptr pointer);
  // Waits for the post-processing that is still to write into output surfaces; before they go.
  void wait();
  CUresult reconfigure(const CUVIDRECONFIGUREDECODERINFO& info);
  CUcontext context() const { return context_; }
  size_t mapped() const;

 private:
  struct Surface {
    PicturePtr picture;  // null: never decoded into
    bool garbled = false;
    int status = 0;
    int asked = 0;  // how often about that
  };
  // Streams that post-processing waits on, and how much of it; shared with that work, which may outlive the decoder.
  struct Pending {
    std::mutex mutex;
    std::map<CUstream, int> jobs;
  };
  struct Output {
    CUdeviceptr pointer = 0;
    bool mapped = false;
  };
  CUresult allocate();
  void release();
  size_t surface_bytes() const;
  bool lacks_references(const Picture& picture) const;
  CUresult store(const CUVIDPICPARAMS& params, const Offer& offer);
  void check_announcement(int index);
  PostProcess job(const CUVIDPROCPARAMS& params) const;

  CUVIDDECODECREATEINFO info_;
  CUcontext context_;
  LiveObject live_;
  uint64_t number_;
  OutputLayout layout_;
  CUdeviceptr surface_memory_ = 0;  // stands for the decode surfaces in the device's memory
  std::vector<Surface> surfaces_;
  std::vector<Output> outputs_;
  std::shared_ptr<Announcements> announcements_;  // of the parser that feeds this decoder; null for foreign parsers
  std::unique_ptr<PictureParamsDecoder> foreign_;
  std::shared_ptr<Pending> pending_ = std::make_shared<Pending>();
  mutable std::mutex mutex_;
};

// Picture parameters, create info: what the driver refuses. Success, or the error to return.
CUresult check_create_info(const CUVIDDECODECREATEINFO& info, const CUVIDDECODECAPS& caps);

}  // namespace emu
