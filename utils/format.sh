#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# Formats the C++ files of the project with clang-format-22.
#
#   utils/format.sh [--check] [FILES...]   default: all tracked C++ files
#
# --check changes nothing, lists what would change and exits 1 if anything would.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
check=
case ${1:-} in
  --check) check=1; shift ;;
  -h|--help) sed -n '4,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
  -*) echo "error: unknown flag '$1'; see --help" >&2; exit 1 ;;
esac
if [ $# -eq 0 ]; then
  mapfile -t files < <(git ls-files '*.cpp' '*.h')
else
  files=("$@")
fi
if [ -n "$check" ]; then
  # One process for all files: each complaint starts with FILE:LINE:.
  if output=$(clang-format-22 --dry-run --Werror "${files[@]}" 2>&1); then
    exit 0
  fi
  sed -n 's/^\([^:]*\):[0-9]*:[0-9]*: error: .*/\1/p' <<<"$output" | sort -u
  exit 1
fi
clang-format-22 -i "${files[@]}"
