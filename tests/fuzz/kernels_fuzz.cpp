// One input, one conversion: every instruction set this CPU has and the CUDA kernels' twin must write the same bytes,
// and touch nothing but what they are given. Buffers are exactly as large as the contract says, so that
// AddressSanitizer and Valgrind see every step beyond.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/pixel_format.h"
#include "kernels/converter.h"
#include "kernels/cuda_tables.h"
#include "kernels/row_kernels.h"

extern "C" void frametap_vertical_on_host(void** params, const uint32_t* grid, const uint32_t* block);
extern "C" void frametap_horizontal_on_host(void** params, const uint32_t* grid, const uint32_t* block);

namespace {

using namespace frametap;

// Decisions taken from the input, 0 when it has ended.
class Choices {
 public:
  Choices(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  int between(int low, int high) {
    uint32_t value = 0;
    for (int i = 0; i < 2; ++i) {
      value = value << 8 | (size_ > 0 ? (--size_, *data_++) : 0u);
    }
    return low + static_cast<int>(value % static_cast<uint32_t>(high - low + 1));
  }
  bool flag() { return between(0, 1) == 1; }
  std::string of(std::initializer_list<const char*> names) {
    return names.begin()[between(0, static_cast<int>(names.size()) - 1)];
  }

 private:
  const uint8_t* data_;
  size_t size_;
};

struct Aligned {
  explicit Aligned(size_t bytes, uint8_t value = 0xA5)
      : size(bytes), data(static_cast<uint8_t*>(::operator new(bytes, std::align_val_t{16}))) {
    std::memset(data, value, bytes);
  }
  ~Aligned() { ::operator delete(data, std::align_val_t{16}); }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  size_t size;
  uint8_t* data;
};

Rect part_of(Choices& c, int width, int height) {
  Rect r;
  r.width = c.between(1, width);
  r.height = c.between(1, height);
  r.x = c.between(0, width - r.width);
  r.y = c.between(0, height - r.height);
  return r;
}

ConvertParams choose(Choices& c) {
  static const std::vector<std::string> formats = pixel_format_names();
  ConvertParams p;
  p.pixel_format = formats[static_cast<size_t>(c.between(0, static_cast<int>(formats.size()) - 1))];
  p.width = c.between(1, 260);
  p.height = c.between(1, 70);
  p.crop = c.flag() ? part_of(c, p.width, p.height) : Rect{0, 0, p.width, p.height};
  p.grid_width = c.flag() ? p.crop.width * c.between(1, 2) : c.between(1, 200);
  p.grid_height = c.flag() ? p.crop.height * c.between(1, 2) : c.between(1, 60);
  p.window = c.flag() ? part_of(c, p.grid_width, p.grid_height) : Rect{0, 0, p.grid_width, p.grid_height};
  p.matrix = c.of({"bt601", "bt709", "bt2020nc", "smpte240m", "fcc", "rgb"});
  p.full_range = c.flag();
  p.chroma_location = c.of({"left", "center", "topleft", "top", "bottomleft", "bottom"});
  p.filter = c.of({"bilinear", "bicubic", "lanczos", "area", "nearest"});
  p.antialias = c.flag();
  p.transpose = c.flag();
  p.flip_x = c.flag();
  p.flip_y = c.flag();
  p.offset_x = c.between(0, 5);
  p.offset_y = c.between(0, 5);
  p.canvas_width = (p.transpose ? p.window.height : p.window.width) + p.offset_x + c.between(0, 5);
  p.canvas_height = (p.transpose ? p.window.width : p.window.height) + p.offset_y + c.between(0, 5);
  p.fill = {c.between(0, 255), c.between(0, 255), c.between(0, 255)};
  p.color = c.of({"rgb", "bgr", "gray"});
  p.layout = c.of({"NCHW", "NHWC"});
  p.dtype = c.of({"uint8", "float16", "bfloat16", "float32"});
  p.mean = {0.485, 0.456, 0.406};
  p.std = {0.229, 0.224, 0.225};
  p.tone_map = c.of({"none", "none", "pq", "hlg"});
  p.primaries = c.of({"bt2020", "display-p3", "bt709"});
  return p;
}

// Every plane in memory of its own that ends with its last sample.
struct Picture {
  std::vector<std::unique_ptr<Aligned>> memory;
  std::vector<Plane> planes;
};

Picture make_picture(const ConvertPlan& plan, const ConvertParams& p, Choices& c) {
  Picture picture;
  uint32_t noise = static_cast<uint32_t>(c.between(0, 65535)) | 1u;
  const bool wide = c.flag();
  for (const PlanePlan& plane : plan.planes) {
    const int log2_rows = plane.resolution == 1 ? plan.format.log2_chroma_height : 0;
    const int rows = (p.height + (1 << log2_rows) - 1) >> log2_rows;
    const int row_bytes = plane.row_elements * plan.format.element_bytes();
    const int pitch = wide ? (row_bytes + 15) / 16 * 16 : row_bytes + plan.format.element_bytes() * c.between(0, 40);
    const int size = pitch * (rows - 1) + row_bytes;
    auto bytes = std::make_unique<Aligned>(static_cast<size_t>(size));
    for (size_t i = 0; i < bytes->size; ++i) {
      noise = noise * 1664525u + 1013904223u;
      bytes->data[i] = static_cast<uint8_t>(noise >> 24);
    }
    picture.planes.resize(std::max(picture.planes.size(), static_cast<size_t>(plane.index) + 1));
    picture.planes[static_cast<size_t>(plane.index)] = {bytes->data, pitch};
    picture.memory.push_back(std::move(bytes));
  }
  return picture;
}

void convert_on_cpu(const char* isa, const ConvertParams& p, const Picture& picture, int threads, Aligned& out) {
  setenv("FRAMETAP_CPU", isa, 1);
  Converter(p).convert(picture.planes, out.data, threads);
}

void convert_by_twin(const ConvertParams& p, const Picture& picture, Aligned& out) {
  const CudaTables tables(p);
  Aligned content(tables.bytes().size()), scratch(tables.scratch_bytes());
  std::memcpy(content.data, tables.bytes().data(), content.size);
  const auto address = [](const Aligned& a) { return reinterpret_cast<uint64_t>(a.data); };
  CudaConvert params = tables.params(address(content), picture.planes, address(scratch), address(out));
  void* arguments[] = {&params};
  const uint32_t block[3] = {CudaTables::kBlockWidth, CudaTables::kBlockHeight, 1};
  const CudaGrid v = tables.vertical_grid(), h = tables.horizontal_grid();
  const uint32_t vertical[3] = {v.x, v.y, v.z}, horizontal[3] = {h.x, h.y, h.z};
  frametap_vertical_on_host(arguments, vertical, block);
  frametap_horizontal_on_host(arguments, horizontal, block);
}

void expect_same(const Aligned& expected, const Aligned& found, const char* what) {
  if (std::memcmp(expected.data, found.data, expected.size) != 0) {
    std::fprintf(stderr, "%s differs from base\n", what);
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Choices choices(data, size);
  const ConvertParams p = choose(choices);
  try {
    const ConvertPlan plan = make_plan(p);
    const Picture picture = make_picture(plan, p, choices);
    const size_t bytes = static_cast<size_t>(plan.output.width) * static_cast<size_t>(plan.output.height) *
                         static_cast<size_t>(plan.output.channels) * plan.output.element_bytes();
    Aligned expected(bytes, 0x00);
    convert_on_cpu("base", p, picture, 1, expected);
    int count = 0;
    const RowKernels* const* tables = available_cpu_kernels(&count);
    for (int i = 1; i < count; ++i) {
      Aligned found(bytes);
      convert_on_cpu(tables[i]->name, p, picture, choices.between(1, 3), found);
      expect_same(expected, found, tables[i]->name);
    }
    Aligned found(bytes);
    convert_by_twin(p, picture, found);
    expect_same(expected, found, "the twin of the CUDA kernels");
  } catch (const ArgumentError&) {  // refused: fine, as long as it is with these
  } catch (const UnsupportedError&) {
  }
  return 0;
}
