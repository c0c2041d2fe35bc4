#include "access_unit.h"
#include "frames.h"
#include "h264.h"
#include "hevc.h"
#include "mpeg.h"

namespace emu {

std::unique_ptr<Bitstream> open_bitstream(cudaVideoCodec codec, bool annexb) {
  switch (codec) {
    case cudaVideoCodec_MPEG1:
    case cudaVideoCodec_MPEG2:
      return std::make_unique<MpegVideoStream>(codec);
    case cudaVideoCodec_MPEG4:
      return std::make_unique<Mpeg4Stream>();
    case cudaVideoCodec_H264:
      return std::make_unique<H264Stream>();
    case cudaVideoCodec_HEVC:
      return std::make_unique<HevcStream>();
    case cudaVideoCodec_VP8:
      return std::make_unique<Vp8Stream>();
    case cudaVideoCodec_VP9:
      return std::make_unique<Vp9Stream>();
    case cudaVideoCodec_AV1:
      return std::make_unique<Av1Stream>(annexb);
    default:
      return nullptr;
  }
}

}  // namespace emu
