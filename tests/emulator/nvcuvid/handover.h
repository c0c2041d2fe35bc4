// How a decoder finds the picture that a parser's decode callback is about.
//
// The two objects do not know each other: the client carries CUVIDPICPARAMS from one to the other. Its pBitstreamData
// is an address that only this parser, only during this callback, gives out, so it identifies the picture; no reserved
// field is abused. An address that was given out earlier identifies a client that kept the pointer.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "picture.h"

namespace emu {

// Which picture a parser last announced for display under each index; a decoder compares it with what it holds.
struct Announcements {
  std::mutex mutex;
  std::vector<PicturePtr> by_index;
  bool made = false;  // the parser has a display callback
};

struct Offer {
  PicturePtr picture;
  std::shared_ptr<Announcements> announcements;
};

enum class BitstreamAddress { unknown, offered, retired };

void offer_bitstream(const void* address, Offer offer);
void retire_bitstream(const void* address);
void forget_bitstream(const void* address);
// Fills `offer` only for an address that is on offer now.
BitstreamAddress find_bitstream(const void* address, Offer& offer);

}  // namespace emu
