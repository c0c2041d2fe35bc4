// Reading and writing of bit strings as H.26x, MPEG and AV1 define them.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace emu {

using Bytes = std::span<const uint8_t>;

// Reads past the end give zeros; `overrun` tells.
class BitReader {
 public:
  explicit BitReader(Bytes data) : data_(data) {}

  unsigned bit() {
    if (at_ >= data_.size() * 8) {
      overrun_ = true;
      return 0;
    }
    unsigned value = (data_[at_ / 8] >> (7 - at_ % 8)) & 1u;
    ++at_;
    return value;
  }
  bool flag() { return bit() != 0; }
  uint32_t u(int count) {
    uint32_t value = 0;
    while (count-- > 0) value = value << 1 | bit();
    return value;
  }
  uint32_t ue() {
    int zeros = 0;
    while (!bit() && zeros < 32 && !overrun_) ++zeros;
    return static_cast<uint32_t>((1ull << zeros) - 1 + u(zeros));
  }
  int32_t se() {
    uint32_t code = ue();
    auto half = static_cast<int32_t>((code + 1) / 2);
    return code % 2 ? half : -half;
  }
  void skip(size_t count) { at_ += count; }
  size_t position() const { return at_; }
  bool overrun() const { return overrun_; }

 private:
  Bytes data_;
  size_t at_ = 0;
  bool overrun_ = false;
};

class BitWriter {
 public:
  void bit(bool value) {
    if (count_ % 8 == 0) bytes_.push_back(0);
    bytes_.back() = static_cast<uint8_t>(bytes_.back() | value << (7 - count_ % 8));
    ++count_;
  }
  void u(uint32_t value, int count) {
    while (count-- > 0) bit(value >> count & 1);
  }
  void ue(uint32_t value) {
    int length = std::bit_width(value + 1);
    u(0, length - 1);
    u(value + 1, length);
  }
  void se(int32_t value) { ue(value > 0 ? static_cast<uint32_t>(2 * value - 1) : static_cast<uint32_t>(-2 * value)); }
  void trailing() {
    bit(true);
    while (count_ % 8) bit(false);
  }
  size_t position() const { return count_; }
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
  size_t count_ = 0;
};

// Payload of a NAL unit without emulation prevention bytes and without the zero bytes that may precede the next start
// code; at most `limit` bytes of it.
inline std::vector<uint8_t> rbsp(Bytes nal, size_t limit = SIZE_MAX) {
  while (!nal.empty() && nal.back() == 0) nal = nal.first(nal.size() - 1);
  std::vector<uint8_t> out;
  int zeros = 0;
  for (uint8_t byte : nal) {
    if (out.size() >= limit) break;
    if (zeros >= 2 && byte == 3) {
      zeros = 0;
      continue;
    }
    out.push_back(byte);
    zeros = byte ? 0 : zeros + 1;
  }
  return out;
}

// Appends start code, header bytes and payload with emulation prevention.
inline void append_nal(std::vector<uint8_t>& out, std::initializer_list<uint8_t> header, Bytes payload) {
  out.insert(out.end(), {0, 0, 0, 1});
  out.insert(out.end(), header);
  int zeros = 0;
  for (uint8_t byte : payload) {
    if (zeros >= 2 && byte <= 3) {
      out.push_back(3);
      zeros = 0;
    }
    out.push_back(byte);
    zeros = byte ? 0 : zeros + 1;
  }
}

}  // namespace emu
