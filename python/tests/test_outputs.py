# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Where ee-opt's outputs go, with which permissions, and what Ctrl-C leaves: whole results or nothing, and never another thing in
the place of a device, a pipe or a link."""

import os
import shutil
import signal
import stat
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from .ee_tools import needs_tools, ok, run_tool, tool

pytestmark = needs_tools

QUIET = ("--quiet", "--cpu-levels=x86-64-v3")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """y = x + w: a function that compiles fast."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"], name="add")], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(np.arange(4, dtype=np.float32), "w")],
    )  # fmt: skip
    path = tmp_path_factory.mktemp("outputs") / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def device(path, minor):
    """A private twin of /dev/null (3) or /dev/full (7)."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
        os.close(os.open(path, os.O_WRONLY))
    except PermissionError:
        pytest.skip("devices cannot be made here")
    return path


@pytest.mark.parametrize("emit", ["carrier", "plain-onnx"])
def test_text_goes_where_its_name_leads(model, tmp_path, emit):
    want, flags = tmp_path / "want", [model, f"--emit={emit}", *QUIET]
    ok("ee-opt", *flags, "-o", want)
    real, link, pipe = tmp_path / "real", tmp_path / "link", tmp_path / "pipe"
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to("real")
    ok("ee-opt", *flags, "-o", link)
    assert link.is_symlink() and real.read_bytes() == want.read_bytes() and stat.S_IMODE(real.stat().st_mode) == 0o600
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE)
    ok("ee-opt", *flags, "-o", pipe)
    assert reader.communicate()[0] == want.read_bytes() and pipe.is_fifo()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "pipe", "real", "want"]


@pytest.mark.parametrize("emit", ["carrier", "plain-onnx"])
def test_devices_stay(model, tmp_path, emit):
    null, full = device(tmp_path / "null", 3), device(tmp_path / "full", 7)
    ok("ee-opt", model, f"--emit={emit}", *QUIET, "-o", null)
    done = run_tool("ee-opt", model, f"--emit={emit}", *QUIET, "-o", full)
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1 and b"No space left on device" in done.stderr
    assert null.is_char_device() and full.is_char_device() and len(list(tmp_path.iterdir())) == 2


def test_standard_output_that_cannot_be_written(model, tmp_path):
    with open(device(tmp_path / "full", 7), "wb") as full:
        done = subprocess.run([tool("ee-opt"), model, "--emit=carrier", "--quiet"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1 and done.stderr == b"ee-opt: error: cannot write to standard output: No space left on device\n"


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_folders_obey_the_umask(model, tmp_path, mask):
    old = os.umask(mask)
    try:
        ok("ee-opt", model, *QUIET, "-o", tmp_path / "m.ee", f"--save-temps={tmp_path / 'temps' / 'deep'}")
    finally:
        os.umask(old)
    for root in (tmp_path / "m.ee", tmp_path / "temps"):
        for path in (root, *root.rglob("*")):
            assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~mask, path


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

/* A signal at one moment: right after the folder that NAME is part of was made. */
int mkdir(const char *path, mode_t mode) {
  int (*next)(const char *, mode_t) = (int (*)(const char *, mode_t))dlsym(RTLD_NEXT, "mkdir");
  int result = next(path, mode);
  if (result == 0 && strstr(path, getenv("SHIM_NAME")))
    raise(atoi(getenv("SHIM_SIGNAL")));
  return result;
}
"""


def compile_with_signal(model, folder, number, where, disposition):
    """(exit code, what the output's and the temporary folder hold) of a compilation that gets a signal when `where` was made."""
    compiler = shutil.which("cc") or shutil.which("clang-22")
    (folder / "shim.c").write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "shim.so", folder / "shim.c", "-ldl"], check=True)
    work = folder / "work"
    work.mkdir()
    environment = os.environ | {
        "LD_PRELOAD": str(folder / "shim.so"), "SHIM_NAME": where, "SHIM_SIGNAL": str(int(number)), "TMPDIR": str(work),
        "ASAN_OPTIONS": "verify_asan_link_order=0",
    }  # fmt: skip
    # The tests themselves may run where a shell ignores signals.
    prepare = lambda: signal.signal(number, disposition)  # noqa: E731
    done = subprocess.run([tool("ee-opt"), model, "-o", work / "m.ee", *QUIET], env=environment, preexec_fn=prepare, capture_output=True)
    return done.returncode, [p.name for p in work.iterdir()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("where", ["m.ee.partial-", "ee-link"])
def test_a_signal_leaves_nothing(model, tmp_path, number, where):
    assert compile_with_signal(model, tmp_path, number, where, signal.SIG_DFL) == (-number, [])


@pytest.mark.parametrize("where", ["m.ee.partial-", "ee-link"])
def test_an_ignored_signal_stops_nothing(model, tmp_path, where):
    assert compile_with_signal(model, tmp_path, signal.SIGHUP, where, signal.SIG_IGN) == (0, ["m.ee"])
