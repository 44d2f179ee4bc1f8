// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Norm, embed, rope and select.

#include "Harness.h"

#include "gtest/gtest.h"

#include <cmath>
#include <cstring>

using namespace kernels_test;

namespace {

std::string rowsType(int64_t width) {
  return "tensor<?x" + std::to_string(width) + "xf32>";
}

void fill(Case &c, int argument, int64_t width, uint32_t seed) {
  auto values = randomFloats(size_t(c.rows() * width), seed);
  for (int64_t row = 0; row < c.rows(); ++row)
    std::memcpy(c.input(argument, row), &values[size_t(row * width)],
                size_t(width) * 4);
}

TEST(Norm, MatchesDouble) {
  for (Level level : levelsHere())
    for (bool layer : {false, true})
      for (auto [width, group] :
           {std::pair(64, 64), std::pair(90, 45), std::pair(21, 21)}) {
        std::string g = "tensor<" + std::to_string(group) + "xf32>";
        std::string text =
            layer ? "%y = adaptive.norm layer %x, %w, %b : " + g +
                        " epsilon 1.0e-5 : " + rowsType(width) + ", " + g
                  : "%y = adaptive.norm rms %x, %w epsilon 1.0e-5 : " +
                        rowsType(width) + ", " + g;
        Options options;
        options.inPlace = width == 90;
        Case c(level, "%x: " + rowsType(width) + ", %w: " + g + ", %b: " + g,
               text, options);
        auto w = randomFloats(size_t(group), 5),
             b = randomFloats(size_t(group), 6);
        c.setWeight(1, w);
        c.setWeight(2, b);
        c.rows(4);
        fill(c, 0, width, 3);
        std::vector<std::vector<float>> inputs;
        for (int64_t row = 0; row < 4; ++row)
          inputs.emplace_back(c.input(0, row), c.input(0, row) + width);
        c.run(1);
        for (int64_t row = 0; row < 4; ++row)
          for (int64_t first = 0; first < width; first += group) {
            const float *x = &inputs[size_t(row)][size_t(first)];
            double mean = 0, square = 0;
            for (int i = 0; layer && i < group; ++i)
              mean += double(x[i]) / group;
            for (int i = 0; i < group; ++i)
              square += (double(x[i]) - mean) * (double(x[i]) - mean) / group;
            for (int i = 0; i < group; ++i) {
              double expected = (double(x[i]) - mean) /
                                    std::sqrt(square + 1e-5) *
                                    double(w[size_t(i)]) +
                                (layer ? double(b[size_t(i)]) : 0);
              ASSERT_NEAR(expected, double(c.result(row)[first + i]), 3e-6);
            }
          }
      }
}

TEST(Embed, ReadsEveryFormat) {
  for (Level level : levelsHere())
    for (Format format :
         {Format::Plain, Format::F32, Format::BF16, Format::Q8, Format::Q4}) {
      Options options;
      options.format = format;
      Case c(level, "%t: tensor<?xi32>, %w: tensor<70x45xf32>",
             "%y = adaptive.embed %t, %w : tensor<?xi32>, tensor<70x45xf32> "
             "-> tensor<?x45xf32>",
             options);
      auto w = randomFloats(70 * 45, 9);
      c.setWeight(1, w);
      std::vector<float> unpacked(70 * 45);
      unpackMatrix(c.packing(1), c.packedWeight(1), unpacked.data());
      const int32_t ids[] = {0, 69, 64, 63, -1, 70, 31};
      c.rows(7);
      for (int64_t row = 0; row < 7; ++row)
        *reinterpret_cast<int32_t *>(c.input(0, row)) = ids[row];
      c.run();
      for (int64_t row = 0; row < 7; ++row) {
        int64_t id = ids[row] < 0 || ids[row] >= 70 ? 0 : ids[row];
        for (int64_t i = 0; i < 45; ++i)
          ASSERT_EQ(unpacked[size_t(id * 45 + i)], c.result(row)[i])
              << formatName(format).str() << " id " << id << " element " << i;
      }
    }
}

TEST(Rope, TurnsHalvesAndPairs) {
  for (Level level : levelsHere())
    for (bool interleaved : {false, true})
      for (auto [headDim, half] :
           {std::pair(64, 32), std::pair(20, 7), std::pair(48, 24)}) {
        int64_t width = 3 * headDim, positions = 11;
        std::string table = "tensor<11x" + std::to_string(half) + "xf32>";
        Options options;
        options.inPlace = half == 7;
        options.rows = half == 24 ? RowBuffer::RowStore : RowBuffer::Arena;
        Case c(level,
               "%x: " + rowsType(width) + ", %c: " + table + ", %s: " + table,
               "%y = adaptive.rope %x, %c, %s head_dim " +
                   std::to_string(headDim) +
                   (interleaved ? " interleaved" : "") + " : " +
                   rowsType(width) + ", " + table,
               options);
        std::vector<float> cosines, sines;
        for (int64_t p = 0; p < positions; ++p)
          for (int j = 0; j < half; ++j) {
            cosines.push_back(float(std::cos(double(p) / (j + 1))));
            sines.push_back(float(std::sin(double(p) / (j + 1))));
          }
        c.setWeight(1, cosines);
        c.setWeight(2, sines);
        c.rows(5);
        fill(c, 0, width, 3);
        std::vector<std::vector<float>> inputs;
        for (int64_t row = 0; row < 5; ++row) {
          inputs.emplace_back(c.input(0, row), c.input(0, row) + width);
          c.position[size_t(c.slot(row))] = int32_t((row * 7 + 3) % positions);
        }
        c.run(2);
        for (int64_t row = 0; row < 5; ++row)
          for (int64_t i = 0; i < width; ++i) {
            int64_t d = i % headDim, base = i - d;
            const float *x = &inputs[size_t(row)][size_t(base)];
            double expected = double(x[d]);
            if (d < 2 * half) {
              int64_t j = interleaved ? d / 2 : d % half;
              bool second = interleaved ? d % 2 : d >= half;
              int64_t other = interleaved ? d ^ 1 : (d + half) % (2 * half);
              double angle = double((row * 7 + 3) % positions) / double(j + 1);
              expected = double(x[d]) * std::cos(angle) +
                         (second ? 1 : -1) * double(x[other]) * std::sin(angle);
            }
            ASSERT_NEAR(expected, double(c.result(row)[i]), 1e-6)
                << row << " " << i;
          }
      }
}

TEST(Select, FollowsTheMask) {
  for (Level level : levelsHere()) {
    Case c(level,
           "%m: tensor<?xi1>, %a: tensor<?x19xf32>, %b: tensor<?x19xf32>",
           "%y = adaptive.select %m, %a, %b : tensor<?xi1>, tensor<?x19xf32>");
    c.rows(6);
    fill(c, 1, 19, 1);
    fill(c, 2, 19, 2);
    for (int64_t row = 0; row < 6; ++row)
      *reinterpret_cast<int32_t *>(c.input(0, row)) = row % 3 == 0;
    c.run();
    for (int64_t row = 0; row < 6; ++row)
      ASSERT_EQ(0, std::memcmp(c.result(row),
                               c.input(row % 3 == 0 ? 1 : 2, row), 19 * 4));
  }
}

} // namespace
