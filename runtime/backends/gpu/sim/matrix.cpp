// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// ldmatrix and mma.sync with the fragments of the PTX manual: lane l holds of
// row or column l / 4 what begins at l % 4. Products of floats are summed in
// ascending k, one rounding a step: hardware has an order of its own, so only
// the integer form has the device's bits. See interpreter.h.
#include "interpreter.h"

#include <cstring>

namespace ee::gpu {
namespace {

struct Fragments {
  const Lanes &lanes;
  const Ref *refs; // d0-3, a0-3, b0-1, c0-3

  uint32_t a(int i, int lane) const { return at(4 + i, lane); }
  uint32_t b(int i, int lane) const { return at(8 + i, lane); }
  uint32_t c(int i, int lane) const { return at(10 + i, lane); }

private:
  uint32_t at(int index, int lane) const {
    return lanes.in<uint32_t>(refs[index])[lane];
  }
};

template <typename T, int K> struct Tiles {
  T a[16][K], b[K][8];
};

/// Each register holds `N` values along k; registers 0 and 1 of A are rows
/// 0-7 and 8-15, 2 and 3 the same at the second half of k.
template <int K, int N, typename T, typename DecodeA, typename DecodeB>
void unpack(const Fragments &from, Tiles<T, K> &tiles, DecodeA decodeA,
            DecodeB decodeB) {
  for (int lane = 0; lane < warpLanes; ++lane) {
    int group = lane / 4, k0 = lane % 4 * N;
    for (int r = 0; r < 4; ++r)
      for (int i = 0; i < N; ++i)
        tiles.a[group + 8 * (r & 1)][k0 + K / 2 * (r >> 1) + i] =
            decodeA(from.a(r, lane) >> (32 / N * i));
    for (int r = 0; r < 2; ++r)
      for (int i = 0; i < N; ++i)
        tiles.b[k0 + K / 2 * r + i][group] =
            decodeB(from.b(r, lane) >> (32 / N * i));
  }
}

template <typename Sum, typename T, int K>
void multiply(const Fragments &from, const Tiles<T, K> &tiles,
              uint32_t (&out)[4][warpLanes]) {
  for (int lane = 0; lane < warpLanes; ++lane)
    for (int r = 0; r < 4; ++r) {
      int row = lane / 4 + 8 * (r >> 1), column = lane % 4 * 2 + (r & 1);
      Sum sum = std::bit_cast<Sum>(from.c(r, lane));
      for (int k = 0; k < K; ++k)
        sum += Sum(tiles.a[row][k]) * Sum(tiles.b[k][column]);
      out[r][lane] = std::bit_cast<uint32_t>(sum);
    }
}

float fromHalf(uint32_t bits) { return toFloat(Half{uint16_t(bits)}); }
float fromBFloat(uint32_t bits) { return toFloat(BFloat{uint16_t(bits)}); }
uint32_t fromByte(uint32_t bits) { return uint8_t(bits); }
uint32_t fromSignedByte(uint32_t bits) {
  return uint32_t(int32_t(int8_t(bits)));
}

} // namespace

void Interpreter::multiplyMatrix(Warp &warp, const Instruction &in) {
  Fragments from{warp.lanes, kernel.refs.data() + in.refs};
  uint32_t out[4][warpLanes];
  if (in.mode == Mode::Integer) {
    Tiles<uint32_t, 32> tiles; // sums wrap
    unpack<32, 4>(from, tiles, in.flagA ? fromSignedByte : fromByte,
                  in.flagB ? fromSignedByte : fromByte);
    multiply<uint32_t>(from, tiles, out);
  } else {
    Tiles<float, 16> tiles;
    auto decode = in.mode == Mode::F16 ? fromHalf : fromBFloat;
    unpack<16, 2>(from, tiles, decode, decode);
    multiply<float>(from, tiles, out);
  }
  for (int r = 0; r < 4; ++r)
    std::memcpy(warp.lanes.out<uint32_t>(from.refs[r]), out[r], sizeof out[r]);
}

void Interpreter::loadMatrix(Warp &warp, const Instruction &in) {
  // Lanes 8j to 8j+7 hold the addresses of the rows of matrix j.
  uint32_t out[4][warpLanes];
  for (int j = 0; j < in.elements; ++j) {
    uint16_t rows[8][8];
    for (int row = 0; row < 8; ++row) {
      int lane = 8 * j + row;
      uint64_t address = addressOf(warp, in, in.a, in.displacement, lane);
      std::memcpy(rows[row], resolve(warp, in, lane, address, 16, false), 16);
    }
    for (int lane = 0; lane < warpLanes; ++lane) {
      int row = lane / 4, column = lane % 4 * 2;
      uint32_t low = in.flagA ? rows[column][row] : rows[row][column];
      uint32_t high = in.flagA ? rows[column + 1][row] : rows[row][column + 1];
      out[j][lane] = high << 16 | low;
    }
  }
  for (int j = 0; j < in.elements; ++j)
    std::memcpy(warp.lanes.out<uint32_t>(kernel.refs[in.refs + uint32_t(j)]),
                out[j], sizeof out[j]);
}

} // namespace ee::gpu
