// Cuts streams with start codes into units and units into pictures, whatever the packets' borders are.
#pragma once

#include "access_unit.h"

namespace emu {

class StartCodeStream : public Bitstream {
 public:
  void write(Bytes packet, bool end_of_picture, const UnitSink& sink) override;
  void finish(const UnitSink& sink) override;

 protected:
  // True if `unit` (first bytes of it, without start code) opens a new picture although `current_` has slices.
  virtual bool opens_picture(Bytes unit) const = 0;
  // Reads parameter sets; for slices, completes `current_`. False drops the unit (its headers are unknown).
  virtual bool read_unit(Bytes unit) = 0;
  virtual bool is_slice(Bytes unit) const = 0;
  // Last words before a picture is passed on.
  virtual void complete(AccessUnit&) {}

  AccessUnit current_;

 private:
  void scan(bool whole, const UnitSink& sink);
  void take_unit(Bytes unit, uint64_t position, const UnitSink& sink);
  void emit(const UnitSink& sink);

  std::vector<uint8_t> pending_;  // from the start code of the unit being received
  size_t scanned_ = 0;            // bytes of pending_ in which the next start code was looked for
  bool in_unit_ = false;          // pending_ starts with a start code
  bool looked_ahead_ = false;     // the unit being received was found to open a picture
  bool only_one_ = false;         // end-of-picture packet: nothing after its first picture counts
  unsigned started_ = 0;          // pictures started in this packet
};

}  // namespace emu
