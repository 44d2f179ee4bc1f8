// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Each class of register instructions against arithmetic of the host that is
// written apart, over values at the edges.
#include "SimTest.h"

#include <bit>
#include <cmath>
#include <functional>
#include <limits>

using namespace ee::gpu;

namespace {

using Values = std::vector<uint64_t>;
using Reference = std::function<uint64_t(uint64_t, uint64_t, uint64_t)>;

uint64_t bitsOf(float v) { return std::bit_cast<uint32_t>(v); }
uint64_t bitsOf(double v) { return std::bit_cast<uint64_t>(v); }
float f32(uint64_t v) { return std::bit_cast<float>(uint32_t(v)); }
double f64(uint64_t v) { return std::bit_cast<double>(v); }

/// Loads three values a thread, runs `opcode` on the first `sources` of them
/// and stores the result. Widths are of the operands, result first.
std::string program(const std::string &opcode, const std::string &widths) {
  auto reg = [&](size_t i, int index) {
    return (widths[i] == '8' ? "%rd2" : "%r2") + std::to_string(index);
  };
  std::string body = "mul.wide.u32 %rd10, %r0, 24;\nadd.s64 %rd10, %rd10, "
                     "%rd0;\nmul.wide.u32 %rd11, %r0, 8;\nadd.s64 %rd11, "
                     "%rd11, %rd1;\n";
  std::string operands;
  for (size_t i = 1; i < widths.size(); ++i) {
    body += std::string("ld.global.b") + (widths[i] == '8' ? "64 " : "32 ") +
            reg(i, int(i)) + ", [%rd10+" + std::to_string(8 * (i - 1)) + "];\n";
    operands += ", " + reg(i, int(i));
  }
  if (widths[0] == 'p') {
    body += opcode + " %p1" + operands + ";\nselp.b32 %r20, 1, 0, %p1;\n";
  } else {
    body += opcode + " " + reg(0, 0) + operands + ";\n";
  }
  bool wide = widths[0] == '8';
  return kernelText(body + "st.global.b" +
                        (wide ? "64 [%rd11], %rd20;" : "32 [%rd11], %r20;"),
                    2);
}

/// Every triple of `a`, `b` and `c` must give what `expected` says, or any
/// NaN where that is NaN.
enum class Result { Bits, Float, Double };
void expectAll(const std::string &opcode, const std::string &widths,
               const Values &a, const Values &b, const Values &c,
               const Reference &expected, Result kind = Result::Bits) {
  Values inputs;
  for (uint64_t x : a)
    for (uint64_t y : b)
      for (uint64_t z : c)
        inputs.insert(inputs.end(), {x, y, z});
  size_t count = inputs.size() / 3;
  for (size_t first = 0; first < count; first += 1024) {
    size_t threads = std::min<size_t>(1024, count - first);
    Sim sim(program(opcode, widths));
    uint64_t in =
        sim.buffer(Values(inputs.begin() + long(first * 3),
                          inputs.begin() + long((first + threads) * 3)));
    uint64_t out = sim.buffer(Values(threads));
    ASSERT_EQ(sim.launch({in, out}, {uint32_t(threads)}), "") << opcode;
    ASSERT_EQ(sim.findings(), "");
    Values got = sim.read<uint64_t>(out, threads);
    for (size_t i = 0; i < threads; ++i) {
      const uint64_t *v = &inputs[(first + i) * 3];
      uint64_t want = expected(v[0], v[1], v[2]);
      if (kind == Result::Float && std::isnan(f32(want)))
        ASSERT_TRUE(std::isnan(f32(got[i]))) << opcode;
      else if (kind == Result::Double && std::isnan(f64(want)))
        ASSERT_TRUE(std::isnan(f64(got[i]))) << opcode;
      else
        ASSERT_EQ(got[i], want) << opcode << std::hex << " of " << v[0] << " "
                                << v[1] << " " << v[2];
    }
  }
}

const Values words = {0,           1,           2,           31,
                      32,          33,          0x7fff'ffff, 0x8000'0000,
                      0x8000'0001, 0xffff'ffff, 0x1234'5678, 0xdead'beef};
const Values longs = {0,
                      1,
                      63,
                      64,
                      0x7fff'ffff'ffff'ffff,
                      0x8000'0000'0000'0000,
                      ~uint64_t(0),
                      0x0123'4567'89ab'cdef};
Values floats() {
  Values v;
  for (float x :
       {0.0f, -0.0f, 1.0f, -1.5f, 3.0e-39f, 1.0e-45f, 1.1754944e-38f, 3.4e38f,
        -3.4e38f, 0.1f, 16777217.0f, std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()})
    v.push_back(bitsOf(x));
  return v;
}
Values doubles() {
  Values v;
  for (double x : {0.0, -0.0, 1.0, -1.5, 1.0e-310, 1.7e308, 0.1,
                   std::numeric_limits<double>::infinity(),
                   std::numeric_limits<double>::quiet_NaN()})
    v.push_back(bitsOf(x));
  return v;
}
const Values one = {0};

TEST(SimArith, FloatsRoundLikeTheHost) {
  auto two = [](const char *opcode, float (*fn)(float, float)) {
    expectAll(
        opcode, "444", floats(), floats(), one,
        [=](uint64_t a, uint64_t b, uint64_t) {
          return bitsOf(fn(f32(a), f32(b)));
        },
        Result::Float);
  };
  two("add.rn.f32", [](float a, float b) { return a + b; });
  two("sub.rn.f32", [](float a, float b) { return a - b; });
  two("mul.rn.f32", [](float a, float b) { return a * b; });
  two("div.rn.f32", [](float a, float b) { return a / b; });
  expectAll(
      "fma.rn.f32", "4444", floats(), floats(), floats(),
      [](uint64_t a, uint64_t b, uint64_t c) {
        return bitsOf(std::fma(f32(a), f32(b), f32(c)));
      },
      Result::Float);
  expectAll(
      "sqrt.rn.f32", "44", floats(), one, one,
      [](uint64_t a, uint64_t, uint64_t) { return bitsOf(std::sqrt(f32(a))); },
      Result::Float);
}

TEST(SimArith, DoublesRoundLikeTheHost) {
  auto two = [](const char *opcode, double (*fn)(double, double)) {
    expectAll(
        opcode, "888", doubles(), doubles(), one,
        [=](uint64_t a, uint64_t b, uint64_t) {
          return bitsOf(fn(f64(a), f64(b)));
        },
        Result::Double);
  };
  two("add.rn.f64", [](double a, double b) { return a + b; });
  two("mul.rn.f64", [](double a, double b) { return a * b; });
  two("div.rn.f64", [](double a, double b) { return a / b; });
  expectAll(
      "fma.rn.f64", "8888", doubles(), doubles(), doubles(),
      [](uint64_t a, uint64_t b, uint64_t c) {
        return bitsOf(std::fma(f64(a), f64(b), f64(c)));
      },
      Result::Double);
}

TEST(SimArith, AProductAndASumAreNotContracted) {
  // (1 + 2^-12)^2 - 1 - 2^-11: 2^-24 fused, 0 when the product is rounded.
  float a = 1 + std::ldexp(1.0f, -12), c = -1 - std::ldexp(1.0f, -11);
  Sim sim(kernelText("mov.f32 %f1, 0f3F800800;\nmul.rn.f32 %f2, %f1, %f1;\n"
                     "add.rn.f32 %f3, %f2, 0fBF801000;\n"
                     "fma.rn.f32 %f4, %f1, %f1, 0fBF801000;\n"
                     "st.global.v2.f32 [%rd0], {%f3, %f4};",
                     1));
  ASSERT_EQ(bitsOf(a), 0x3f800800u);
  ASSERT_EQ(bitsOf(c), 0xbf801000u);
  uint64_t out = sim.buffer(std::vector<float>{7, 7});
  ASSERT_EQ(sim.launch({out}, {1}), "");
  EXPECT_EQ(sim.read<float>(out, 2),
            (std::vector<float>{0.0f, std::ldexp(1.0f, -24)}));
}

TEST(SimArith, MinAndMaxOrderZerosAndPreferNumbers) {
  const uint32_t nan = 0x7fc00000, canonical = 0x7fffffff;
  const uint32_t plus = 0, minus = 0x80000000, x = 0x3f800000;
  struct Row {
    uint32_t a, b, min, max, minNan, maxNan;
  };
  const Row rows[] = {{plus, minus, minus, plus, minus, plus},
                      {minus, plus, minus, plus, minus, plus},
                      {nan, x, x, x, canonical, canonical},
                      {x, nan, x, x, canonical, canonical},
                      {nan, nan, canonical, canonical, canonical, canonical},
                      {x, minus, minus, x, minus, x}};
  for (const Row &row : rows) {
    auto expect = [&](const char *opcode, uint32_t want) {
      expectAll(opcode, "444", {row.a}, {row.b}, one,
                [=](uint64_t, uint64_t, uint64_t) { return want; });
    };
    expect("min.f32", row.min);
    expect("max.f32", row.max);
    expect("min.NaN.f32", row.minNan);
    expect("max.NaN.f32", row.maxNan);
  }
}

/// A half by its definition: 10 bits after the point, 5 of exponent.
double halfValue(uint32_t h) {
  double sign = h & 0x8000 ? -1 : 1;
  int exponent = int(h >> 10 & 31), fraction = int(h & 1023);
  if (exponent == 31)
    return fraction ? NAN : sign * INFINITY;
  return exponent ? sign * std::ldexp(1024 + fraction, exponent - 25)
                  : sign * std::ldexp(fraction, -24);
}
double bfloatValue(uint32_t b) { return f32(b << 16); }

/// The nearest of all 16-bit floats, ties to the even bit pattern; the search
/// is linear in the patterns, so it knows nothing of rounding tricks.
uint32_t nearest16(long double exact, double (*value)(uint32_t),
                   uint32_t infinity) {
  uint32_t sign = std::signbit(exact) ? 0x8000 : 0;
  long double magnitude = std::fabs(exact);
  uint32_t low = 0, high = infinity;
  while (high - low > 1) {
    uint32_t middle = (low + high) / 2;
    (value(middle) <= magnitude ? low : high) = middle;
  }
  long double below = value(low);
  long double above = high == infinity ? below + (below - value(low - 1))
                                       : (long double)value(high);
  long double half = (below + above) / 2;
  if (magnitude > half || (magnitude == half && (low & 1)))
    return sign | high;
  return sign | low;
}

TEST(SimArith, SixteenBitFloatsRoundOnce) {
  // Halves whose sums and products meet ties, overflow and denormals.
  const Values halves = {0x0001, 0x03ff, 0x0400, 0x3c00, 0x3c01, 0xbc01, 0x3555,
                         0x7bff, 0xfbff, 0x1001, 0x6801, 0x8001, 0x4bff};
  const Values bfloats = {0x3f80, 0x3f81, 0xbf83, 0x4049, 0x0080,
                          0x0001, 0x7e7f, 0x3a83, 0x4b01, 0x3b80};
  for (bool half : {true, false}) {
    const Values &values = half ? halves : bfloats;
    auto value = half ? halfValue : bfloatValue;
    uint32_t infinity = half ? 0x7c00 : 0x7f80;
    std::string type = half ? "f16" : "bf16";
    auto expect = [&](const char *name, const char *widths, auto fn) {
      const Values &third = std::string(widths) == "4444" ? values : one;
      expectAll(name + type, widths, values, values, third,
                [=](uint64_t a, uint64_t b, uint64_t c) -> uint64_t {
                  long double exact = fn((long double)value(uint32_t(a)),
                                         (long double)value(uint32_t(b)),
                                         (long double)value(uint32_t(c)));
                  if (exact == 0) // +0 or -0 as the host has it
                    return std::signbit(exact) ? 0x8000 : 0;
                  return nearest16(exact, value, infinity);
                });
    };
    expect("mul.rn.", "444", [](auto a, auto b, auto) { return a * b; });
    expect("add.rn.", "444", [](auto a, auto b, auto) { return a + b; });
    if (half) // exact in the 64 bits of a long double
      expect("fma.rn.", "4444",
             [](auto a, auto b, auto c) { return (long double)a * b + c; });
  }
}

TEST(SimArith, IntegersWrap) {
  auto u = [](const char *opcode, uint32_t (*fn)(uint32_t, uint32_t)) {
    expectAll(opcode, "444", words, words, one,
              [=](uint64_t a, uint64_t b, uint64_t) {
                return fn(uint32_t(a), uint32_t(b));
              });
  };
  u("add.s32", [](uint32_t a, uint32_t b) { return a + b; });
  u("sub.u32", [](uint32_t a, uint32_t b) { return a - b; });
  u("mul.lo.s32", [](uint32_t a, uint32_t b) { return a * b; });
  u("mul.hi.u32",
    [](uint32_t a, uint32_t b) { return uint32_t(uint64_t(a) * b >> 32); });
  u("mul.hi.s32", [](uint32_t a, uint32_t b) {
    return uint32_t(uint64_t(int64_t(int32_t(a)) * int32_t(b)) >> 32);
  });
  u("min.s32",
    [](uint32_t a, uint32_t b) { return int32_t(a) < int32_t(b) ? a : b; });
  u("max.u32", [](uint32_t a, uint32_t b) { return a > b ? a : b; });
  u("div.u32", [](uint32_t a, uint32_t b) { return b ? a / b : ~0u; });
  u("rem.s32", [](uint32_t a, uint32_t b) {
    return b ? uint32_t(int64_t(int32_t(a)) % int32_t(b)) : a;
  });
  expectAll(
      "mad.lo.s32", "4444", words, words, words,
      [](uint64_t a, uint64_t b, uint64_t c) { return uint32_t(a * b + c); });
  expectAll("mul.wide.s32", "844", words, words, one,
            [](uint64_t a, uint64_t b, uint64_t) {
              return uint64_t(int64_t(int32_t(a)) * int32_t(b));
            });
  expectAll("mad.wide.u32", "8448", words, words, longs,
            [](uint64_t a, uint64_t b, uint64_t c) { return a * b + c; });
  expectAll("mul.hi.u64", "888", longs, longs, one,
            [](uint64_t a, uint64_t b, uint64_t) {
              return uint64_t((unsigned __int128)a * b >> 64);
            });
  expectAll("mul.lo.s16", "444", {3, 0x8000, 0xffff, 0x7fff},
            {5, 0xffff, 0x7fff}, one,
            [](uint64_t a, uint64_t b, uint64_t) { return a * b & 0xffff; });
}

TEST(SimArith, ShiftsClampAndFunnel) {
  const Values by = {0, 1, 15, 16, 31, 32, 33, 63, 64, 65, 0xffff'ffff};
  expectAll("shl.b32", "444", words, by, one,
            [](uint64_t a, uint64_t n, uint64_t) {
              return n > 31 ? 0 : uint32_t(a << n);
            });
  expectAll(
      "shr.u64", "884", longs, by, one,
      [](uint64_t a, uint64_t n, uint64_t) { return n > 63 ? 0 : a >> n; });
  expectAll("shr.s32", "444", words, by, one,
            [](uint64_t a, uint64_t n, uint64_t) {
              return uint32_t(int64_t(int32_t(a)) >> std::min<uint64_t>(n, 40));
            });
  auto funnel = [](uint64_t a, uint64_t b) { return b << 32 | a; };
  expectAll("shf.l.wrap.b32", "4444", words, words, by,
            [=](uint64_t a, uint64_t b, uint64_t n) {
              return uint32_t(funnel(a, b) << (n % 32) >> 32);
            });
  expectAll("shf.r.clamp.b32", "4444", words, words, by,
            [=](uint64_t a, uint64_t b, uint64_t n) {
              return uint32_t(funnel(a, b) >> std::min<uint64_t>(n, 32));
            });
}

TEST(SimArith, BitFieldsBytesAndCounts) {
  const Values at = {0, 1, 7, 16, 31, 32, 40}, lengths = {0, 1, 8, 31, 32, 64};
  auto bit = [](uint64_t value, uint64_t i) { return value >> i & 1; };
  expectAll("bfe.u32", "4444", words, at, lengths,
            [=](uint64_t a, uint64_t s, uint64_t n) {
              uint64_t r = 0;
              for (uint64_t i = 0; i < n && i < 32; ++i)
                r |= (s + i < 32 ? bit(a, s + i) : 0) << i;
              return r;
            });
  expectAll("bfe.s32", "4444", words, at, lengths,
            [=](uint64_t a, uint64_t s, uint64_t n) {
              uint64_t r = 0;
              uint64_t last = n ? bit(a, std::min<uint64_t>(s + n - 1, 31)) : 0;
              for (uint64_t i = 0; i < 32; ++i)
                r |= (i < n && s + i < 32 ? bit(a, s + i) : last) << i;
              return r;
            });
  expectAll("popc.b32", "44", words, one, one,
            [=](uint64_t a, uint64_t, uint64_t) {
              uint64_t n = 0;
              for (int i = 0; i < 32; ++i)
                n += bit(a, uint64_t(i));
              return n;
            });
  expectAll("clz.b32", "44", words, one, one,
            [=](uint64_t a, uint64_t, uint64_t) {
              uint64_t n = 0;
              while (n < 32 && !bit(a, 31 - n))
                ++n;
              return n;
            });
  expectAll("prmt.b32", "4444", {0x4433'2211}, {0x8877'66f5},
            {0x3210, 0x7654, 0x5140, 0xc4c0, 0x0000},
            [](uint64_t a, uint64_t b, uint64_t c) {
              const uint64_t all = b << 32 | a;
              uint64_t r = 0;
              for (int i = 0; i < 4; ++i) {
                uint64_t nibble = c >> (4 * i) & 15;
                uint64_t byte = all >> (8 * (nibble % 8)) & 255;
                if (nibble > 7)
                  byte = byte > 127 ? 255 : 0;
                r |= byte << (8 * i);
              }
              return r;
            });
}

TEST(SimArith, BitFieldsAreInserted) {
  Sim sim(kernelText("mov.b32 %r1, 0x12345678;\n"
                     "bfi.b32 %r2, 0xab, %r1, 8, 8;\n"
                     "bfi.b32 %r3, 0xab, %r1, 28, 8;\n"
                     "bfi.b32 %r4, 0xab, %r1, 0, 0;\n"
                     "bfi.b32 %r5, 0xab, %r1, 0, 32;\n"
                     "st.global.v4.b32 [%rd0], {%r2, %r3, %r4, %r5};",
                     1));
  uint64_t out = sim.buffer(std::vector<uint32_t>(4));
  ASSERT_EQ(sim.launch({out}, {1}), "");
  EXPECT_EQ(sim.read<uint32_t>(out, 4),
            (std::vector<uint32_t>{0x1234ab78, 0xb2345678, 0x12345678, 0xab}));
}

TEST(SimArith, DotsOfFourBytes) {
  for (bool signedA : {false, true})
    for (bool signedB : {false, true})
      expectAll(std::string("dp4a.") + (signedA ? "s32" : "u32") +
                    (signedB ? ".s32" : ".u32"),
                "4444", words, words, {0, 5, 0xffff'ff00},
                [=](uint64_t a, uint64_t b, uint64_t c) {
                  int64_t sum = int64_t(c);
                  for (int i = 0; i < 4; ++i) {
                    int64_t x = a >> (8 * i) & 255, y = b >> (8 * i) & 255;
                    x -= signedA && x > 127 ? 256 : 0;
                    y -= signedB && y > 127 ? 256 : 0;
                    sum += x * y;
                  }
                  return uint32_t(sum);
                });
}

TEST(SimArith, ComparisonsAndNan) {
  struct Row {
    const char *name;
    bool less, equal, greater, unordered;
  };
  const Row rows[] = {
      {"eq", 0, 1, 0, 0},  {"ne", 1, 0, 1, 0},  {"lt", 1, 0, 0, 0},
      {"le", 1, 1, 0, 0},  {"gt", 0, 0, 1, 0},  {"ge", 0, 1, 1, 0},
      {"equ", 0, 1, 0, 1}, {"neu", 1, 0, 1, 1}, {"ltu", 1, 0, 0, 1},
      {"leu", 1, 1, 0, 1}, {"gtu", 0, 0, 1, 1}, {"geu", 0, 1, 1, 1},
      {"num", 1, 1, 1, 0}, {"nan", 0, 0, 0, 1}};
  for (const Row &row : rows)
    expectAll(std::string("setp.") + row.name + ".f32", "p44", floats(),
              floats(), one, [=](uint64_t a, uint64_t b, uint64_t) {
                float x = f32(a), y = f32(b);
                return std::isunordered(x, y) ? row.unordered
                       : std::isless(x, y)    ? row.less
                       : std::isgreater(x, y) ? row.greater
                                              : row.equal;
              });
  expectAll(
      "setp.lt.s32", "p44", words, words, one,
      [](uint64_t a, uint64_t b, uint64_t) { return int32_t(a) < int32_t(b); });
  expectAll("setp.hi.u32", "p44", words, words, one,
            [](uint64_t a, uint64_t b, uint64_t) { return a > b; });
}

TEST(SimArith, ConversionsClampAndExtend) {
  Values some = floats();
  for (float x : {2147483648.0f, -2147483648.0f, 4294967296.0f, 0.5f, 1.5f,
                  2.5f, -0.5f, 127.5f, 255.9f, -3.7f})
    some.push_back(bitsOf(x));
  auto clamp = [](double v, double low, double high) {
    return std::isnan(v) ? 0 : v < low ? low : v > high ? high : v;
  };
  expectAll("cvt.rzi.s32.f32", "44", some, one, one,
            [=](uint64_t a, uint64_t, uint64_t) {
              return uint32_t(int32_t(clamp(std::trunc(double(f32(a))),
                                            -2147483648.0, 2147483647.0)));
            });
  expectAll("cvt.rni.u32.f32", "44", some, one, one,
            [=](uint64_t a, uint64_t, uint64_t) {
              return uint32_t(
                  clamp(std::nearbyint(double(f32(a))), 0, 4294967295.0));
            });
  expectAll("cvt.rmi.s64.f32", "84", {bitsOf(-2.5f), bitsOf(1.0e30f)}, one, one,
            [](uint64_t a, uint64_t, uint64_t) -> uint64_t {
              return f32(a) < 0 ? uint64_t(-3) : 0x7fff'ffff'ffff'ffff;
            });
  expectAll(
      "cvt.rn.f32.s32", "44", words, one, one,
      [](uint64_t a, uint64_t, uint64_t) { return bitsOf(float(int32_t(a))); });
  expectAll("cvt.rn.f32.u64", "48", longs, one, one,
            [](uint64_t a, uint64_t, uint64_t) { return bitsOf(float(a)); });
  expectAll("cvt.s64.s32", "84", words, one, one,
            [](uint64_t a, uint64_t, uint64_t) {
              return uint64_t(int64_t(int32_t(a)));
            });
  expectAll("cvt.s32.s8", "44", words, one, one,
            [](uint64_t a, uint64_t, uint64_t) {
              return uint32_t(int32_t(int64_t(a & 255) - (a & 128) * 2));
            });
  expectAll("cvt.u16.u64", "48", longs, one, one,
            [](uint64_t a, uint64_t, uint64_t) { return a & 0xffff; });
  expectAll(
      "cvt.rn.f32.f64", "48", doubles(), one, one,
      [](uint64_t a, uint64_t, uint64_t) { return bitsOf(float(f64(a))); },
      Result::Float);
}

TEST(SimArith, HalvesOfEveryBitPattern) {
  Values all(65536);
  for (size_t i = 0; i < all.size(); ++i)
    all[i] = i;
  expectAll(
      "cvt.f32.f16", "44", all, one, one,
      [](uint64_t a, uint64_t, uint64_t) {
        return bitsOf(float(halfValue(uint32_t(a))));
      },
      Result::Float);
  // Values between two halves, at the tie, and just beside it.
  Values floatsBetween;
  for (uint32_t h = 0; h < 0x7c00; h += 37) {
    double middle = (halfValue(h) + halfValue(h + 1)) / 2;
    if (!std::isfinite(middle))
      continue;
    for (float v : {float(middle), std::nextafter(float(middle), 0.0f),
                    std::nextafter(float(middle), 1.0e9f), float(-middle)})
      floatsBetween.push_back(bitsOf(v));
  }
  expectAll("cvt.rn.f16.f32", "44", floatsBetween, one, one,
            [](uint64_t a, uint64_t, uint64_t) {
              return nearest16(f32(a), halfValue, 0x7c00);
            });
  expectAll("cvt.rn.bf16.f32", "44", floatsBetween, one, one,
            [](uint64_t a, uint64_t, uint64_t) {
              return nearest16(f32(a), bfloatValue, 0x7f80);
            });
  expectAll("cvt.rn.bf16x2.f32", "444", {bitsOf(1.0f), bitsOf(NAN)},
            {bitsOf(-2.0f)}, one, [](uint64_t a, uint64_t, uint64_t) {
              return (std::isnan(f32(a)) ? 0x7fffu : 0x3f80u) << 16 | 0xc000u;
            });
}

TEST(SimArith, PacksAndUnpacks) {
  Sim sim(kernelText("mov.b32 %r1, 0x44332211;\nmov.b32 {%h1, %h2}, %r1;\n"
                     "mov.b64 %rd2, {%r1, 0x55667788};\n"
                     "mov.b64 {%h3, %h4, %h5, %h6}, %rd2;\n"
                     "mov.b32 %r2, {%h6, %h1};\ncvt.u32.u16 %r3, %h2;\n"
                     "mov.b64 {_, %r4}, %rd2;\n"
                     "st.global.v4.b32 [%rd0], {%r1, %r2, %r3, %r4};",
                     1));
  uint64_t out = sim.buffer(std::vector<uint32_t>(4));
  ASSERT_EQ(sim.launch({out}, {1}), "");
  EXPECT_EQ(
      sim.read<uint32_t>(out, 4),
      (std::vector<uint32_t>{0x44332211, 0x22115566, 0x4433, 0x55667788}));
}

} // namespace
