// VP8, VP9 and AV1: a packet is one frame or temporal unit, so nothing is cut; headers say what a frame does.
#pragma once

#include <array>

#include "access_unit.h"

namespace emu {

class FrameStream : public Bitstream {
 public:
  void write(Bytes packet, bool end_of_picture, const UnitSink& sink) override;
  void finish(const UnitSink&) override {}

 protected:
  // Passes on the frames of `packet`, whose first byte has this position in the stream.
  virtual void read_packet(Bytes packet, uint64_t position, const UnitSink& sink) = 0;
};

class Vp8Stream : public FrameStream {
 protected:
  void read_packet(Bytes packet, uint64_t position, const UnitSink& sink) override;

 private:
  unsigned width_ = 0, height_ = 0;
};

struct FrameSize {
  unsigned width = 0, height = 0;
};

class Vp9Stream : public FrameStream {
 protected:
  void read_packet(Bytes packet, uint64_t position, const UnitSink& sink) override;

 private:
  using Size = FrameSize;
  bool read_frame(Bytes frame, AccessUnit& unit);
  void read_color(BitReader& in, unsigned profile);
  Size read_size(BitReader& in, bool from_references, const std::array<unsigned, 3>& references);
  void describe(AccessUnit& unit, Size size) const;

  std::array<Size, 8> sizes_{};      // of the reference slots
  unsigned depth_ = 0, chroma_ = 1;  // minus 8; chroma_format_idc
  bool full_range_ = false;
  unsigned color_space_ = 0;
};

class Av1Stream : public FrameStream {
 public:
  explicit Av1Stream(bool annexb) : annexb_(annexb) {}

 protected:
  void read_packet(Bytes packet, uint64_t position, const UnitSink& sink) override;

 private:
  struct Sequence {
    bool known = false, reduced = false, frame_ids = false, order_hint = false, decoder_model = false;
    bool equal_interval = false;
    FrameSize size;
    int width_bits = 0, height_bits = 0;
    unsigned id_bits = 0, id_delta_bits = 0, order_hint_bits = 0, screen_content = 2, integer_mv = 2;
    unsigned removal_bits = 0, presentation_bits = 0, depth = 0, chroma = 1;
    unsigned primaries = 2, transfer = 2, matrix = 2, time_scale = 0, units_in_tick = 0;
    bool full_range = false;
    std::array<unsigned, 32> idc{};
    std::array<bool, 32> model_present{};
    unsigned operating_points = 1;
  };
  void read_obu(Bytes obu, AccessUnit& pending, uint64_t position, const UnitSink& sink);
  void read_sequence(BitReader in);
  void read_color(BitReader& in, unsigned profile);
  void read_frame_header(BitReader in, AccessUnit& unit);
  void skip_removal_times(BitReader& in, unsigned temporal, unsigned spatial) const;
  FrameSize read_size(BitReader& in, bool overrides) const;
  FrameSize read_inter_size(BitReader& in, bool overrides, bool resilient) const;
  void describe(AccessUnit& unit, FrameSize size) const;

  bool annexb_;
  Sequence sequence_;
  std::array<bool, 8> key_in_slot_{};
  std::array<FrameSize, 8> sizes_{};  // of the reference slots
  bool header_seen_ = false;          // of the frame whose tile groups come
  unsigned temporal_id_ = 0, spatial_id_ = 0;
};

}  // namespace emu
