#include "kernels/converter.h"

#include <algorithm>
#include <deque>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"
#include "kernels/horizontal_stage.h"
#include "kernels/plan.h"
#include "kernels/scratch.h"
#include "kernels/store.h"

namespace frametap {
namespace {

// Less than this is converted sooner than a thread starts.
constexpr int64_t kPieceBytes = 1 << 20;

}  // namespace

struct Converter::State {
  ConvertPlan plan;
  const RowKernels& kernels;
  std::array<HorizontalStage, 2> horizontal;
  ScratchSizes sizes;
  ScratchPool pool;

  State(ConvertPlan made, const RowKernels& chosen);

  ScratchSizes scratch_sizes() const;
  void resample_row(std::span<const Plane> planes, int y, Scratch& scratch) const;
  void vertical_row(const PlanePlan& plane, std::span<const Plane> planes, int y, int16_t* out) const;
  int pieces(int threads) const;
  void convert_rows(std::span<const Plane> planes, int begin, int end, Scratch& scratch, uint8_t* out) const;
};

Converter::State::State(ConvertPlan made, const RowKernels& chosen) : plan(std::move(made)), kernels(chosen) {
  for (size_t r = 0; r < 2; ++r) {
    if (plan.horizontal[r].outputs() > 0) {
      horizontal[r] = HorizontalStage(plan.horizontal[r], kernels);
    }
  }
  sizes = scratch_sizes();
}

ScratchSizes Converter::State::scratch_sizes() const {
  ScratchSizes needed;
  needed.columns = plan.columns + kRowSlack;
  for (int c = 0; c < plan.matrix.components; ++c) {
    const ComponentPlan& component = plan.component[static_cast<size_t>(c)];
    const PlanePlan& plane = plan.planes[static_cast<size_t>(component.plane)];
    const int extent = horizontal[static_cast<size_t>(component.resolution)].input_extent() * component.step;
    needed.elements = std::max(needed.elements, std::max(plane.elements, component.offset + extent) + kRowSlack);
  }
  return needed;
}

void Converter::State::vertical_row(const PlanePlan& plane, std::span<const Plane> planes, int y, int16_t* out) const {
  const Filter& filter = plan.vertical[static_cast<size_t>(plane.resolution)];
  const Plane& source = planes[static_cast<size_t>(plane.index)];
  const auto row = static_cast<size_t>(y);
  const uint8_t* first = source.data + source.pitch * (plane.first_row + filter.start[row]) +
                         static_cast<ptrdiff_t>(plane.first_element) * plan.format.element_bytes();
  const auto end_of = [&](int r) {
    const auto last = static_cast<size_t>(std::min(r, plan.rows - 1));
    return filter.start[last] + filter.count[last];
  };
  // Fetched meanwhile: what row y + 2 reads beyond row y + 1, whose own rows were fetched during row y - 1.
  const int next = end_of(y + 1), next_end = end_of(y + 2);
  kernels.vertical({first, source.pitch, filter.weights.data() + row * static_cast<size_t>(filter.taps),
                    filter.count[row], plane.elements, plan.format.shift, plan.format.depth, out,
                    first + source.pitch * (next - filter.start[row]), std::max(0, next_end - next)});
}

void Converter::State::resample_row(std::span<const Plane> planes, int y, Scratch& scratch) const {
  for (size_t p = 0; p < plan.planes.size(); ++p) {
    vertical_row(plan.planes[p], planes, y, scratch.plane_row(p));
  }
  for (size_t c = 0; c < static_cast<size_t>(plan.matrix.components); ++c) {
    const ComponentPlan& component = plan.component[c];
    const auto resolution = static_cast<size_t>(component.resolution);
    const int16_t* row = scratch.plane_row(static_cast<size_t>(component.plane)) + component.offset;
    if (component.step > 1) {
      const int samples = plan.horizontal[resolution].end_sample();
      kernels.split(row, component.step, samples, scratch.split_row(c));
      row = scratch.split_row(c);
    }
    scratch.component[c] = horizontal[resolution].run(kernels, row, scratch.component_row(c));
  }
}

int Converter::State::pieces(int threads) const {
  const int64_t bytes =
      int64_t{plan.columns} * plan.rows * plan.output.channels * static_cast<int64_t>(plan.output.element_bytes());
  return static_cast<int>(std::clamp<int64_t>(std::min<int64_t>(threads, bytes / kPieceBytes), 1, plan.rows));
}

void Converter::State::convert_rows(std::span<const Plane> planes, int begin, int end, Scratch& scratch,
                                    uint8_t* out) const {
  const RowStore store(plan, kernels, scratch, out);
  if (begin == 0) {
    store.fill_padding();
  }
  for (int y = begin; y < end; ++y) {
    resample_row(planes, y, scratch);
    store.write_row(y);
  }
  store.finish_stores();
}

Converter::Converter(const ConvertParams& params) : state_(std::make_unique<State>(make_plan(params), cpu_kernels())) {}
Converter::~Converter() = default;
Converter::Converter(Converter&&) noexcept = default;
Converter& Converter::operator=(Converter&&) noexcept = default;

void Converter::convert(std::span<const Plane> planes, void* out, int threads) const {
  const ConvertPlan& plan = state_->plan;
  check<ArgumentError>(planes.size() >= static_cast<size_t>(plane_count()), plan.format.name, " has ", plane_count(),
                       " planes to read, got ", planes.size());
  for (const PlanePlan& plane : plan.planes) {
    check<ArgumentError>(planes[static_cast<size_t>(plane.index)].data != nullptr, "plane ", plane.index,
                         " has address 0");
  }
  check<ArgumentError>(out != nullptr, "the output has address 0");
  const int pieces = state_->pieces(threads);
  std::deque<ScratchPool::Loan> loans;  // borrowed here, so that no thread of ours can throw
  for (int i = 0; i < pieces; ++i) {
    loans.emplace_back(state_->pool, state_->pool.take(state_->sizes));
  }
  const auto convert_piece = [&](int i) {
    const auto row = [&](int n) { return static_cast<int>(int64_t{plan.rows} * n / pieces); };
    state_->convert_rows(planes, row(i), row(i + 1), loans[static_cast<size_t>(i)].scratch(),
                         static_cast<uint8_t*>(out));
  };
  std::vector<std::jthread> others;
  others.reserve(static_cast<size_t>(pieces));
  for (int i = 1; i < pieces; ++i) {
    try {
      others.emplace_back(convert_piece, i);
    } catch (const std::system_error&) {  // the machine has no thread left
      convert_piece(i);
    }
  }
  convert_piece(0);
}

std::array<int, 3> Converter::out_shape() const {
  const OutputPlan& out = state_->plan.output;
  return out.channels_last ? std::array<int, 3>{out.height, out.width, out.channels}
                           : std::array<int, 3>{out.channels, out.height, out.width};
}

int Converter::plane_count() const {
  int count = 0;
  for (const PlanePlan& plane : state_->plan.planes) {
    count = std::max(count, plane.index + 1);
  }
  return count;
}

}  // namespace frametap
