# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""C1: KV bytes by formula, against figures worked out by hand."""

from fractions import Fraction

import pytest

from ee.errors import UserError
from ee.reference import kv_bytes as kb

SMOLLM2_135M = kb.KvShape(kv_heads=3, head_dim=64)  # 30 layers, bf16
SMOLLM_360M = kb.KvShape(kv_heads=5, head_dim=64)  # 32 layers, bf16


def balanced(recursions):
    return [Fraction(recursions - r, recursions) for r in range(recursions)]


def test_C1_published_bytes_per_token():
    assert SMOLLM2_135M.row_bytes == 768 and SMOLLM_360M.row_bytes == 1280
    assert kb.total_bytes(SMOLLM2_135M, kb.dense(30, 1)) == 23_040
    assert kb.total_bytes(SMOLLM_360M, kb.dense(32, 1)) == 40_960
    assert kb.skip_bytes_per_token(SMOLLM_360M, 2, 10, balanced(3)) == 28_160
    assert kb.total_bytes(SMOLLM_360M, kb.recursion_share(2, 10, 1)) == 15_360


MOR = [(2, 15, 31_360, 21_760), (3, 10, 28_160, 15_360), (4, 7, 24_960, 11_520)]


@pytest.mark.parametrize("recursions, blocks, skip, share", MOR)
def test_C1_mor_2_3_4(recursions, blocks, skip, share):
    """Skip: 1280 (2 + b (R+1)/2), that is 24.5, 22 and 19.5 rows; share: 1280 (2 + b)."""
    assert kb.skip_bytes_per_token(SMOLLM_360M, 2, blocks, balanced(recursions)) == skip
    assert kb.total_bytes(SMOLLM_360M, kb.recursion_share(2, blocks, 1)) == share


@pytest.mark.parametrize("recursions, ratio", [(1, Fraction(1)), (2, Fraction(3, 4)), (3, Fraction(2, 3)), (4, Fraction(5, 8))])
def test_C1_ideal_ratio_is_the_formula_without_unique_layers(recursions, ratio):
    assert kb.ideal_skip_ratio(recursions) == ratio
    per_token = kb.skip_bytes_per_token(SMOLLM_360M, 0, 6, balanced(recursions))
    assert per_token / (SMOLLM_360M.row_bytes * 6 * recursions) == ratio


def test_C1_skip_counts_rows_of_actual_depths():
    """Depths 0, 1, 3, 3, 2: 4, 3, 2 rows at recursions 0, 1, 2; 2 unique layers hold all 5; 64 bytes a row."""
    shape = kb.KvShape(kv_heads=2, head_dim=4, element_bytes=4)
    groups = kb.recursion_skip(unique=2, blocks=10, recursions=3, depths=[0, 1, 3, 3, 2])
    assert kb.total_bytes(shape, groups) == 64 * (2 * 5 + 10 * (4 + 3 + 2))


def test_C1_looped_layouts():
    """Ouro-like: 4 loops over 24 layers, 16 kv heads of 128, bf16: 8,192 bytes a row. Huginn-like: 2 + 4 x 16 + 2."""
    ouro = kb.KvShape(16, 128)
    assert [kb.total_bytes(ouro, kb.looped_slots(0, 24, slots, 1)) for slots in (4, 1, 2)] == [786_432, 196_608, 393_216]
    huginn = kb.KvShape(55, 96)
    assert kb.total_bytes(huginn, kb.looped_slots(4, 4, 16, 10)) == 10 * 21_120 * (4 + 64)
    assert kb.total_bytes(huginn, kb.looped_slots(4, 4, 3, 10)) == 10 * 21_120 * (4 + 12)


def test_C1_paged_rounding():
    """ceil(T / page) pages per level: 33 rows in pages of 16 take 48; a level without rows takes none."""
    assert kb.total_bytes(SMOLLM2_135M, kb.dense(30, 33), page=16) == 30 * 48 * 768
    assert kb.total_bytes(SMOLLM2_135M, kb.dense(30, 32), page=16) == 30 * 32 * 768
    groups = kb.recursion_skip(unique=1, blocks=2, recursions=3, depths=[1] * 15 + [2] * 2)
    assert groups == [(1, 17), (2, 17), (2, 2), (2, 0)]
    assert kb.total_bytes(SMOLLM2_135M, groups, page=16) == 768 * (32 + 2 * 32 + 2 * 16)
    assert kb.total_bytes(SMOLLM2_135M, kb.routed_layers(3, [17, 4, 0, 16]), page=8) == 768 * (3 * 24 + 8 + 0 + 16)


def test_refusals():
    with pytest.raises(UserError, match="page is 0"):
        kb.total_bytes(SMOLLM2_135M, kb.dense(1, 1), page=0)
    with pytest.raises(UserError, match=r"depth is 4, it must lie in \[0, 3\]"):
        kb.recursion_skip(1, 1, 3, [2, 4])
