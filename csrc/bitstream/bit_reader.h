// Bit-level reading of codec headers: big-endian bits, Exp-Golomb codes, and the NAL units of a packet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace frametap {

using Bytes = std::span<const std::uint8_t>;

// Reads past the end give zeros and set overrun(): header parsers check it once, at the end.
class BitReader {
 public:
  explicit BitReader(Bytes data) : data_(data) {}

  std::uint32_t bits(int count) {
    std::uint32_t value = 0;
    for (; count > 0; --count) value = (value << 1) | bit();
    return value;
  }
  bool flag() { return bit() != 0; }
  void skip(int count) { position_ += static_cast<std::size_t>(count); }

  // ue(v) and se(v) of ITU-T H.264 9.1 and H.265 9.2.
  std::uint32_t ue() {
    int zeros = 0;
    while (!overrun() && zeros < 32 && bit() == 0) ++zeros;
    if (zeros == 32) return UINT32_MAX;
    return ((1u << zeros) - 1u) + bits(zeros);
  }
  std::int32_t se() {
    const std::uint32_t code = ue();
    const auto magnitude = static_cast<std::int32_t>((code + 1u) >> 1);
    return (code & 1u) != 0 ? magnitude : -magnitude;
  }

  bool overrun() const { return position_ > data_.size() * 8; }

 private:
  std::uint32_t bit() {
    const std::size_t byte = position_ >> 3;
    const std::uint32_t value = byte < data_.size() ? (data_[byte] >> (7 - (position_ & 7))) & 1u : 0u;
    ++position_;
    return value;
  }

  Bytes data_;
  std::size_t position_ = 0;
};

// The payload of a NAL unit without emulation prevention bytes (H.264 7.4.1), at most `limit` bytes of it:
// a slice header is short, and slice data is never looked at.
std::vector<std::uint8_t> rbsp(Bytes nal, std::size_t header_bytes, std::size_t limit = SIZE_MAX);

// The NAL units of a packet. `length_size` 0 means Annex B start codes, 1..4 the size of each length prefix (avcC,
// hvcC). Returns false when a length points past the packet, i.e. the packet is damaged.
bool split_nal_units(Bytes packet, int length_size, std::vector<Bytes>& units);

// The same packet without the NAL units chosen; empty where none is, and where none would be left.
std::vector<std::uint8_t> without_nal_units(Bytes packet, int length_size, bool (*chosen)(Bytes nal));

// The offset just behind the next start code prefix 00 00 01 at or after `from`, or data.size() when there is none.
std::size_t after_start_code(Bytes data, std::size_t from);

// What a sequence states of its colour, as one number: equal numbers mean equal statements, 0 none. `described`: codes
// of primaries, transfer and matrix are given, 8 bits each, not only the range.
constexpr std::uint32_t colour_statement(bool full_range, bool described, std::uint32_t codes) {
  return 1u << 31 | (full_range ? 1u << 30 : 0) | (described ? 1u << 24 | codes : 0);
}

struct Vui {
  int chroma_loc = -1;       // chroma_sample_loc_type_top_field, -1 when it does not say
  std::uint32_t colour = 0;  // colour_statement()
};

// The VUI parameters that begin here; H.264 E.1.1 and H.265 E.2.1 agree bit for bit up to the chroma location.
Vui parse_vui(BitReader& in);

}  // namespace frametap
