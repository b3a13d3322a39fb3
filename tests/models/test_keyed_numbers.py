"""Keyed numbers are functions of seed, kind and id alone, and are distributed as they should be."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tilespec.models.keyed_numbers import normals, uniforms

DRAWS = {"normals": normals, "uniforms": uniforms}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@given(seed=st.integers(0, 2**63 - 1), first=st.integers(0, 2**40), n=st.integers(1, 300), data=st.data())
@settings(max_examples=30, deadline=None)
def test_an_id_has_its_numbers_in_any_batch(draw, seed, first, n, data):
    ids = torch.arange(first, first + n)
    whole = draw(seed, "latent", ids, 7)
    some = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=40))
    assert torch.equal(draw(seed, "latent", ids[some], 7), whole[some])
    assert torch.equal(draw(seed, "latent", ids, 3), whole[:, :3])


def test_seeds_kinds_and_ids_are_independent():
    ids = torch.arange(20_000)
    columns = [draw(s, k, ids, 2).T.numpy() for draw in DRAWS.values() for s in (0, 1) for k in ("a", "b")]
    found = np.corrcoef(np.concatenate(columns[:4]))
    np.testing.assert_allclose(found, np.eye(8), atol=0.03)
    found = np.corrcoef(columns[0][0][1:], columns[0][0][:-1])
    assert abs(found[0, 1]) < 0.03


def test_they_are_normal_and_uniform():
    ids = torch.arange(50_000)
    assert stats.kstest(normals(3, "latent", ids, 1).ravel().numpy(), "norm").pvalue > 1e-3
    drawn = uniforms(3, "latent", ids, 1).ravel().numpy()
    assert stats.kstest(drawn, "uniform").pvalue > 1e-3
    assert 0 < drawn.min() < drawn.max() < 1
