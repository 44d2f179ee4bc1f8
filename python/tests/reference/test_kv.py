# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The KV dictionary refuses, forgets and counts; layers that share, skip or copy entries."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from ee.reference.kv import KV, KVError, fill_layer, run_layer, written  # noqa: E402

from .dense import Dense, text, tiny  # noqa: E402


def entry(number):
    return torch.full((2, 4), float(number)), torch.full((2, 4), -float(number))


def test_refuses_unwritten_reads_and_silent_overwrites():
    kv = KV()
    with pytest.raises(KVError, match="sequence 0, level 1, position 2 was never written"):
        kv.read(0, 1, 2)
    kv.write(0, 1, 2, entry(5))
    assert kv.read(0, 1, 2)[0][0, 0] == 5
    for missing in ((1, 1, 2), (0, 0, 2), (0, 1, 1)):
        with pytest.raises(KVError):
            kv.read(*missing)
    with pytest.raises(KVError, match="already written"):
        kv.write(0, 1, 2, entry(6))
    assert kv.read(0, 1, 2)[0][0, 0] == 5
    kv.write(0, 1, 2, entry(6), overwrite=True)
    assert kv.read(0, 1, 2)[1][0, 0] == -6
    assert kv.writes[0, 1] == 2 and kv.reads[0, 1] == 3 and kv.reads.total() == 3


def test_truncates_one_level_or_all():
    kv = KV()
    for level in (0, 3):
        for position in (0, 1, 2, 5):
            kv.write(7, level, position, entry(position))
    kv.write(8, 0, 4, entry(4))
    kv.truncate(7, 0, 2)
    assert kv.positions(7, 0) == [0, 1] and kv.positions(7, 3) == [0, 1, 2, 5]
    kv.truncate_all(7, 1)
    assert kv.positions(7, 0) == kv.positions(7, 3) == [0] and kv.positions(8, 0) == [4]
    kv.write(7, 0, 1, entry(9))  # forgotten entries may be written again


def test_a_layer_reads_only_what_its_rows_see():
    model, kv = tiny(layers=2), KV()
    h = model.embed(text(6))
    run_layer(model, kv, 0, 0, h, range(6))
    assert kv.reads[0, 0] == 1 + 2 + 3 + 4 + 5 + 6 and kv.writes[0, 0] == 6
    with pytest.raises(KVError, match="level 1, position 0 was never written"):
        run_layer(model, kv, 0, 1, h[2:], range(2, 6))


def test_skipped_rows_are_invisible_and_positions_stay_true():
    model, kv = tiny(layers=1), KV()
    ids, chosen = text(7), [0, 2, 3, 6]
    h = model.embed(ids)
    got = run_layer(model, kv, 0, 0, h[chosen], chosen, visible=written(kv, 0, 0))
    mask = np.tril(np.ones((7, 7), bool))
    mask[:, [1, 4, 5]] = False
    mask[[1, 4, 5], 0] = True  # rows without keys would be undefined; they are not compared
    want = Dense(model).block(0, h.numpy(), mask)[chosen]
    assert np.abs(got.numpy() - want).max() < 1e-12


def test_rows_may_attend_to_another_levels_entries_without_projecting_their_own():
    model, kv = tiny(layers=2), KV()
    h0 = model.embed(text(5))
    h1 = run_layer(model, kv, 0, 0, h0, range(5))
    got = run_layer(model, kv, 0, 1, h1, range(5), level=0, fill=False)
    # Dense: layer 1 queries and MLP, but K,V of layer 0 from the layer-0 states.
    dense = Dense(model)
    dense.keys_values = lambda layer, h, positions=None: Dense.keys_values(dense, 0, h, positions)
    want = dense.block(1, h1.numpy(), kv_from=h0.numpy())
    assert np.abs(got.numpy() - want).max() < 1e-12
    assert kv.total("kv", [1]) == 0 and kv.total("kv", [0]) == kv.total("q", [1]) == 5


def test_filling_a_layer_projects_keys_and_values_only():
    model, kv = tiny(layers=3), KV()
    h = model.embed(text(4))
    fill_layer(model, kv, 0, 2, h, [3, 4, 8, 9])
    k, v = Dense(model).keys_values(2, h.numpy(), [3, 4, 8, 9])
    got = kv.gather(0, 2, [3, 4, 8, 9])
    assert np.abs(got[0].numpy() - k).max() < 1e-12 and np.abs(got[1].numpy() - v).max() < 1e-12
    assert kv.total("kv") == 4 and kv.total("q") == 0
