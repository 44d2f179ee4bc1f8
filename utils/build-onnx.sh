#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# Builds ONNX's own C++ library (checker, version converter, shape inference)
# from its PyPI source package and installs it into a prefix that is shared by
# all build trees: Debian's libonnx stops at opset 17, which is too old.
#
#   utils/build-onnx.sh [PREFIX]    default: ~/.cache/adaptive-depth/onnx-VERSION
#
# A stamp file makes later runs instant. Choices come from flags only:
#   --python PY   interpreter that has pip (default: python3)
#   --cmake CM    cmake >= 3.26 (default: the one beside PY, then the one on PATH)
#   --jobs N      parallel compile jobs (default: number of processors)
#   --print       only print the prefix
set -euo pipefail

version=1.23.2
sdist_sha256=008cb0467b2bbee41448acc7da8b6f4e704624cb0d327a2d5adafc7ce19bc5b8
# Raised whenever the options below change, so that an old install is rebuilt.
recipe=1

python=python3 cmake= jobs=$(nproc) prefix= print_only=
while [ $# -gt 0 ]; do
  case $1 in
    --python) python=$2; shift 2 ;;
    --cmake) cmake=$2; shift 2 ;;
    --jobs) jobs=$2; shift 2 ;;
    --print) print_only=1; shift ;;
    -h|--help) sed -n '4,17s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "error: unknown flag '$1'; see --help" >&2; exit 1 ;;
    *) prefix=$1; shift ;;
  esac
done
prefix=${prefix:-${XDG_CACHE_HOME:-$HOME/.cache}/adaptive-depth/onnx-$version}
if [ -n "$print_only" ]; then echo "$prefix"; exit 0; fi

stamp=$prefix/.adaptive-depth-stamp
wanted="onnx $version recipe $recipe"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
  echo "onnx $version: already in $prefix"
  exit 0
fi

# CMake 3.25 (Debian 12) is refused by onnx's own CMakeLists.
cmake_is_new() {
  "$1" --version 2>/dev/null | sed -n 's/^cmake version //p' |
    awk -F. '{exit !($1 > 3 || ($1 == 3 && $2 >= 26))}'
}
if [ -z "$cmake" ]; then
  python_dir=$(dirname "$(command -v "$python")")
  for candidate in "$python_dir/cmake" "$(command -v cmake || true)"; do
    if [ -x "$candidate" ] && cmake_is_new "$candidate"; then
      cmake=$candidate
      break
    fi
  done
fi
if [ -z "$cmake" ] || ! cmake_is_new "$cmake"; then
  echo "error: onnx $version needs cmake >= 3.26; install it with 'pip install cmake' and name it with --cmake" >&2
  exit 1
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/build-onnx.XXXXXX")
trap 'rm -rf "$work"' EXIT

echo "onnx $version: downloading its source package"
"$python" -m pip download --quiet --disable-pip-version-check --no-deps \
  --no-binary onnx --dest "$work" "onnx==$version"
echo "$sdist_sha256  $work/onnx-$version.tar.gz" | sha256sum --check --quiet
tar -xzf "$work/onnx-$version.tar.gz" -C "$work"

# -O1: the library is used for milliseconds, and it halves the build.
launcher=()
if command -v ccache >/dev/null; then
  launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  # The unpacked sources lie in a fresh folder each time.
  export CCACHE_BASEDIR=$work CCACHE_NOHASHDIR=1
fi
echo "onnx $version: configuring"
"$cmake" -G Ninja -S "$work/onnx-$version" -B "$work/build" \
  -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="-O1 -DNDEBUG" \
  -DCMAKE_CXX_COMPILER=clang++-22 -DCMAKE_C_COMPILER=clang-22 "${launcher[@]}" \
  -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DCMAKE_INSTALL_PREFIX="$prefix.new" \
  -DCMAKE_INSTALL_LIBDIR=lib -DONNX_BUILD_PYTHON=OFF -DONNX_GEN_PB_TYPE_STUBS=OFF \
  -DONNX_USE_PROTOBUF_SHARED_LIBS=ON -DPython3_EXECUTABLE="$(command -v "$python")" \
  >"$work/configure.log" 2>&1 || { cat "$work/configure.log" >&2; exit 1; }

echo "onnx $version: building with $jobs jobs (about five minutes of CPU time when ccache is cold)"
NINJA_STATUS="onnx [%f/%t, %es] " ninja -C "$work/build" -j "$jobs"
rm -rf "$prefix.new"
"$cmake" --install "$work/build" >"$work/install.log" 2>&1 ||
  { cat "$work/install.log" >&2; exit 1; }

# The prefix appears only when it is complete.
echo "$wanted" >"$prefix.new/$(basename "$stamp")"
rm -rf "$prefix"
mv "$prefix.new" "$prefix"
echo "onnx $version: installed in $prefix"
