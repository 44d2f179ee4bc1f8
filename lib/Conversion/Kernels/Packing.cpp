// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Packs matrices into panels, and back. How groups of weights become codes is
// in Quantize.cpp.

#include "AdaptiveDialect/Conversion/Kernels/Packing.h"

#include "Quantize.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/ErrorHandling.h"

#include <array>
#include <bit>
#include <cstring>
#include <vector>

using namespace adaptive::kernels;

std::optional<Format> adaptive::kernels::parseFormat(llvm::StringRef name) {
  return llvm::StringSwitch<std::optional<Format>>(name)
      .Case("f32", Format::F32)
      .Case("bf16", Format::BF16)
      .Case("q8", Format::Q8)
      .Case("q4", Format::Q4)
      .Default(std::nullopt);
}

llvm::StringRef adaptive::kernels::formatName(Format format) {
  switch (format) {
  case Format::Plain:
    return "plain";
  case Format::F32:
    return "f32";
  case Format::BF16:
    return "bf16";
  case Format::Q8:
    return "q8";
  case Format::Q4:
    return "q4";
  }
  llvm_unreachable("all formats are handled");
}

int64_t Packing::panelBytes() const {
  switch (format) {
  case Format::Plain:
    return n * 4;
  case Format::F32:
    return k * panel * 4;
  case Format::BF16:
    return (k + 1) / 2 * panel * 4;
  case Format::Q8:
    return groups() * q8GroupBytes;
  case Format::Q4:
    return groups() * q4GroupBytes;
  }
  llvm_unreachable("all formats are handled");
}

int64_t Packing::bytes() const {
  return format == Format::Plain ? n * 4 : panels() * panelBytes();
}

namespace {

constexpr int64_t group = Packing::group;

template <typename T> void put(uint8_t *out, int64_t index, T value) {
  std::memcpy(out + index * int64_t(sizeof(T)), &value, sizeof(T));
}
template <typename T> T get(const uint8_t *in, int64_t index) {
  T value;
  std::memcpy(&value, in + index * int64_t(sizeof(T)), sizeof(T));
  return value;
}

/// One output of a group. `lane` is the output's place in the panel.
void putQ8(uint8_t *out, int64_t lane, const float *w) {
  Q8Group q = quantizeQ8(w);
  for (int64_t i = 0; i < group; ++i)
    out[(i / 4 * Packing::panel + lane) * 4 + i % 4] =
        uint8_t(q.codes[i] + 128);
  put(out + Packing::q8ScaleOffset, lane, q.scale);
}

void putQ4(uint8_t *out, int64_t lane, const float *w) {
  Q4Group q = quantizeQ4(w);
  for (int64_t c = 0; c < 4; ++c)
    for (int64_t i = 0; i < 4; ++i)
      out[(c * Packing::panel + lane) * 4 + i] =
          uint8_t(q.codes[8 * c + i] | q.codes[8 * c + 4 + i] << 4);
  put(out + Packing::q4ScaleOffset, lane, q.scale);
  put(out + Packing::q4MinOffset, lane, q.min);
}

float elementQ8(const uint8_t *g, int64_t lane, int64_t i) {
  int code = g[(i / 4 * Packing::panel + lane) * 4 + i % 4];
  return halfToFloat(get<uint16_t>(g + Packing::q8ScaleOffset, lane)) *
         float(code - 128);
}

float elementQ4(const uint8_t *g, int64_t lane, int64_t i) {
  int byte = g[(i / 8 * Packing::panel + lane) * 4 + i % 4];
  int code = i % 8 < 4 ? byte & 15 : byte >> 4;
  float scale = halfToFloat(get<uint16_t>(g + Packing::q4ScaleOffset, lane));
  // The product is exact: 11 bits by 4.
  return scale * float(code) +
         halfToFloat(get<uint16_t>(g + Packing::q4MinOffset, lane));
}

} // namespace

void adaptive::kernels::packMatrix(const Packing &p, const float *source,
                                   int64_t strideN, int64_t strideK,
                                   uint8_t *out) {
  if (p.format == Format::Plain) {
    for (int64_t i = 0; i < p.n; ++i)
      put(out, i, source[i * strideN]);
    return;
  }
  // Columns are gathered row by row of a whole group, so that either stride may
  // be the long one.
  int64_t step = p.format == Format::BF16  ? 2
                 : p.format == Format::F32 ? 1
                                           : group;
  std::vector<float> block(size_t(Packing::panel * step));
  for (int64_t panel = 0; panel < p.panels(); ++panel) {
    uint8_t *panelOut = out + panel * p.panelBytes();
    for (int64_t k0 = 0; k0 < p.k; k0 += step) {
      std::fill(block.begin(), block.end(), 0.0f);
      int64_t kEnd = std::min(step, p.k - k0);
      int64_t nEnd = std::min(Packing::panel, p.n - panel * Packing::panel);
      for (int64_t lane = 0; lane < nEnd; ++lane)
        for (int64_t i = 0; i < kEnd; ++i)
          block[size_t(lane * step + i)] =
              source[(panel * Packing::panel + lane) * strideN +
                     (k0 + i) * strideK];
      for (int64_t lane = 0; lane < Packing::panel; ++lane) {
        const float *w = &block[size_t(lane * step)];
        if (p.format == Format::F32)
          put(panelOut, k0 * Packing::panel + lane, w[0]);
        else if (p.format == Format::BF16)
          for (int64_t i = 0; i < 2; ++i)
            put(panelOut, (k0 / 2 * Packing::panel + lane) * 2 + i,
                floatToBFloat(w[i]));
        else if (p.format == Format::Q8)
          putQ8(panelOut + k0 / group * Packing::q8GroupBytes, lane, w);
        else
          putQ4(panelOut + k0 / group * Packing::q4GroupBytes, lane, w);
      }
    }
  }
}

void adaptive::kernels::unpackMatrix(const Packing &p, const uint8_t *packed,
                                     float *out) {
  if (p.format == Format::Plain) {
    std::memcpy(out, packed, size_t(p.n) * 4);
    return;
  }
  for (int64_t n = 0; n < p.n; ++n) {
    const uint8_t *panel = packed + n / Packing::panel * p.panelBytes();
    int64_t lane = n % Packing::panel;
    for (int64_t k = 0; k < p.k; ++k) {
      float &value = out[n * p.k + k];
      if (p.format == Format::F32)
        value = get<float>(panel, k * Packing::panel + lane);
      else if (p.format == Format::BF16)
        value = std::bit_cast<float>(
            uint32_t(get<uint16_t>(panel,
                                   (k / 2 * Packing::panel + lane) * 2 + k % 2))
            << 16);
      else if (p.format == Format::Q8)
        value = elementQ8(panel + k / group * Packing::q8GroupBytes, lane,
                          k % group);
      else
        value = elementQ4(panel + k / group * Packing::q4GroupBytes, lane,
                          k % group);
    }
  }
}
