# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Arithmetic of compiled functions against NumPy and Python's math, per CPU level: accuracy, special values, every dtype."""

import math

import numpy as np
import pytest

from .ee_tools import cpu_levels, needs_tools
from .function_form import compile_text, run_artifact, unary_module

pytestmark = needs_tools

# Elementwise references in float64.
UNARY = {
    "exp": np.exp, "expm1": np.expm1, "exp2": np.exp2, "log": np.log, "log1p": np.log1p, "log2": np.log2, "log10": np.log10,
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh,
    "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "cbrt": np.cbrt,
    "erf": np.vectorize(math.erf), "erfc": np.vectorize(math.erfc), "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x),
    "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "roundeven": np.rint,
    "round": lambda x: np.copysign(np.floor(np.abs(x) + 0.5), x), "absf": np.abs,
}
SPECIAL = [0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 0.5, -0.5, 1.5, 2.5, -2.5, 1e-30, -1e-30, 1e-42, 1e30, -1e30, 2.0, 1e15]
# 2 ulp of f32; f64 functions are series with a few ulp.
TOLERANCE = {"f32": 2.5e-7, "f64": 2e-15, "f16": 1e-3, "bf16": 8e-3}


def points(dtype):
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(size=120) * 3, rng.normal(size=60) * 40, rng.uniform(-1, 1, 120), np.exp(rng.normal(size=100) * 4), SPECIAL])
    return x.astype(dtype)


def check(name, got, want, tolerance, x):
    """Equal where special, close elsewhere; the sign of zero counts."""
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want), err_msg=name)
    fine = ~np.isnan(want)
    smallest = np.finfo(got.dtype).tiny
    normal = fine & np.isfinite(want) & (np.abs(want) >= smallest)
    rest = fine & ~normal & ~(np.isfinite(want) & (want != 0))  # infinities and zeros; subnormals below
    np.testing.assert_array_equal(got[rest], want[rest], err_msg=name)
    np.testing.assert_array_equal(np.signbit(got[rest]), np.signbit(want[rest]), err_msg=name)
    error = np.abs(got[normal].astype(np.float64) - want[normal]) / np.abs(want[normal])
    assert error.max() <= tolerance, (name, x[normal][error.argmax()], error.max())
    subnormal = fine & np.isfinite(want) & (want != 0) & (np.abs(want) < smallest)
    assert (np.abs(got[subnormal].astype(np.float64) - want[subnormal]) <= smallest * 1e-5).all(), name


@pytest.mark.parametrize("level", cpu_levels())
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_unary(dtype, level, tmp_path):
    element = {"f32": np.float32, "f64": np.float64}[dtype]
    artifact = compile_text(tmp_path, unary_module({k: f"%r = math.{k} %a : {dtype}" for k in UNARY}, dtype), f"--cpu-levels={level}")
    x = points(element)
    got = run_artifact(artifact, {"x": x}, UNARY)
    with np.errstate(all="ignore"):
        for name, reference in UNARY.items():
            wide = x.astype(np.float64)
            if name in ("sin", "cos", "tan"):
                wide = np.where(np.abs(wide) < 2.0**50, wide, np.nan)  # the range that docs/Architecture.md states
            want = reference(wide).astype(element)
            check(name, got[name], want, TOLERANCE[dtype], x)


