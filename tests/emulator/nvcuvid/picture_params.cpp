// CUVIDH264PICPARAMS holds all of both parameter sets that decoding needs. They are written again, in front of
// the slices, and libavcodec decodes that; in which order it would display the pictures does not matter here.
#include <map>

#include "driver.h"
#include "h264.h"
#include "picture_params.h"
#include "software_decoder.h"

namespace emu {
namespace {

template <size_t N>
void write_list(BitWriter& out, const unsigned char* matrix) {
  out.bit(true);
  int last = 8;
  for (uint8_t position : zigzag<N>()) {
    int delta = matrix[position] - last;
    out.se(delta > 127 ? delta - 256 : delta < -128 ? delta + 256 : delta);
    last = matrix[position];
  }
}

std::vector<uint8_t> write_sps(const CUVIDPICPARAMS& params, unsigned chroma_format) {
  const CUVIDH264PICPARAMS& h = params.CodecSpecific.h264;
  auto ue = [](int value) { return static_cast<uint32_t>(value); };
  constexpr unsigned high_422 = 122, level_6_2 = 62;
  BitWriter out;
  out.u(high_422, 8);
  out.u(0, 8);
  out.u(level_6_2, 8);
  out.ue(0);
  out.ue(chroma_format);
  out.ue(h.bit_depth_luma_minus8);
  out.ue(h.bit_depth_chroma_minus8);
  out.bit(h.qpprime_y_zero_transform_bypass_flag);
  out.bit(true);  // scaling lists
  for (const auto& matrix : h.WeightScale4x4) write_list<16>(out, matrix);
  for (const auto& matrix : h.WeightScale8x8) write_list<64>(out, matrix);
  out.ue(ue(h.log2_max_frame_num_minus4));
  out.ue(ue(h.pic_order_cnt_type));
  if (h.pic_order_cnt_type == 0) out.ue(ue(h.log2_max_pic_order_cnt_lsb_minus4));
  if (h.pic_order_cnt_type == 1) {
    out.bit(h.delta_pic_order_always_zero_flag);
    for (int i = 0; i < 3; ++i) out.ue(0);  // the offsets are not among the parameters
  }
  out.ue(ue(h.num_ref_frames));
  out.bit(true);  // gaps in frame_num
  out.ue(ue(params.PicWidthInMbs - 1));
  out.ue(ue(params.FrameHeightInMbs / (h.frame_mbs_only_flag ? 1 : 2) - 1));
  out.bit(h.frame_mbs_only_flag);
  if (!h.frame_mbs_only_flag) out.bit(h.MbaffFrameFlag);
  out.bit(h.direct_8x8_inference_flag);
  out.u(0, 2);  // cropping, video usability information
  out.trailing();
  return out.bytes();
}

std::vector<uint8_t> write_pps(const CUVIDH264PICPARAMS& h, unsigned id) {
  BitWriter out;
  out.ue(id);
  out.ue(0);
  out.bit(h.entropy_coding_mode_flag);
  out.bit(h.pic_order_present_flag);
  out.ue(0);
  out.ue(static_cast<uint32_t>(h.num_ref_idx_l0_active_minus1));
  out.ue(static_cast<uint32_t>(h.num_ref_idx_l1_active_minus1));
  out.bit(h.weighted_pred_flag);
  out.u(static_cast<uint32_t>(h.weighted_bipred_idc), 2);
  out.se(h.pic_init_qp_minus26);
  out.se(h.pic_init_qs_minus26);
  out.se(h.chroma_qp_index_offset);
  out.bit(h.deblocking_filter_control_present_flag);
  out.bit(h.constrained_intra_pred_flag);
  out.bit(h.redundant_pic_cnt_present_flag);
  out.bit(h.transform_8x8_mode_flag);
  out.bit(false);
  out.se(h.second_chroma_qp_index_offset);
  out.trailing();
  return out.bytes();
}

// The identifier that the slices refer to.
unsigned pps_id(const CUVIDPICPARAMS& params) {
  Bytes slice(params.pBitstreamData + params.pSliceDataOffsets[0],
              params.nBitstreamDataLen - params.pSliceDataOffsets[0]);
  while (slice.size() > 1 && slice[0] == 0) slice = slice.subspan(1);
  std::vector<uint8_t> payload = rbsp(slice.subspan(std::min<size_t>(slice.size(), 2)), 32);
  BitReader in{Bytes(payload)};
  in.ue(), in.ue();  // first_mb_in_slice, slice_type
  return in.ue();
}

class H264Params : public PictureParamsDecoder {
 public:
  explicit H264Params(unsigned chroma_format) : chroma_format_(chroma_format) {}

  PicturePtr decode(const CUVIDPICPARAMS& params) override {
    if (!params.nNumSlices) return nullptr;
    check_references(params);
    std::vector<uint8_t> unit;
    append_nal(unit, {0x67}, write_sps(params, chroma_format_));
    append_nal(unit, {0x68}, write_pps(params.CodecSpecific.h264, pps_id(params)));
    unit.insert(unit.end(), params.pBitstreamData, params.pBitstreamData + params.nBitstreamDataLen);
    Decoded decoded = software_.decode(unit);
    PicturePtr& surface = surfaces_[params.CurrPicIdx];
    if (!decoded.begun.empty()) {
      surface = decoded.begun.back();  // those before it fill gaps
    } else if (!params.second_field) {
      return nullptr;
    }
    return surface;
  }

 private:
  void check_references(const CUVIDPICPARAMS& params) const {
    for (const CUVIDH264DPBENTRY& entry : params.CodecSpecific.h264.dpb) {
      if (entry.PicIdx < 0 || !entry.used_for_reference || entry.not_existing) continue;
      if (!surfaces_.contains(entry.PicIdx))
        violation("cuvidDecodePicture: reference in surface ", entry.PicIdx, ", which was never decoded into");
      if (entry.PicIdx == params.CurrPicIdx && !params.second_field)
        violation("cuvidDecodePicture: a picture is decoded into surface ", entry.PicIdx, ", which it refers to");
    }
  }

  unsigned chroma_format_;
  SoftwareDecoder software_{cudaVideoCodec_H264};
  std::map<int, PicturePtr> surfaces_;
};

// VP8 and VP9: the data is the whole frame, its headers included, and a frame is decoded with what was decoded before.
class WholeFrames : public PictureParamsDecoder {
 public:
  explicit WholeFrames(cudaVideoCodec codec) : software_(codec) {}

  PicturePtr decode(const CUVIDPICPARAMS& params) override {
    Decoded decoded = software_.decode({params.pBitstreamData, params.nBitstreamDataLen});
    return decoded.begun.empty() ? nullptr : decoded.begun.front();
  }

 private:
  SoftwareDecoder software_;
};

}  // namespace

std::unique_ptr<PictureParamsDecoder> open_picture_params(const CUVIDDECODECREATEINFO& info) {
  switch (info.CodecType) {
    case cudaVideoCodec_H264:
      return std::make_unique<H264Params>(info.ChromaFormat);
    case cudaVideoCodec_VP8:
    case cudaVideoCodec_VP9:
      return std::make_unique<WholeFrames>(info.CodecType);
    default:
      return nullptr;
  }
}

}  // namespace emu
