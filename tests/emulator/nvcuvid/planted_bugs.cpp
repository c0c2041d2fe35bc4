// A client of NVDEC that is correct, and as many ways to be wrong, each planted in it by name.
//
//   planted_bugs BUG FILE.h264     prints what the emulator reports, one violation a line
//   planted_bugs --list            prints the names; "none" is the correct client
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "planted_client.h"

namespace {

using namespace planted;
using Bug = std::function<void(Client&)>;

void run(Client& client) {
  client.open();
  client.feed();
  client.close();
}

void on_second_display(Client& c, const std::function<void(int)>& bug) {
  c.on_display = [&c, bug](CUVIDPARSERDISPINFO& info) {
    c.displayed == 2 ? bug(info.picture_index) : c.show(info.picture_index);
    c.other_index = info.picture_index;
  };
  run(c);
}

// Nothing the emulator could report: the copy on one stream reads a surface that a map on another one writes. It shows
// in the bytes, in some orders of the streams.
void copy_while_mapping_again(Client& c) {
  on_second_display(c, [&c](int index) {
    CUstream copying, mapping;
    cuStreamCreate(&copying, CU_STREAM_NON_BLOCKING);
    cuStreamCreate(&mapping, CU_STREAM_NON_BLOCKING);
    CUVIDPROCPARAMS on_copying{}, on_mapping{};
    on_copying.output_stream = copying;
    on_mapping.output_stream = mapping;
    std::vector<unsigned char> expected(64 * 1024), got(expected.size());
    Mapped first, second;
    c.map(index, first, on_copying);
    cuMemcpyDtoHAsync(expected.data(), first.pointer, expected.size(), copying);
    cuStreamSynchronize(copying);
    cuMemcpyDtoHAsync(got.data(), first.pointer, got.size(), copying);
    c.unmap(first);
    CUVIDPROCPARAMS other = on_mapping;
    c.map(c.other_index, second, other);
    cuStreamSynchronize(mapping);
    cuStreamSynchronize(copying);
    c.unmap(second);
    if (got != expected) std::puts("the copied frame changed");
    cuStreamDestroy(copying);
    cuStreamDestroy(mapping);
  });
}

const std::map<std::string, Bug>& contexts_and_handles() {
  static const std::map<std::string, Bug> bugs = {
      {"no_context",
       [](Client& c) {
         on_second_display(c, [&c](int index) {
           CUcontext context;
           cuCtxPopCurrent(&context);
           c.show(index);
           cuCtxPushCurrent(context);
         });
       }},
      {"unmap_without_context",
       [](Client& c) {
         on_second_display(c, [&c](int index) {
           Mapped mapped;
           c.map(index, mapped);
           CUcontext context;
           cuCtxPopCurrent(&context);
           c.unmap(mapped);
           cuCtxPushCurrent(context);
         });
       }},
      {"another_context",
       [](Client& c) {
         on_second_display(c, [&c](int index) {
           CUcontext other;
           cuCtxCreate(&other, nullptr, 0, 0);
           c.show(index);
           cuCtxDestroy(other);
         });
       }},
      {"decoder_used_after_destroy",
       [](Client& c) {
         on_second_display(c, [&c](int index) {
           cuvidDestroyDecoder(c.decoder);
           c.show(index);
         });
       }},
      {"parser_used_after_destroy",
       [](Client& c) {
         c.open();
         c.feed();
         cuvidDestroyVideoParser(c.parser);
         c.packet(c.stream.data(), 100, 0);
         c.parser = nullptr;
         c.close();
       }},
      {"decoder_destroyed_twice",
       [](Client& c) {
         c.open();
         c.feed();
         cuvidDestroyDecoder(c.decoder);
         c.close();
       }},
      {"decoder_leaked",
       [](Client& c) {
         c.open();
         c.feed();
         c.decoder = nullptr;
         c.close();
       }},
  };
  return bugs;
}

const std::map<std::string, Bug>& mapping() {
  static const std::map<std::string, Bug> bugs = {
      {"unmapped_twice",
       [](Client& c) {
         on_second_display(c, [&c](int index) {
           Mapped mapped;
           c.map(index, mapped);
           c.unmap(mapped);
           c.unmap(mapped);
         });
       }},
      {"foreign_pointer_unmapped",
       [](Client& c) {
         on_second_display(c, [&c](int) {
           CUdeviceptr own;
           cuMemAlloc(&own, 4096);
           c.unmap({own, 0});
           cuMemFree(own);
         });
       }},
      {"too_many_mapped",
       [](Client& c) {
         on_second_display(c, [&c](int index) {
           Mapped mapped[3];
           for (Mapped& m : mapped) c.map(index, m);
           c.unmap(mapped[0]);
           c.unmap(mapped[1]);
         });
       }},
      {"never_unmapped",
       [](Client& c) {
         on_second_display(c, [&c](int index) {
           Mapped mapped;
           c.map(index, mapped);
         });
       }},
      {"mapped_memory_freed",
       [](Client& c) {
         on_second_display(c, [&c](int index) {
           Mapped mapped;
           c.map(index, mapped);
           cuMemFree(mapped.pointer);
           c.unmap(mapped);
         });
       }},
      {"mapped_memory_read_after_unmap",
       [](Client& c) {
         on_second_display(c, [&c](int index) {
           Mapped mapped;
           c.map(index, mapped);
           c.unmap(mapped);
           char byte;
           cuMemcpyDtoH(&byte, mapped.pointer, 1);
         });
       }},
      {"mapped_late",  // a queue of displayed pictures, and no surfaces for it
       [](Client& c) {
         auto queue = std::make_shared<std::vector<int>>();
         c.on_display = [&c, queue](CUVIDPARSERDISPINFO& info) {
           queue->push_back(info.picture_index);
           if (queue->size() <= static_cast<size_t>(c.surfaces)) return;
           c.show(queue->front());
           queue->erase(queue->begin());
         };
         run(c);
       }},
      {"mapped_before_display",
       [](Client& c) {
         c.on_decode = [&c](CUVIDPICPARAMS& p) {
           cuvidDecodePicture(c.decoder, &p);
           if (c.pictures < 3) c.show(p.CurrPicIdx);
         };
         run(c);
       }},
      {"next_map_not_ordered_after_copy", copy_while_mapping_again},
      {"index_out_of_range", [](Client& c) { on_second_display(c, [&c](int) { c.show(c.surfaces); }); }},
      {"map_reserved_written",
       [](Client& c) {
         on_second_display(c, [&c](int index) {
           CUVIDPROCPARAMS params{};
           params.Reserved[5] = 1;
           Mapped mapped;
           if (c.map(index, mapped, params) == CUDA_SUCCESS) c.unmap(mapped);
         });
       }},
  };
  return bugs;
}

const std::map<std::string, Bug>& decoding() {
  static const std::map<std::string, Bug> bugs = {
      {"shown_picture_not_decoded",
       [](Client& c) {
         c.on_decode = [&c](CUVIDPICPARAMS& p) {
           if (p.ref_pic_flag || p.intra_pic_flag) cuvidDecodePicture(c.decoder, &p);
         };
         run(c);
       }},
      {"reference_not_decoded",
       [](Client& c) {
         c.on_decode = [&c](CUVIDPICPARAMS& p) {
           if (c.pictures != 1) cuvidDecodePicture(c.decoder, &p);
         };
         c.on_display = [](CUVIDPARSERDISPINFO&) {};
         run(c);
       }},
      {"bitstream_kept",
       [](Client& c) {
         auto kept = std::make_shared<CUVIDPICPARAMS>();
         c.on_decode = [&c, kept](CUVIDPICPARAMS& p) {
           if (c.pictures == 1) *kept = p;
           if (c.pictures == 2) cuvidDecodePicture(c.decoder, kept.get());
           if (c.pictures != 1) cuvidDecodePicture(c.decoder, &p);
         };
         c.on_display = [](CUVIDPARSERDISPINFO&) {};
         run(c);
       }},
      {"picture_reserved_written",
       [](Client& c) {
         c.on_decode = [&c](CUVIDPICPARAMS& p) {
           p.Reserved[0] = static_cast<unsigned>(c.pictures + 1);
           cuvidDecodePicture(c.decoder, &p);
         };
         run(c);
       }},
      {"index_changed",
       [](Client& c) {
         c.on_decode = [&c](CUVIDPICPARAMS& p) {
           if (c.pictures == 1) p.CurrPicIdx = (p.CurrPicIdx + 1) % c.surfaces;
           cuvidDecodePicture(c.decoder, &p);
         };
         c.on_display = [](CUVIDPARSERDISPINFO&) {};
         run(c);
       }},
      {"parser_reentered", [](Client& c) { on_second_display(c, [&c](int) { c.packet(c.stream.data(), 100, 0); }); }},
      {"discontinuity",
       [](Client& c) {
         c.open();
         c.packet(nullptr, 0, CUVID_PKT_DISCONTINUITY);
         c.feed();
         c.close();
       }},
      {"headers_missing_after_end_of_stream",
       [](Client& c) {
         c.open();
         c.feed();
         c.feed(c.first_slice());
         c.close();
       }},
  };
  return bugs;
}

const std::map<std::string, Bug>& creating() {
  auto changed = [](auto change) {
    return [change](Client& c) {
      c.before_create = change;
      run(c);
    };
  };
  static const std::map<std::string, Bug> bugs = {
      {"none", run},
      {"odd_target", changed([](CUVIDDECODECREATEINFO& info) { --info.ulTargetWidth; })},
      {"33_decode_surfaces", changed([](CUVIDDECODECREATEINFO& info) { info.ulNumDecodeSurfaces = 33; })},
      {"no_output_surfaces", changed([](CUVIDDECODECREATEINFO& info) { info.ulNumOutputSurfaces = 0; })},
      {"create_reserved_written", changed([](CUVIDDECODECREATEINFO& info) { info.Reserved2[1] = 1; })},
      {"fewer_surfaces_than_the_parser_uses",
       changed([](CUVIDDECODECREATEINFO& info) { info.ulNumDecodeSurfaces = 2; })},
      {"surface_count_not_returned",
       [](Client& c) {
         c.sequence_answer = [](int) { return 1; };
         run(c);
       }},
      {"reconfigured_while_mapped",
       [](Client& c) {
         on_second_display(c, [&c](int index) {
           Mapped mapped;
           c.map(index, mapped);
           CUVIDRECONFIGUREDECODERINFO info{};
           info.ulWidth = info.ulTargetWidth = 160;
           info.ulHeight = info.ulTargetHeight = 128;
           info.ulNumDecodeSurfaces = static_cast<unsigned>(c.surfaces);
           cuvidReconfigureDecoder(c.decoder, &info);
           c.unmap(mapped);
         });
       }},
  };
  return bugs;
}

void print_violations() {
  std::vector<char> text(emu_list("violations", nullptr, 0) + 1);
  emu_list("violations", text.data(), text.size());
  std::puts(text.data());
}

}  // namespace

int main(int count, char** arguments) {
  std::map<std::string, Bug> bugs;
  for (const auto* group : {&contexts_and_handles(), &mapping(), &decoding(), &creating()})
    bugs.insert(group->begin(), group->end());
  if (count == 2 && !std::strcmp(arguments[1], "--list")) {
    for (const auto& [name, bug] : bugs) std::puts(name.c_str());
    return 0;
  }
  if (count != 3 || !bugs.contains(arguments[1])) return 2;
  std::ifstream file(arguments[2], std::ios::binary);
  Client client;
  client.stream.assign(std::istreambuf_iterator<char>(file), {});
  bugs.at(arguments[1])(client);
  print_violations();
  return 0;
}
