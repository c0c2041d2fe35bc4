// Packet headers for Python: frametap._core.PacketParser.
#include "bitstream/elementary_stream.h"
#include "bitstream/packet_parser.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "bindings/bindings.h"

namespace py = pybind11;

namespace frametap {
namespace {

Bytes bytes_of(const py::buffer_info& info) {
  return {static_cast<const std::uint8_t*>(info.ptr), static_cast<std::size_t>(info.size * info.itemsize)};
}

std::unique_ptr<PacketParser> make_parser(const std::string& codec, const py::bytes& extradata) {
  const std::string_view bytes = extradata;
  auto parser = make_packet_parser(codec, {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
  if (!parser) throw py::value_error("no packet parser for codec " + codec);
  return parser;
}

}  // namespace

void register_bitstream(py::module_& m) {
  py::class_<PacketParser>(m, "PacketParser",
                           "Reads the headers of a stream's packets, in decode order; decodes nothing.")
      .def(py::init(&make_parser), py::arg("codec"), py::arg("extradata") = py::bytes())
      .def(
          "parse",
          [](PacketParser& self, const py::buffer& packet) {
            const PictureInfo info = self.parse(bytes_of(packet.request()));
            return std::make_tuple(info.flags, info.order, info.refs);
          },
          py::arg("packet"),
          "The packet's (flags, output order, how many packets back those lie that it needs); flags without PARSED say "
          "nothing.")
      .def(
          "without_broken_units",
          [](const PacketParser& self, const py::buffer& packet) {
            const std::vector<std::uint8_t> rest = self.without_broken_units(bytes_of(packet.request()));
            return py::bytes(reinterpret_cast<const char*>(rest.data()), rest.size());
          },
          py::arg("packet"),
          "The packet without units that are broken and that its pictures do not need; empty where there are none.")
      .def_property_readonly("needs_first_packet", &PacketParser::needs_first_packet)
      .def_property_readonly("parameter_sets_changed", &PacketParser::parameter_sets_changed)
      .def_property_readonly("chroma_sample_loc_type", &PacketParser::chroma_sample_loc_type)
      .def_property_readonly("colour", &PacketParser::colour,
                             "What the sequence of the packet parsed last states of its colour: equal numbers mean "
                             "equal statements, 0 none.");
  py::class_<ElementaryStream>(
      m, "ElementaryStream", "Packets in the form that decoders without a container take them, such as NVDEC's parser.")
      .def(py::init([](const std::string& codec, const py::bytes& extradata) {
             const std::string_view bytes = extradata;
             return ElementaryStream(codec, {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
           }),
           py::arg("codec"), py::arg("extradata"))
      .def(
          "packet",
          [](const ElementaryStream& self, const py::buffer& packet, bool first) {
            std::vector<std::uint8_t> storage;
            const py::buffer_info info = packet.request();
            const Bytes bytes = self.packet(bytes_of(info), first, storage);
            return py::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
          },
          py::arg("packet"), py::arg("first"),
          "One packet of the container; the first that a decoder gets carries the parameter sets too.");
  m.attr("PARSED") = static_cast<unsigned>(kParsed);
  m.attr("START") = static_cast<unsigned>(kStart);
  m.attr("RESET") = static_cast<unsigned>(kReset);
  m.attr("REFERENCE") = static_cast<unsigned>(kReference);
  m.attr("SHOWN") = static_cast<unsigned>(kShown);
  m.attr("IRREGULAR") = static_cast<unsigned>(kIrregular);
  m.attr("SECOND_FIELD") = static_cast<unsigned>(kSecondField);
  m.attr("REFS_KNOWN") = static_cast<unsigned>(kRefsKnown);
  m.attr("UNKNOWN_ORDER") = kUnknownOrder;
}

}  // namespace frametap
