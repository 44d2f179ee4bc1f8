# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Adaptive-depth methods as float64 reference code, one file per method, written for reading.

All of them run the blocks of `model.py` on the dictionary of `kv.py`, inside the loop of `generate.py`, and record or
follow the depth traces of `trace.py`. Nothing here is fast; everything here is meant to be right.
"""
