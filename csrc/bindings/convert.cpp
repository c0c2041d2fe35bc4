#include <pybind11/stl.h>

#include <array>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "core/pixel_format.h"
#include "kernels/converter.h"
#include "kernels/cuda_tables.h"
#include "kernels/row_kernels.h"

namespace py = pybind11;

namespace frametap {
namespace {

template <class Made>
Made make_from_numbers(std::string pixel_format, int width, int height, std::string matrix, bool full_range,
                       std::string chroma_location, std::tuple<int, int, int, int> crop, std::tuple<int, int> grid,
                       std::tuple<int, int, int, int> window, std::string filter, bool antialias, bool transpose,
                       bool flip_x, bool flip_y, std::tuple<int, int> canvas, std::tuple<int, int> offset,
                       std::tuple<int, int, int> fill, std::string color, std::string layout, std::string dtype,
                       std::tuple<double, double, double> mean, std::tuple<double, double, double> std_,
                       std::string tone_map, std::string primaries) {
  ConvertParams p;
  p.pixel_format = std::move(pixel_format);
  p.width = width;
  p.height = height;
  p.matrix = std::move(matrix);
  p.full_range = full_range;
  p.chroma_location = std::move(chroma_location);
  p.crop = std::make_from_tuple<Rect>(crop);
  std::tie(p.grid_width, p.grid_height) = grid;
  p.window = std::make_from_tuple<Rect>(window);
  p.filter = std::move(filter);
  p.antialias = antialias;
  p.transpose = transpose;
  p.flip_x = flip_x;
  p.flip_y = flip_y;
  std::tie(p.canvas_width, p.canvas_height) = canvas;
  std::tie(p.offset_x, p.offset_y) = offset;
  std::tie(p.fill[0], p.fill[1], p.fill[2]) = fill;
  p.color = std::move(color);
  p.layout = std::move(layout);
  p.dtype = std::move(dtype);
  std::tie(p.mean[0], p.mean[1], p.mean[2]) = mean;
  std::tie(p.std[0], p.std[1], p.std[2]) = std_;
  p.tone_map = std::move(tone_map);
  p.primaries = std::move(primaries);
  return Made(p);
}

template <class Made>
void define_init(py::class_<Made>& bound) {
  using py::arg;
  bound.def(py::init(&make_from_numbers<Made>), py::kw_only(), arg("pixel_format"), arg("width").noconvert(),
            arg("height").noconvert(), arg("matrix"), arg("full_range"), arg("chroma_location"),
            arg("crop").noconvert(), arg("grid").noconvert(), arg("window").noconvert(), arg("filter"),
            arg("antialias"), arg("transpose"), arg("flip_x"), arg("flip_y"), arg("canvas").noconvert(),
            arg("offset").noconvert(), arg("fill").noconvert(), arg("color"), arg("layout"), arg("dtype"), arg("mean"),
            arg("std"), arg("tone_map") = "none", arg("primaries") = "bt2020");
}

using Planes = std::vector<std::pair<uintptr_t, ptrdiff_t>>;

std::vector<Plane> views_of(const Planes& planes) {
  std::vector<Plane> views;
  views.reserve(planes.size());
  for (const auto& [address, pitch] : planes) {
    views.push_back({reinterpret_cast<const uint8_t*>(address), pitch});
  }
  return views;
}

void convert(const Converter& converter, const Planes& planes, uintptr_t out, int threads) {
  const std::vector<Plane> views = views_of(planes);
  const py::gil_scoped_release released;
  converter.convert(views, reinterpret_cast<void*>(out), threads);
}

std::tuple<int, int, int> out_shape(const Converter& converter) {
  const std::array<int, 3> shape = converter.out_shape();
  return {shape[0], shape[1], shape[2]};
}

std::vector<std::string> cpu_isas() {
  int count = 0;
  const RowKernels* const* tables = available_cpu_kernels(&count);
  std::vector<std::string> names;
  for (int i = 0; i < count; ++i) {
    names.emplace_back(tables[i]->name);
  }
  return names;
}

constexpr const char* kConverterDoc =
    "Turns one decoded picture into one slot of a batch: crop, resample, colour, normalise, store.\n\n"
    "Built once per set of numbers (frametap.transform.ConvertParams) and reused for every frame. convert() may run in "
    "any\n"
    "number of threads at once: each call borrows its own scratch rows, and none of them holds the GIL.";

constexpr const char* kCudaTablesDoc =
    "Converter's CUDA counterpart, up to the driver calls: what to upload, and what to launch the kernels of "
    "cuda_fatbin() with.\n\n"
    "Made from the same numbers as Converter and giving the same bytes. Calls no driver: addresses are the caller's.";

constexpr const char* kCudaParamsDoc =
    "The one argument of both kernels, as bytes.\n\n"
    "All addresses are of device memory. tables: a copy of table_bytes(), 16-byte aligned. jobs: for each picture its\n"
    "planes, (address, pitch) as for Converter.convert, and the address of its slot; pitches are the same for all.\n"
    "scratch: 16-byte aligned memory of scratch_bytes() for the time from the first kernel to the end of the second.";

constexpr const char* kConvertDoc =
    "Converts one picture.\n\n"
    "planes: (address, pitch in bytes, negative when stored bottom-up) of each plane, in FFmpeg's order.\n"
    "out: address of one C-contiguous slot of out_shape. Both must stay valid until the call returns.\n"
    "threads: how many a large slot may be split over, by rows; the caller's own is one of them.";

std::tuple<uint32_t, uint32_t, uint32_t> as_tuple(const CudaGrid& grid) { return {grid.x, grid.y, grid.z}; }

py::bytes cuda_params(const CudaTables& tables, uint64_t address, const std::vector<std::pair<Planes, uint64_t>>& jobs,
                      uint64_t scratch) {
  std::vector<std::vector<Plane>> views;
  std::vector<CudaJob> all;
  views.reserve(jobs.size());
  for (const auto& [planes, out] : jobs) {
    all.push_back({views.emplace_back(views_of(planes)), out});
  }
  const CudaConvert params = tables.params(address, all, scratch);
  return {reinterpret_cast<const char*>(&params), sizeof(params)};
}

void register_cuda_tables(py::module_& m) {
  using py::arg;
  py::class_<CudaTables> tables(m, "CudaTables", kCudaTablesDoc);
  define_init(tables);
  tables
      .def(
          "table_bytes",
          [](const CudaTables& t) {
            return py::bytes(reinterpret_cast<const char*>(t.bytes().data()), t.bytes().size());
          },
          "What to copy to the device once.")
      .def("params", &cuda_params, arg("tables"), arg("jobs").noconvert(), arg("scratch"), kCudaParamsDoc)
      .def("scratch_bytes", &CudaTables::scratch_bytes, arg("pictures") = 1,
           "Bytes of scratch that one launch for so many pictures needs.")
      .def(
          "vertical_grid", [](const CudaTables& t, size_t pictures) { return as_tuple(t.vertical_grid(pictures)); },
          arg("pictures") = 1, "Blocks of frametap_vertical, the first kernel: (x, y, z).")
      .def(
          "horizontal_grid", [](const CudaTables& t, size_t pictures) { return as_tuple(t.horizontal_grid(pictures)); },
          arg("pictures") = 1, "Blocks of frametap_horizontal, the second kernel: (x, y, z).")
      .def_property_readonly(
          "block", [](const CudaTables&) { return as_tuple({CudaTables::kBlockWidth, CudaTables::kBlockHeight, 1}); },
          "Threads of a block of either kernel: (x, y, z).");
}

}  // namespace

void register_convert(py::module_& m) {
  using py::arg;
  py::class_<Converter> converter(m, "Converter", kConverterDoc);
  define_init(converter);
  converter.def("convert", &convert, arg("planes").noconvert(), arg("out").noconvert(), arg("threads") = 1, kConvertDoc)
      .def_property_readonly("out_shape", &out_shape, "(C, H, W), or (H, W, C) for NHWC.")
      .def_property_readonly("plane_count", &Converter::plane_count, "How many planes convert() expects at least.");
  register_cuda_tables(m);
  m.def(
      "cpu_isa", [] { return std::string(cpu_kernels().name); },
      "Instruction set new converters use: the fastest this CPU has, or what FRAMETAP_CPU names.");
  m.def("cpu_isas", &cpu_isas, "Instruction sets this CPU can run, slowest first.");
  m.def("pixel_formats", &pixel_format_names, "FFmpeg names of every pixel format Converter accepts.");
}

}  // namespace frametap