def binary_module(bodies: dict, element: str) -> str:
    """Outputs computed elementwise from x and y."""
    results = ", ".join(f'tensor<?x{element}> {{ee.name = "{n}"}}' for n in bodies)
    text = f'func.func @main(%x: tensor<?x{element}> {{ee.name = "x", ee.dims = ["n"]}}, %y: tensor<?x{element}> {{ee.name = "y", ee.dims = ["n"]}}) -> ({results}) {{\n'
    text += f"  %c0 = arith.constant 0 : index\n  %n = tensor.dim %x, %c0 : tensor<?x{element}>\n  %e = tensor.empty(%n) : tensor<?x{element}>"
    for name, body in bodies.items():
        text += f"""
  %{name} = linalg.generic {{indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>, affine_map<(i) -> (i)>], iterator_types = ["parallel"]}}
      ins(%x, %y : tensor<?x{element}>, tensor<?x{element}>) outs(%e : tensor<?x{element}>) {{
  ^bb0(%a: {element}, %b: {element}, %out: {element}):
    {body}
    linalg.yield %r : {element}
  }} -> tensor<?x{element}>"""
    return text + "\n  return " + ", ".join(f"%{n}" for n in bodies) + " : " + ", ".join(f"tensor<?x{element}>" for _ in bodies) + "\n}\n"


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_binary(dtype, tmp_path):
    """Power with its special cases, remainder at any ratio, atan2 in all quadrants."""
    element = {"f32": np.float32, "f64": np.float64}[dtype]
    bodies = {"power": f"%r = math.powf %a, %b : {dtype}", "remainder": f"%r = arith.remf %a, %b : {dtype}", "angle": f"%r = math.atan2 %a, %b : {dtype}"}
    artifact = compile_text(tmp_path, binary_module(bodies, dtype))
    special = np.array(SPECIAL + [3.0, -3.0, 4.0, 7.0, -2.0, 63.0], element)
    x, y = (a.ravel() for a in np.meshgrid(special, special))
    rng = np.random.default_rng(4)
    x = np.concatenate([x, rng.normal(size=200) * 5, [3.0, -3.0, 10.0, 1e30, 1e30]]).astype(element)
    y = np.concatenate([y, rng.normal(size=200) * 3, [2.0, 3.0, -2.0, 0.7, 1e-30]]).astype(element)
    got = run_artifact(artifact, {"x": x, "y": y}, bodies)
    # The general power loses what y log x has before the point.
    tolerance = {"f32": 2.5e-7, "f64": 3e-13}[dtype]
    with np.errstate(all="ignore"):
        check("power", got["power"], np.power(x.astype(np.float64), y).astype(element), tolerance, x)
        check("angle", got["angle"], np.arctan2(x.astype(np.float64), y).astype(element), TOLERANCE[dtype], x)
        np.testing.assert_array_equal(got["remainder"], np.fmod(x, y))
    whole = (np.abs(y) < 20) & (y == np.rint(y)) & (np.abs(x) < 12) & (x == np.rint(x)) & (y > 0)
    np.testing.assert_array_equal(got["power"][whole], x[whole] ** y[whole])


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("level", cpu_levels())
def test_narrow_floats(dtype, level, tmp_path):
    """Each op rounds once; conversions of wider numbers round once too."""
    bodies = {
        "sum": f"%k = arith.constant 0.1 : {dtype}\n    %s = arith.addf %a, %k : {dtype}\n    %r = arith.mulf %s, %s : {dtype}",
        "function": f"%r = math.exp %a : {dtype}",
        "larger": f"%k = arith.constant 0.5 : {dtype}\n    %r = arith.maximumf %a, %k : {dtype}",
        "wide": f"%r = arith.extf %a : {dtype} to f32",
        "whole": f"%r = arith.fptosi %a : {dtype} to i32",
        "positive": f"%k = arith.constant 0.0 : {dtype}\n    %r = arith.cmpf ogt, %a, %k : {dtype}",
    }
    artifact = compile_text(tmp_path, unary_module(bodies, dtype, {"wide": "f32", "whole": "i32", "positive": "i1"}), f"--cpu-levels={level}")
    rng = np.random.default_rng(5)
    x = (rng.normal(size=300) * 3).astype(np.float32)
    x = rounded(x, dtype)
    got = run_artifact(artifact, {"x": x.astype(np.float16) if dtype == "f16" else x}, bodies)
    tenth = rounded(np.float32(0.1), dtype)
    total = rounded(x + tenth, dtype)
    np.testing.assert_array_equal(got["sum"].astype(np.float32), rounded(total * total, dtype))
    np.testing.assert_array_equal(got["larger"].astype(np.float32), np.maximum(x, 0.5))
    np.testing.assert_array_equal(got["wide"], x)
    np.testing.assert_array_equal(got["whole"], np.trunc(x).astype(np.int32))
    np.testing.assert_array_equal(got["positive"], x > 0)
    np.testing.assert_array_equal(got["function"].astype(np.float32), rounded(np.exp(x.astype(np.float64)), dtype))


