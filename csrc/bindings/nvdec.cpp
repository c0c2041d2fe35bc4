#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "bitstream/elementary_stream.h"
#include "core/error.h"
#include "nvdec/cuda_converter.h"
#include "nvdec/device.h"
#include "nvdec/driver.h"
#include "nvdec/plane_uploader.h"
#include "nvdec/session.h"

namespace py = pybind11;

namespace frametap {
namespace {

constexpr std::pair<const char*, nvcuvid::Codec> kCodecs[] = {
    {"h264", nvcuvid::kH264},        {"hevc", nvcuvid::kHevc},   {"vp8", nvcuvid::kVp8},
    {"vp9", nvcuvid::kVp9},          {"av1", nvcuvid::kAv1},     {"mpeg1video", nvcuvid::kMpeg1},
    {"mpeg2video", nvcuvid::kMpeg2}, {"mpeg4", nvcuvid::kMpeg4},
};

nvcuvid::Codec codec_named(const std::string& name) {
  const auto* found =
      std::find_if(std::begin(kCodecs), std::end(kCodecs), [&](const auto& c) { return c.first == name; });
  check<UnsupportedError>(found != std::end(kCodecs), "NVDEC has no decoder for ", name);
  return found->second;
}

/// Deletes without the GIL: a destructor may wait for the GPU, and the GPU for a host function that needs the GIL.
struct DeleteWithoutGil {
  template <class T>
  void operator()(T* object) const {
    if (PyGILState_Check() != 0) {
      const py::gil_scoped_release released;
      delete object;
    } else {
      delete object;
    }
  }
};

/// For py::init() without `Released`: pybind11 registers what a factory returns before that would take the GIL again.
template <class T, class... Arguments>
std::shared_ptr<T> make_shared_without_gil(Arguments&&... arguments) {
  const py::gil_scoped_release released;
  return std::shared_ptr<T>(new T(std::forward<Arguments>(arguments)...), DeleteWithoutGil{});
}

CUstream as_stream(uintptr_t handle) { return reinterpret_cast<CUstream>(handle); }

/// A Python function that C++ may call and let go without the GIL.
template <class... Arguments>
std::function<void(Arguments...)> callable(py::function function) {
  const std::shared_ptr<py::function> held(new py::function(std::move(function)), [](py::function* f) {
    const py::gil_scoped_acquire acquired;
    delete f;
  });
  return [held](Arguments... arguments) {
    const py::gil_scoped_acquire acquired;
    (*held)(arguments...);
  };
}

py::typing::Dict<py::str, py::object> caps(const Device& device, const std::string& codec, int chroma, int bit_depth) {
  const auto c = [&] {
    const py::gil_scoped_release released;
    return device.caps(codec_named(codec), static_cast<nvcuvid::ChromaFormat>(chroma), bit_depth);
  }();
  py::typing::Dict<py::str, py::object> out;
  out["supported"] = c.is_supported != 0;
  out["engines"] = static_cast<int>(c.num_engines);
  out["min_size"] = std::pair<int, int>(c.min_width, c.min_height);
  out["max_size"] = std::pair<uint32_t, uint32_t>(c.max_width, c.max_height);
  out["max_macroblocks"] = c.max_macroblocks;
  return out;
}

void copy(const Device& device, uint64_t to, uint64_t from, size_t bytes, uintptr_t stream) {
  const ContextScope scope(device);
  FRAMETAP_CU(cuMemcpyDtoDAsync, to, from, bytes, as_stream(stream));
}

void upload(const Device& device, uint64_t to, const py::buffer& from, uintptr_t stream) {
  const py::buffer_info info = from.request();
  const py::gil_scoped_release released;  // it may wait for what the stream is busy with
  const ContextScope scope(device);
  // From pageable memory: the driver has taken its copy when this returns.
  FRAMETAP_CU(cuMemcpyHtoDAsync, to, info.ptr, static_cast<size_t>(info.size * info.itemsize), as_stream(stream));
}

/// A session together with how its stream's packets must be fed to it.
struct StreamSession {
  ElementaryStream stream;
  NvdecSession session;
  bool at_start = true;  // of a run

