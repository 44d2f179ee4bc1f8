# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Depth traces: recording, following, files."""

import json
import math

import pytest

pytest.importorskip("torch")
from ee.errors import UserError  # noqa: E402
from ee.reference.trace import DepthTrace  # noqa: E402


def test_records_and_follows():
    trace = DepthTrace()
    assert trace.decide(0, 4, 2, {"margin": -1.5}, False) is False
    assert trace.decide(0, 4, 5, {"margin": 0.5, "entropy": 3}, True) is True
    trace.finish(0, 4, 5)
    assert trace.scores == {(0, 4): {2: {"margin": -1.5}, 5: {"margin": 0.5, "entropy": 3.0}}} and trace.depth == {(0, 4): 5}
    again = DepthTrace(follow=trace)
    assert again.decide(0, 4, 2, {"margin": 99.0}, True) is False  # the script wins over the score
    assert again.decide(0, 4, 5, {"margin": -99.0}, False) is True
    assert again.decide(0, 4, 6, {}, False) is True  # a decision point after the scripted depth
    assert again.choose(0, 4, {"r0": 1.0}, 1) == 5 and trace.choose(1, 0, {}, 3) == 3
    with pytest.raises(UserError, match="sequence 0, position 5"):
        again.decide(0, 5, 2, {}, True)
    assert DepthTrace(follow={(0, 0): 1}).decide(0, 0, 1, {}, False) is True


def test_truncates_and_lists():
    trace = DepthTrace()
    for position, depth in ((0, 3), (2, 1), (1, 2)):
        trace.decide(0, position, 1, {}, False)
        trace.finish(0, position, depth)
    trace.finish(1, 2, 9)
    assert trace.depths(0) == [3, 2, 1]
    trace.truncate(0, 1)
    assert trace.depths(0) == [3] and trace.depths(1) == [9] and set(trace.scores) == {(0, 0)}


def test_files_keep_everything(tmp_path):
    trace = DepthTrace()
    trace.decide(0, 3, 2, {"a": 0.1, "b": math.inf, "c": -math.inf}, True)
    trace.decide(2, 3, 4, {"d": math.nan}, True)
    trace.finish(0, 3, 2)
    trace.save(tmp_path / "t.json")
    assert "Infinity" not in (tmp_path / "t.json").read_text()
    back = DepthTrace.load(tmp_path / "t.json")
    assert back.depth == trace.depth and back.scores[0, 3] == trace.scores[0, 3]
    assert math.isnan(back.scores[2, 3][4]["d"])


@pytest.mark.parametrize("content", ["", "[]", '{"version": 1}', json.dumps({"version": 1, "rows": [{"sequence": "x"}]})])
def test_a_bad_file_is_one_line(tmp_path, content):
    path = tmp_path / "t.json"
    path.write_text(content)
    with pytest.raises(UserError, match="must be a depth trace") as error:
        DepthTrace.load(path)
    assert "\n" not in str(error.value)
    path.write_text('{"version": 2, "rows": []}')
    with pytest.raises(UserError, match="version: must be 1, but got 2"):
        DepthTrace.load(path)
