#include "switches.h"

#include <cstdlib>
#include <string>

#include "driver.h"

namespace emu {
namespace {

template <typename T>
using Options = std::initializer_list<std::pair<const char*, T>>;

[[noreturn]] void refuse(const char* name, const std::string& value) {
  std::fprintf(stderr, "emulated NVDEC: switch %s has no value '%s'\n", name, value.c_str());
  std::exit(2);
}

// Leaves `target` alone where the switch is not set.
template <typename T>
void choose(const char* name, T& target, Options<T> options) {
  std::string value = switch_value(name, "");
  if (value.empty()) return;
  for (auto& [option, meaning] : options)
    if (value == option) {
      target = meaning;
      return;
    }
  refuse(name, value);
}

void choose(const char* name, bool& target) { choose(name, target, {{"0", false}, {"1", true}}); }

template <typename T>
void number(const char* name, T& target) {
  std::string value = switch_value(name, "");
  if (value.empty()) return;
  char* end = nullptr;
  target = static_cast<T>(std::strtol(value.c_str(), &end, 10));
  if (*end) refuse(name, value);
}

}  // namespace

Switches switches() {
  Switches s;
  choose("discontinuity", s.discontinuity,
         {{"none", Discontinuity::none}, {"drain", Discontinuity::drain}, {"nvp", Discontinuity::nvp}});
  choose("callback_failure", s.callback_failure,
         {{"propagate", CallbackFailure::propagate}, {"skip", CallbackFailure::skip}});
  choose("rasl", s.rasl, {{"drop", Rasl::drop}, {"show", Rasl::show}});
  choose("h264_start", s.h264_start, {{"any", H264Start::any}, {"idr", H264Start::idr}});
  choose("index_policy", s.index_policy,
         {{"least_recently_freed", IndexPolicy::least_recently_freed},
          {"round_robin", IndexPolicy::round_robin},
          {"lowest", IndexPolicy::lowest},
          {"most_recently_freed", IndexPolicy::most_recently_freed}});
  choose("min_surfaces", s.report_min_surfaces, {{"exact", true}, {"0", false}});
  number("h264_extra_surfaces", s.h264_extra_surfaces);
  choose("timestamp_resorting", s.timestamp_resorting);
  choose("eos_forgets_headers", s.eos_forgets_headers);
  number("hevc_size_multiple", s.hevc_size_multiple);
  number("vp9_size_multiple", s.vp9_size_multiple);
  number("pitch_alignment", s.pitch_alignment);
  number("over_map_error", s.over_map_error);
  number("undecoded_map_error", s.undecoded_map_error);
  choose("unmap_needs_context", s.unmap_needs_context);
  choose("destroy_needs_context", s.destroy_needs_context);
  choose("odd_targets", s.odd_targets);
  number("min_size", s.min_size);
  number("engines", s.engines);
  number("cleared_luma", s.cleared_luma);
  number("cleared_chroma", s.cleared_chroma);
  choose("round_10_to_8", s.round_10_to_8);
  choose("scaling", s.bilinear_scaling, {{"nearest", false}, {"bilinear", true}});
  number("damaged_picture", s.damaged_picture);
  number("damaged_status", s.damaged_status);
  number("in_progress", s.in_progress);
  number("decode_microseconds", s.decode_microseconds);
  number("create_milliseconds", s.create_milliseconds);
  return s;
}

}  // namespace emu
