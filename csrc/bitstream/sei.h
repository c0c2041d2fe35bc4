// SEI messages of H.264 (7.3.2.3, annex D) and HEVC (7.3.2.4, annex D): what goes along with pictures and is none.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bitstream/bit_reader.h"

namespace frametap {

// Calls use(type, message) for each message of an SEI unit's payload. Returns false where one is longer than what is
// there: FFmpeg then refuses the unit, told to be strict (err_detect=explode), and the whole packet with it.
template <class Use>
bool for_each_sei_message(Bytes payload, Use use) {
  std::size_t at = 0;
  const auto number = [&] {  // 255 means more to come
    std::size_t value = 0;
    while (at < payload.size() && payload[at] == 255) value += payload[at++];
    return at < payload.size() ? value + payload[at++] : SIZE_MAX;
  };
  while (payload.size() - at > 2 && (payload[at] != 0 || payload[at + 1] != 0)) {
    const std::size_t type = number();
    const std::size_t size = number();
    if (size > payload.size() - at) return false;
    use(type, payload.subspan(at, size));
    at += size;
  }
  return true;
}

inline bool sei_messages_are_whole(Bytes nal, std::size_t header_bytes) {
  return for_each_sei_message(rbsp(nal, header_bytes), [](std::size_t, Bytes) {});
}

}  // namespace frametap
