// The parameter sets of one kind that a stream has sent so far, and whether a decoder that starts afresh would have
// them.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "bitstream/bit_reader.h"

namespace frametap {

// A decoder that begins at some packet knows the sets of the extradata and those inside that packet, no others.
template <class Set, std::size_t kCount>
class ParameterSets {
 public:
  // `packet` is the number of the packet the set came in, 0 for the extradata. Returns whether it is news.
  bool store(std::uint32_t id, const Set& set, Bytes nal, std::uint64_t packet) {
    Entry& entry = entries_[id];
    const bool same = entry.set && std::equal(nal.begin(), nal.end(), entry.bytes.begin(), entry.bytes.end());
    changed_ = changed_ || (entry.set && !same);
    if (!same) entry = {set, {nal.begin(), nal.end()}, packet == 0, packet};
    entry.packet = packet;
    return !same;
  }

  const Set* find(std::uint32_t id) const { return id < kCount && entries_[id].set ? &*entries_[id].set : nullptr; }
  // Whether a decoder that begins at `packet`, the latest one, knows all that one which came from the beginning knows.
  bool all_known_at_start(std::uint64_t packet) const {
    return std::all_of(entries_.begin(), entries_.end(),
                       [&](const Entry& entry) { return !entry.set || entry.in_extradata || entry.packet == packet; });
  }
  // A set was replaced by another with the same number: decoders cannot simply be reset and used for an earlier part.
  bool changed() const { return changed_; }

 private:
  struct Entry {
    std::optional<Set> set;
    std::vector<std::uint8_t> bytes;
    bool in_extradata = false;
    std::uint64_t packet = 0;
  };
  std::array<Entry, kCount> entries_;
  bool changed_ = false;
};

}  // namespace frametap
