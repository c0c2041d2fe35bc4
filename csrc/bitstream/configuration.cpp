#include "bitstream/configuration.h"

namespace frametap {
namespace {

/// Appends `count` units with 16-bit lengths; returns the offset behind them, or the end where a length points past it.
std::size_t read_units(Bytes record, std::size_t at, int count, std::vector<Bytes>& units) {
  for (; count > 0 && at + 2 <= record.size(); --count) {
    const auto size = static_cast<std::size_t>(record[at] << 8 | record[at + 1]);
    at += 2;
    if (size > record.size() - at) return record.size();
    if (size > 0) units.push_back(record.subspan(at, size));
    at += size;
  }
  return at;
}

NalConfiguration read_annex_b(Bytes extradata) {
  NalConfiguration found;
  split_nal_units(extradata, 0, found.units);
  return found;
}

}  // namespace

NalConfiguration read_h264_configuration(Bytes extradata) {
  if (extradata.size() < 7 || extradata[0] != 1) return read_annex_b(extradata);
  NalConfiguration found;
  found.length_size = (extradata[4] & 3) + 1;
  const std::size_t at = read_units(extradata, 6, extradata[5] & 31, found.units);
  if (at < extradata.size()) read_units(extradata, at + 1, extradata[at], found.units);
  return found;
}

NalConfiguration read_hevc_configuration(Bytes extradata) {
  // configurationVersion is 1; early files have 0 there, Annex B begins 00 00 (00) 01.
  const bool is_record = extradata.size() > 22 && (extradata[0] != 0 || extradata[1] != 0 || extradata[2] > 1);
  if (!is_record) return read_annex_b(extradata);
  NalConfiguration found;
  found.length_size = (extradata[21] & 3) + 1;
  std::size_t at = 23;
  for (int arrays = extradata[22]; arrays > 0 && at + 3 <= extradata.size(); --arrays) {
    at = read_units(extradata, at + 3, extradata[at + 1] << 8 | extradata[at + 2], found.units);
  }
  return found;
}

}  // namespace frametap
