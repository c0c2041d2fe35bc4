#include "bitstream/bit_reader.h"

#include <algorithm>
#include <cstring>

namespace frametap {

std::vector<std::uint8_t> rbsp(Bytes nal, std::size_t header_bytes, std::size_t limit) {
  std::vector<std::uint8_t> out;
  if (nal.size() <= header_bytes) return out;
  out.reserve(std::min(limit, nal.size() - header_bytes));
  int zeros = 0;
  for (std::size_t i = header_bytes; i < nal.size() && out.size() < limit; ++i) {
    if (zeros >= 2 && nal[i] == 3) {
      zeros = 0;
      continue;
    }
    zeros = nal[i] == 0 ? zeros + 1 : 0;
    out.push_back(nal[i]);
  }
  return out;
}

std::size_t after_start_code(Bytes data, std::size_t from) {
  // memchr for the 01 byte: most of a packet is skipped at the speed of the C library.
  std::size_t at = from + 2;
  while (at < data.size()) {
    const void* hit = std::memchr(data.data() + at, 1, data.size() - at);
    if (hit == nullptr) break;
    at = static_cast<std::size_t>(static_cast<const std::uint8_t*>(hit) - data.data());
    if (data[at - 1] == 0 && data[at - 2] == 0) return at + 1;
    ++at;
  }
  return data.size();
}

static void split_annex_b(Bytes packet, std::vector<Bytes>& units) {
  std::size_t begin = after_start_code(packet, 0);
  while (begin < packet.size()) {
    const std::size_t next = after_start_code(packet, begin);
    std::size_t end = next < packet.size() ? next - 3 : packet.size();
    while (end > begin && packet[end - 1] == 0) --end;  // trailing_zero_8bits and the 4-byte start code
    if (end > begin) units.push_back(packet.subspan(begin, end - begin));
    begin = next;
  }
}

bool split_nal_units(Bytes packet, int length_size, std::vector<Bytes>& units) {
  units.clear();
  if (length_size == 0) {
    split_annex_b(packet, units);
    return !units.empty();
  }
  const auto prefix = static_cast<std::size_t>(length_size);
  std::size_t at = 0;
  while (at + prefix <= packet.size()) {
    std::size_t length = 0;
    for (std::size_t i = 0; i < prefix; ++i) length = (length << 8) | packet[at + i];
    at += prefix;
    if (length > packet.size() - at) return false;
    if (length > 0) units.push_back(packet.subspan(at, length));
    at += length;
  }
  return at == packet.size() && !units.empty();
}

std::vector<std::uint8_t> without_nal_units(Bytes packet, int length_size, bool (*chosen)(Bytes nal)) {
  std::vector<Bytes> units;
  if (!split_nal_units(packet, length_size, units) || std::erase_if(units, chosen) == 0) return {};
  std::vector<std::uint8_t> rest;
  for (const Bytes nal : units) {
    if (length_size == 0) rest.insert(rest.end(), {0, 0, 0, 1});
    for (int i = length_size; i-- > 0;) rest.push_back(static_cast<std::uint8_t>(nal.size() >> (8 * i)));
    rest.insert(rest.end(), nal.begin(), nal.end());
  }
  return rest;
}

Vui parse_vui(BitReader& in) {
  Vui vui;
  if (in.flag() && in.bits(8) == 255) in.skip(32);  // aspect_ratio_idc: Extended_SAR
  if (in.flag()) in.skip(1);                        // overscan
  if (in.flag()) {                                  // video_signal_type_present_flag
    in.skip(3);
    const bool full_range = in.flag();
    const bool described = in.flag();
    vui.colour = colour_statement(full_range, described, described ? in.bits(24) : 0);
  }
  if (in.flag()) vui.chroma_loc = static_cast<int>(in.ue());
  return in.overrun() ? Vui{} : vui;
}

}  // namespace frametap
