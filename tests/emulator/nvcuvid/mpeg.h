// MPEG-1, MPEG-2 (ISO/IEC 13818-2) and MPEG-4 Part 2 (ISO/IEC 14496-2): headers and pictures.
#pragma once

#include "start_codes.h"

namespace emu {

class MpegVideoStream : public StartCodeStream {
 public:
  explicit MpegVideoStream(cudaVideoCodec codec) : codec_(codec) {}

 protected:
  bool opens_picture(Bytes unit) const override;
  bool read_unit(Bytes unit) override;
  bool is_slice(Bytes unit) const override;

 private:
  void read_sequence(BitReader in);
  void read_extension(BitReader in);
  void describe();

  cudaVideoCodec codec_;
  unsigned width_ = 0, height_ = 0, aspect_ = 1, rate_ = 0, rate_num_ = 1, rate_den_ = 1, chroma_ = 1;
  bool progressive_ = true;
  unsigned video_format_ = 5, primaries_ = 2, transfer_ = 2, matrix_ = 2;
  unsigned picture_type_ = 0;       // 1 I, 2 P, 3 B; 0: no picture header yet
  unsigned picture_structure_ = 3;  // 1 top field, 2 bottom field, 3 frame
  bool first_ = true;
};

class Mpeg4Stream : public StartCodeStream {
 protected:
  bool opens_picture(Bytes unit) const override;
  bool read_unit(Bytes unit) override;
  bool is_slice(Bytes unit) const override;

 private:
  void read_object_layer(BitReader in);

  unsigned width_ = 0, height_ = 0, sar_width_ = 1, sar_height_ = 1, ticks_ = 0, increment_ = 0;
  bool interlaced_ = false;
  bool first_ = true;
};

}  // namespace emu