  StreamSession(std::shared_ptr<Device> device, const std::string& codec, Bytes extradata)
      : stream(codec, extradata), session(std::move(device), codec_named(codec)) {}
};

using StreamSessionPointer = std::unique_ptr<StreamSession, DeleteWithoutGil>;

StreamSessionPointer make_session(std::shared_ptr<Device> device, const std::string& codec,
                                  const py::bytes& extradata) {
  const std::string_view view = extradata;
  const Bytes bytes{reinterpret_cast<const uint8_t*>(view.data()), view.size()};
  const py::gil_scoped_release released;
  return StreamSessionPointer(new StreamSession(std::move(device), codec, bytes));
}

void begin(StreamSession& self, const py::typing::Callable<void(SurfaceFormat)>& on_format, bool judge_all) {
  auto function = callable<const SurfaceFormat&>(on_format);
  const py::gil_scoped_release released;
  self.session.begin(std::move(function), judge_all);
  self.at_start = true;
}

void feed(StreamSession& self, const std::vector<std::pair<py::buffer, int64_t>>& packets) {
  std::vector<py::buffer_info> infos;
  for (const auto& [packet, timestamp] : packets) {
    infos.push_back(packet.request());
  }
  const py::gil_scoped_release released;
  std::vector<uint8_t> storage;
  for (size_t i = 0; i < infos.size(); ++i) {
    const Bytes packet{static_cast<const uint8_t*>(infos[i].ptr), static_cast<size_t>(infos[i].size)};
    self.session.feed(self.stream.packet(packet, std::exchange(self.at_start, false), storage), packets[i].second);
  }
}

void upload_and_convert(PlaneUploader& uploader, const CudaConverter& converter,
                        const std::vector<std::tuple<uintptr_t, ptrdiff_t, size_t, size_t>>& planes, uint64_t out) {
  std::vector<HostPlane> views;
  for (const auto& [address, pitch, row_bytes, rows] : planes) {
    views.push_back({{reinterpret_cast<const uint8_t*>(address), pitch}, row_bytes, rows});
  }
  const py::gil_scoped_release released;
  uploader.convert(converter, views, out);
}

using Released = py::call_guard<py::gil_scoped_release>;

void register_device(py::module_& m) {
  using py::arg;
  py::class_<Device, std::shared_ptr<Device>>(m, "CudaDevice", "One GPU: its primary context and conversion kernels.")
      .def_static("get", &Device::get, arg("ordinal"), Released(),
                  "The device of an ordinal, shared by all who ask. DeviceError says why it cannot be used.")
      .def_static("count", &Device::count, Released(), "How many GPUs the driver shows; DeviceError without a driver.")
      .def_static("shutdown", &Device::shutdown, Released(), "Destroys idle decoders; for the end of the process.")
      .def_property_readonly("ordinal", &Device::ordinal, "Its number among those the driver shows.")
      .def_property_readonly("name", &Device::name, "As the driver calls it.")
      .def_property_readonly(
          "context", [](const Device& device) { return reinterpret_cast<uintptr_t>(device.context()); },
          "CUcontext: the primary one.")
      .def("caps", &caps, arg("codec"), arg("chroma"), arg("bit_depth"),
           "What NVDEC decodes. codec: FFmpeg's name. chroma: 0 gray, 1 4:2:0, 2 4:2:2, 3 4:4:4.")
      .def("owner_of", &Device::owner_of, arg("address"), Released(),
           "The ordinal of the GPU that memory is on; -1 for an address that is no memory of a GPU.")
      .def("copy", &copy, arg("to"), arg("source"), arg("bytes"), arg("stream"), Released(),
           "Copies between device addresses in the order of a stream.")
      .def("upload", &upload, arg("to"), arg("source"), arg("stream"),
           "Copies host bytes to a device address in the order of a stream.")
      .def(
          "order",
          [](const Device& device, uintptr_t earlier, uintptr_t later) {
            device.order(as_stream(earlier), as_stream(later));
          },
          arg("earlier"), arg("later"), Released(),
          "What stream `later` is given from now on waits for all that `earlier` was given so far.");
  py::class_<DeviceMemory, std::shared_ptr<DeviceMemory>>(m, "DeviceMemory",
                                                          "Memory of the driver's stream-ordered pool.")
      .def(py::init([](std::shared_ptr<Device> device, size_t bytes, uintptr_t stream) {
             return make_shared_without_gil<DeviceMemory>(std::move(device), bytes, as_stream(stream));
           }),
           arg("device"), arg("bytes"), arg("stream"))
      .def_property_readonly("address", &DeviceMemory::address, "Device address.")
      .def(
          "free_on",
          [](DeviceMemory& memory, uintptr_t stream, const py::object&) { memory.free_on(as_stream(stream)); },
          arg("stream"), arg("keep"), py::keep_alive<1, 3>(),
          "Gives it back in the order of another stream, which was made to wait for its allocation; `keep` lives as "
          "long.")
      .def("shared_with_other_streams", &DeviceMemory::shared_with_other_streams,
           "Other streams may still read it when it is let go: wait for them then.");
}

void register_stream(py::module_& m) {
  using py::arg;
  py::class_<Stream>(m, "CudaStream", "A stream that does not wait for the legacy default stream.")
      .def(py::init<std::shared_ptr<Device>>(), arg("device"), Released())
      .def_property_readonly(
          "handle", [](const Stream& stream) { return reinterpret_cast<uintptr_t>(stream.handle()); }, "CUstream.");
}

void convert_planes(ConvertStream& stream, const CudaConverter& converter,
                    const std::vector<std::pair<uintptr_t, ptrdiff_t>>& planes, uint64_t out) {
  std::vector<Plane> views;
  for (const auto& [address, pitch] : planes) {
    views.push_back({reinterpret_cast<const uint8_t*>(address), pitch});
  }
  const ContextScope scope(*stream.device());
  stream.convert(converter, views, out);
}

void register_convert_stream(py::module_& m) {
  using py::arg;
  py::class_<ConvertStream>(m, "CudaConvertStream", "A stream on which pictures in device memory are converted.")
      .def(py::init<std::shared_ptr<Device>>(), arg("device"), Released())
      .def_property_readonly(
          "handle", [](const ConvertStream& stream) { return reinterpret_cast<uintptr_t>(stream.handle()); },
          "CUstream.")
      .def("convert", &convert_planes, arg("converter"), arg("planes"), arg("out"), Released(),
           "Enqueues a conversion. planes: (device address, pitch) of each. out: device address of one slot.")
      .def(
          "order_before", [](ConvertStream& stream, uintptr_t other) { stream.order_before(as_stream(other)); },
          arg("stream"), Released(), "What it does from now on comes after what the stream was given so far.")
      .def(
          "order_after", [](ConvertStream& stream, uintptr_t other) { stream.order_after(as_stream(other)); },
          arg("stream"), Released(), "What the stream is given from now on comes after what it did so far.");
}

void register_session(py::module_& m) {
  using py::arg;
  py::class_<SurfaceFormat>(m, "SurfaceFormat", "What the pictures of a sequence are, as the stream's headers say.")
      .def_readonly("width", &SurfaceFormat::width)
      .def_readonly("height", &SurfaceFormat::height)
      .def_readonly("pixel_format", &SurfaceFormat::pixel_format);
  const auto session = [](StreamSession& self) -> NvdecSession& { return self.session; };
  py::class_<StreamSession, StreamSessionPointer>(
      m, "NvdecSession", "Decodes runs of a stream with NVDEC and converts the wanted pictures.")
      .def(py::init(&make_session), arg("device"), arg("codec"), arg("extradata"))
      .def("begin", &begin, arg("on_format"), arg("judge_all"),
           "Starts a run. on_format(SurfaceFormat) is called when a sequence begins; slots are asked for from then on.")
      .def(
          "want",
          [](StreamSession& self, int64_t timestamp, std::shared_ptr<CudaConverter> converter, uint64_t out) {
            self.session.want(timestamp, {std::move(converter), out});
          },
          arg("timestamp"), arg("converter"), arg("out"), "Asks for the picture with this timestamp.")
      .def("feed", &feed, arg("packets"), "Feeds (packet, timestamp) pairs; timestamps rise in display order.")
      .def(
          "pause", [session](StreamSession& self) { session(self).pause(); }, Released(),
          "Lets others use the engine while the caller does something else.")
      .def(
          "resume", [session](StreamSession& self) { session(self).resume(); }, Released(),
          "Goes on; waits until it may.")
      .def(
          "finish", [session](StreamSession& self) { session(self).finish(); }, Released(), "Drains. The run is over.")
      .def(
          "abandon", [session](StreamSession& self) { session(self).abandon(); }, Released(),
          "Ends a run without draining.")
      .def(
          "take_converted", [session](StreamSession& self) { return session(self).take_converted(); },
          "Timestamps of the pictures converted since the last call.")
      .def(
          "order_before",
          [session](StreamSession& self, uintptr_t s) { session(self).stream().order_before(as_stream(s)); },
          arg("stream"), Released(), "What it does from now on comes after what the stream was given so far.")
      .def(
          "order_after",
          [session](StreamSession& self, uintptr_t s) { session(self).stream().order_after(as_stream(s)); },
          arg("stream"), Released(), "What the stream is given from now on comes after what it did so far.")
      .def_property_readonly(
          "damaged", [session](StreamSession& self) { return session(self).damaged(); },
          "Whether NVDEC reported an error in the run.")
      .def_property_readonly(
          "decoded", [session](StreamSession& self) { return session(self).decoded(); }, "Pictures decoded so far.")
      .def_property_readonly(
          "mapped", [session](StreamSession& self) { return session(self).mapped(); }, "Pictures mapped so far.");
}

}  // namespace

void register_nvdec(py::module_& m) {
  using py::arg;
  register_device(m);
  py::class_<CudaConverter, std::shared_ptr<CudaConverter>>(m, "CudaConverter", "What Converter is, on a GPU.")
      .def(py::init([](std::shared_ptr<Device> device, const CudaTables& tables) {
             return make_shared_without_gil<CudaConverter>(std::move(device), tables);
           }),
           arg("device"), arg("tables"));
  register_stream(m);
  register_convert_stream(m);
  register_session(m);
  py::class_<PlaneUploader, std::unique_ptr<PlaneUploader, DeleteWithoutGil>>(
      m, "PlaneUploader", "Converts pictures in host memory on a GPU.")
      .def(py::init<std::shared_ptr<Device>>(), arg("device"), Released())
      .def("convert", &upload_and_convert, arg("converter"), arg("planes"), arg("out"),
           "planes: (address, pitch, bytes of a row, rows) of each. out: device address of one slot.")
      .def(
          "order_before",
          [](PlaneUploader& uploader, uintptr_t stream) { uploader.stream().order_before(as_stream(stream)); },
          arg("stream"), Released(), "What it does from now on comes after what the stream was given so far.")
      .def(
          "order_after",
          [](PlaneUploader& uploader, uintptr_t stream) { uploader.stream().order_after(as_stream(stream)); },
          arg("stream"), Released(), "What the stream is given from now on comes after what it did so far.")
      .def_property_readonly("staging_bytes", &PlaneUploader::staging_bytes, "Page-locked bytes in use.")
      .def_property_readonly("uploaded_bytes", &PlaneUploader::uploaded_bytes, "Bytes copied to the GPU so far.");
}

}  // namespace frametap
