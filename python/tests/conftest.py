# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models shared by the tests: made once per run, in a temporary folder."""

import os

# Before numpy is loaded: matrices here are tiny, and BLAS threads that spin cost more than they compute.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import pytest  # noqa: E402

from ee.tiny import tiny_checkpoint, tiny_config, write_tiny  # noqa: E402


@pytest.fixture(scope="session")
def checkpoint():
    """Four layers, tied head, grouped-query attention."""
    return tiny_checkpoint(tiny_config(layers=4), seed=5)


@pytest.fixture(scope="session")
def folder(checkpoint, tmp_path_factory):
    """`checkpoint` as ONNX, with and without cache."""
    path = tmp_path_factory.mktemp("tiny") / "model"
    write_tiny(checkpoint, path)
    return path
