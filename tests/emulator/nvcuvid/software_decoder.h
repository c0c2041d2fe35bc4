// libavcodec as source of pixels, of display order and of the life of reference pictures.
//
// Every buffer that libavcodec asks for is one picture: the request says "a picture begins, in decode order", the
// release says "no reference picture set and no output queue holds it any more". So there is no second decoded
// picture buffer to get wrong, and none per codec.
#pragma once

#include <functional>
#include <map>
#include <vector>

extern "C" {
#include <libavcodec/avcodec.h>
}

#include "abi.h"
#include "bits.h"
#include "picture.h"

namespace emu {

struct Decoded {
  std::vector<PicturePtr> begun;   // in decode order, generated missing references among them
  std::vector<PicturePtr> output;  // in display order
};

class SoftwareDecoder {
 public:
  // `extradata` as libavcodec takes it for the codec; may be empty.
  explicit SoftwareDecoder(cudaVideoCodec codec, Bytes extradata = {});
  ~SoftwareDecoder();
  SoftwareDecoder(const SoftwareDecoder&) = delete;
  SoftwareDecoder& operator=(const SoftwareDecoder&) = delete;

  static bool supports(cudaVideoCodec codec);
  Decoded decode(Bytes unit);
  // Everything still waiting for output; the next unit must start a sequence.
  Decoded drain();
  // The same without output.
  void discard();

  std::function<void()> on_begin;  // a picture begins: called before libavcodec changes its references

 private:
  static int get_buffer(AVCodecContext* context, AVFrame* frame, int flags);
  static void release_buffer(void* opaque, uint8_t* data);
  void receive(Decoded& result);
  PicturePtr picture_of(const AVFrame& frame);

  AVCodecContext* context_ = nullptr;
  AVFrame* frame_ = nullptr;
  AVPacket* packet_ = nullptr;
  std::vector<PicturePtr> begun_;
  std::map<const uint8_t*, std::weak_ptr<Picture>> by_memory_;
  int64_t sent_ = 0;
};

// A picture of its own memory, filled with a pattern that no test clip shows.
PicturePtr make_picture(AVPixelFormat format, int width, int height);

}  // namespace emu