def rounded(x, dtype) -> np.ndarray:
    """To the nearest f16 or bf16, ties to even, as float32; of float64 without a second rounding."""
    if dtype == "f16":
        return np.asarray(x).astype(np.float16).astype(np.float32)
    x = np.asarray(x, np.float64)
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.rint(mantissa * 256), exponent - 8).astype(np.float32)


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_narrowing_rounds_once(dtype, tmp_path):
    """f64 between two narrow numbers, off the middle by less than f32 can tell."""
    artifact = compile_text(tmp_path, unary_module({"narrow": f"%r = arith.truncf %a : f64 to {dtype}"}, "f64", {"narrow": dtype}))
    bits = {"f16": 11, "bf16": 8}[dtype]
    rng = np.random.default_rng(6)
    middle = (rng.integers(2 ** (bits - 1), 2**bits, 200) + 0.5) / 2**bits
    x = np.concatenate([middle * (1 + 1e-12), middle * (1 - 1e-12), middle, -middle, rng.normal(size=100), [0.0, -0.0, np.inf, 1e-3]])
    got = run_artifact(artifact, {"x": x}, ["narrow"])["narrow"].astype(np.float32)
    np.testing.assert_array_equal(got, rounded(x, dtype) if dtype == "f16" else np.where(np.isfinite(x), rounded(np.where(np.isfinite(x), x, 0), dtype), x))


INTEGERS = {"i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64}


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers(dtype, tmp_path):
    element = INTEGERS[dtype]
    bodies = {"sum": "addi", "product": "muli", "quotient": "divsi", "rest": "remsi", "down": "floordivsi", "up": "ceildivsi", "least": "minsi"}
    artifact = compile_text(tmp_path, binary_module({k: f"%r = arith.{op} %a, %b : {dtype}" for k, op in bodies.items()}, dtype))
    info = np.iinfo(element)
    rng = np.random.default_rng(7)
    x = np.concatenate([rng.integers(info.min, info.max, 300), [info.min, info.min, info.max, 7, -7, 7, -7]]).astype(element)
    y = np.concatenate([rng.integers(1, 100, 300), [-1, 1, -1, 2, 2, -2, -2]]).astype(element)
    got = run_artifact(artifact, {"x": x, "y": y}, bodies)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(got["sum"], x + y)
        np.testing.assert_array_equal(got["product"], x * y)
        np.testing.assert_array_equal(got["least"], np.minimum(x, y))
    exact = [(int(a), int(b)) for a, b in zip(x, y)]
    toward_zero = [abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) for a, b in exact]

    def wrap(values):
        return np.array([(v - int(info.min)) % (1 << info.bits) + int(info.min) for v in values], dtype=element)

    np.testing.assert_array_equal(got["quotient"], wrap(toward_zero))
    np.testing.assert_array_equal(got["rest"], wrap([a - q * b for (a, b), q in zip(exact, toward_zero)]))
    # Where the quotient does not fit there is no right answer beside wrapping; NumPy's own differs.
    fits = [i for i, (a, b) in enumerate(exact) if a // b <= info.max]
    np.testing.assert_array_equal(got["down"][fits], wrap([a // b for a, b in exact])[fits])
    np.testing.assert_array_equal(got["up"][fits], wrap([-(-a // b) for a, b in exact])[fits])
