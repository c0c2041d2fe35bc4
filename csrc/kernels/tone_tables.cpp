#include "kernels/tone_tables.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "core/error.h"

namespace frametap {
namespace {

constexpr double kSourcePeak = 1000.0, kTargetPeak = 100.0, kTargetBlack = 0.1;  // cd/m2
constexpr double kLightOne = 1 << kLightBits;

// ---- BT.2100: PQ and HLG

constexpr double kM1 = 2610.0 / 16384, kM2 = 2523.0 / 4096 * 128;
constexpr double kC1 = 3424.0 / 4096, kC2 = 2413.0 / 4096 * 32, kC3 = 2392.0 / 4096 * 32;

double pq_to_light(double code) {  // cd/m2
  const double p = std::pow(code, 1.0 / kM2);
  return 10000.0 * std::pow(std::max(p - kC1, 0.0) / (kC2 - kC3 * p), 1.0 / kM1);
}

double light_to_pq(double light) {
  const double p = std::pow(light / 10000.0, kM1);
  return std::pow((kC1 + kC2 * p) / (1.0 + kC3 * p), kM2);
}

double hlg_to_scene(double code) {
  constexpr double a = 0.17883277, b = 1.0 - 4.0 * a;
  const double c = 0.5 - a * std::log(4.0 * a);
  return code <= 0.5 ? code * code / 3.0 : (std::exp((code - c) / a) + b) / 12.0;
}

double hlg_gain(double luminance) { return std::pow(luminance, 1.2 - 1.0); }  // the OOTF of a 1000 cd/m2 display

// ---- BT.2390: the EETF from the source's peak to the target's, black to black, on PQ codes

double eetf(double light) {
  const double one = light_to_pq(kSourcePeak);
  const double brightest = light_to_pq(kTargetPeak) / one, darkest = light_to_pq(kTargetBlack) / one;
  const double knee = 1.5 * brightest - 0.5;
  double e = std::min(light_to_pq(light) / one, 1.0);
  if (e > knee) {
    const double t = (e - knee) / (1.0 - knee), t2 = t * t, t3 = t2 * t;
    e = (2 * t3 - 3 * t2 + 1) * knee + (t3 - 2 * t2 + t) * (1.0 - knee) + (3 * t2 - 2 * t3) * brightest;
  }
  e += darkest * std::pow(1.0 - e, 4.0);
  return pq_to_light(e * one);
}

// ---- BT.1886: light of the target to its code

double light_to_code(double light) {
  constexpr double inverse_gamma = 1.0 / 2.4;
  const double white = std::pow(kTargetPeak, inverse_gamma), black = std::pow(kTargetBlack, inverse_gamma);
  return std::clamp((std::pow(light, inverse_gamma) - black) / (white - black), 0.0, 1.0);
}

// ---- primaries

using Matrix = std::array<std::array<double, 3>, 3>;

struct Primaries {
  std::string_view name;
  double x[3], y[3];  // R, G, B; white is D65
};

constexpr Primaries kPrimaries[] = {
    {"bt2020", {0.708, 0.170, 0.131}, {0.292, 0.797, 0.046}},
    {"display-p3", {0.680, 0.265, 0.150}, {0.320, 0.690, 0.060}},
    {"bt709", {0.640, 0.300, 0.150}, {0.330, 0.600, 0.060}},
};

Matrix inverse(const Matrix& m) {
  Matrix cofactor{};
  for (size_t i = 0; i < 3; ++i) {
    for (size_t j = 0; j < 3; ++j) {
      const size_t r = (j + 1) % 3, s = (j + 2) % 3, c = (i + 1) % 3, d = (i + 2) % 3;
      cofactor[i][j] = m[r][c] * m[s][d] - m[r][d] * m[s][c];
    }
  }
  const double determinant = m[0][0] * cofactor[0][0] + m[0][1] * cofactor[1][0] + m[0][2] * cofactor[2][0];
  for (auto& row : cofactor) {
    for (double& value : row) {
      value /= determinant;
    }
  }
  return cofactor;
}

/// Light of R, G, B to X, Y, Z, white having Y = 1.
Matrix to_xyz(const Primaries& p) {
  Matrix m{};
  for (size_t i = 0; i < 3; ++i) {
    m[0][i] = p.x[i] / p.y[i];
    m[1][i] = 1.0;
    m[2][i] = (1.0 - p.x[i] - p.y[i]) / p.y[i];
  }
  const double white[3] = {0.3127 / 0.3290, 1.0, (1.0 - 0.3127 - 0.3290) / 0.3290};
  const Matrix back = inverse(m);
  for (size_t i = 0; i < 3; ++i) {
    const double share = back[i][0] * white[0] + back[i][1] * white[1] + back[i][2] * white[2];
    for (auto& row : m) {
      row[i] *= share;
    }
  }
  return m;
}

const Primaries& find_primaries(std::string_view name) {
  const auto* found = std::find_if(std::begin(kPrimaries), std::end(kPrimaries),
                                   [name](const Primaries& known) { return known.name == name; });
  check<ArgumentError>(found != std::end(kPrimaries), "primaries \"", name, "\" are not known");
  return *found;
}

/// Q14; the middle weight takes what rounding leaves, so that gray stays gray.
void quantize(const double (&row)[3], int16_t* to) {
  int sum = 0;
  for (size_t i = 0; i < 3; ++i) {
    to[i] = static_cast<int16_t>(std::lround(std::ldexp(row[i], kWeightBits)));
    sum += to[i];
  }
  to[1] = static_cast<int16_t>(to[1] + (1 << kWeightBits) - sum);
}

void set_matrices(ToneTables& tables, std::string_view primaries, bool bgr) {
  const Matrix source = to_xyz(find_primaries(primaries)), target = inverse(to_xyz(find_primaries("bt709")));
  quantize({source[1][0], source[1][1], source[1][2]}, tables.luminance);
  for (size_t i = 0; i < 3; ++i) {
    double row[3] = {};
    for (size_t j = 0; j < 3; ++j) {
      for (size_t k = 0; k < 3; ++k) {
        row[j] += target[i][k] * source[k][j];
      }
    }
    quantize(row, tables.gamut[i]);
  }
  if (bgr) {
    std::swap(tables.gamut[0], tables.gamut[2]);
    for (auto& row : tables.gamut) {
      std::swap(row[0], row[2]);
    }
    std::swap(tables.luminance[0], tables.luminance[2]);
  }
}

// ---- tables

int32_t fixed(double value, double one) { return static_cast<int32_t>(std::lround(value * one)); }

template <class Curve>
std::vector<int32_t> table_by_code(Curve curve) {
  std::vector<int32_t> table(kToLightEntries);
  for (size_t i = 0; i < table.size(); ++i) {
    table[i] = fixed(curve(std::min(static_cast<double>(i) / (255 * 4), 1.0)), kLightOne);
  }
  return table;
}

template <class Curve>
std::vector<int32_t> table_by_logarithm(double one, Curve curve) {
  std::vector<int32_t> table(kLogEntries);
  for (size_t i = 0; i < table.size(); ++i) {
    const auto octave = static_cast<int>(i / kOctaveEntries);
    const double place = 1.0 + static_cast<double>(i % kOctaveEntries) / kOctaveEntries;
    table[i] = fixed(curve(std::min(std::ldexp(place, octave - kLightBits), 1.0)), one);
  }
  return table;
}

}  // namespace

ToneMap ToneTables::view() const {
  ToneMap map{};
  if (!empty()) {
    map.to_light = to_light.data();
    map.ootf = ootf.empty() ? nullptr : ootf.data();
    map.eetf = eetf.empty() ? nullptr : eetf.data();
    map.to_code = to_code.data();
    std::copy_n(luminance, 3, map.luminance);
    std::copy_n(&gamut[0][0], 9, &map.gamut[0][0]);
  }
  return map;
}

ToneTables make_tone_tables(std::string_view tone_map, std::string_view primaries, bool bgr) {
  ToneTables tables;
  if (tone_map == "none") {
    return tables;
  }
  check<ArgumentError>(tone_map == "pq" || tone_map == "hlg", "tone map \"", tone_map, "\" is not none, pq or hlg");
  // The target shows at most its white: what the lifted black adds there is cut.
  const auto to_target = [](double light) { return std::min(eetf(light) / kTargetPeak, 1.0); };
  if (tone_map == "pq") {
    tables.to_light = table_by_code([&](double code) { return to_target(pq_to_light(code)); });
  } else {
    tables.to_light = table_by_code(hlg_to_scene);
    tables.ootf = table_by_logarithm(kLightOne, hlg_gain);
    tables.eetf = table_by_logarithm(kLightOne, [&](double light) { return to_target(light * kSourcePeak); });
  }
  tables.to_code = table_by_logarithm(kMixWhite, [](double light) { return light_to_code(light * kTargetPeak); });
  set_matrices(tables, primaries, bgr);
  return tables;
}

}  // namespace frametap
