#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# Runs clang-tidy-22 (rules in .clang-tidy) over files of an existing build.
#
#   utils/tidy.sh [--build DIR] [FILES...]   default: files changed since main
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=build
case ${1:-} in
  --build) build=$2; shift 2 ;;
  -h|--help) sed -n '4,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
[ -f "$build/compile_commands.json" ] || { echo "error: no compile_commands.json in '$build'" >&2; exit 1; }
if [ $# -eq 0 ]; then
  mapfile -t files < <(git diff --name-only --diff-filter=d main -- '*.cpp')
  [ ${#files[@]} -gt 0 ] || { echo "no changed files"; exit 0; }
else
  files=("$@")
fi
exec clang-tidy-22 -p "$build" --quiet "${files[@]}"
