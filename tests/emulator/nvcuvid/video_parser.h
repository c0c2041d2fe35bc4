// The video parser behind cuvidParseVideoData: sequence, decode and display callbacks with NVDEC's documented manners.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <memory>
#include <vector>

#include "access_unit.h"
#include "driver.h"
#include "handover.h"
#include "picture.h"
#include "software_decoder.h"
#include "surface_pool.h"
#include "timestamps.h"

namespace emu {

class VideoParser {
 public:
  explicit VideoParser(const CUVIDPARSERPARAMS& params);
  ~VideoParser();

  // C++ exceptions of the callbacks pass through; the parser stays usable.
  CUresult parse(const CUVIDSOURCEDATAPACKET& packet);
  bool busy() const { return busy_; }

 private:
  void reset();
  void end_of_stream(bool notify);
  void discontinuity();
  void display_all();
  void flush_software_decoder();

  void take_unit(AccessUnit&& unit);
  void start_over(const AccessUnit& unit, bool changes);
  Decoded decode_in_software(const AccessUnit& unit);
  Decoded decode_av1(const AccessUnit& unit);
  void show_existing(const AccessUnit& unit, const Decoded& decoded);
  bool begin_sequence(const AccessUnit& unit);
  bool decode(AccessUnit& unit, const PicturePtr& picture, bool second_field, std::vector<PicturePtr>& outputs);
  void call_decode(AccessUnit& unit, const PicturePtr& picture, bool second_field);
  bool give_index(const PicturePtr& picture, std::vector<PicturePtr>& outputs);
  PicturePtr begun_picture(const AccessUnit& unit, const Decoded& decoded);
  void queue(const PicturePtr& picture);
  bool display_oldest();
  void fail();

  CUVIDPARSERPARAMS params_;
  LiveObject live_;
  std::unique_ptr<Bitstream> bitstream_;
  std::unique_ptr<SoftwareDecoder> software_;
  Timestamps timestamps_;
  SurfacePool pool_;
  std::shared_ptr<Announcements> announcements_;

  bool has_format_ = false;
  CUVIDEOFORMATEX format_{};
  std::deque<PicturePtr> display_queue_;
  PicturePtr last_picture_;  // of the previous access unit: its second field may follow
  bool awaits_second_field_ = false;
  PicturePtr previous_reference_;
  std::array<PicturePtr, 8> av1_slots_;       // libdav1d does not show its reference pictures
  std::deque<std::vector<uint8_t>> retired_;  // bitstream buffers of past callbacks, overwritten

  std::atomic<bool> busy_{false};
  bool dead_ = false;               // the sequence callback failed
  CUresult status_ = CUDA_SUCCESS;  // of this cuvidParseVideoData
};

}  // namespace emu
