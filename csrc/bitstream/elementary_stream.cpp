#include "bitstream/elementary_stream.h"

#include "bitstream/configuration.h"

namespace frametap {
namespace {

void append_unit(Bytes nal, std::vector<std::uint8_t>& out) {
  out.insert(out.end(), {0, 0, 0, 1});
  out.insert(out.end(), nal.begin(), nal.end());
}

/// av1C is a 4-byte record before the OBUs (AV1 in ISO BMFF, 2.3.3); its first bit is set, that of an OBU is not.
Bytes without_av1c(Bytes extradata) {
  const bool is_record = extradata.size() >= 4 && (extradata[0] & 0x80) != 0;
  return is_record ? extradata.subspan(4) : extradata;
}

}  // namespace

bool ElementaryStream::starts_with_temporal_delimiter(Bytes packet) const {
  return is_av1_ && packet.size() >= 2 && packet[0] == 0x12 && packet[1] == 0;  // OBU_TEMPORAL_DELIMITER, AV1 5.6
}

ElementaryStream::ElementaryStream(const std::string& codec, Bytes extradata) {
  if (codec == "h264" || codec == "hevc") {
    const auto configuration =
        codec == "h264" ? read_h264_configuration(extradata) : read_hevc_configuration(extradata);
    length_size_ = configuration.length_size;
    for (const Bytes nal : configuration.units) append_unit(nal, headers_);
  } else if (codec == "av1") {
    is_av1_ = true;
    const Bytes units = without_av1c(extradata);
    headers_.assign(units.begin(), units.end());
  } else if (codec == "mpeg1video" || codec == "mpeg2video" || codec == "mpeg4") {
    headers_.assign(extradata.begin(), extradata.end());
  }  // what containers say of VP8 and VP9 is not part of the stream
}

Bytes ElementaryStream::packet(Bytes packet, bool first, std::vector<std::uint8_t>& storage) const {
  const bool prepend = first && !headers_.empty();
  if (length_size_ == 0 && !prepend) return packet;
  storage.clear();
  if (prepend) {
    // In one piece with the packet, so that the picture begins where the packet's timestamp applies. An AV1 temporal
    // unit begins with its delimiter.
    const Bytes delimiter = packet.first(starts_with_temporal_delimiter(packet) ? 2 : 0);
    storage.insert(storage.end(), delimiter.begin(), delimiter.end());
    storage.insert(storage.end(), headers_.begin(), headers_.end());
    packet = packet.subspan(delimiter.size());
  }
  if (length_size_ == 0) {
    storage.insert(storage.end(), packet.begin(), packet.end());
    return storage;
  }
  std::vector<Bytes> units;
  split_nal_units(packet, length_size_, units);
  for (const Bytes nal : units) append_unit(nal, storage);
  return storage;
}

}  // namespace frametap
