import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilespec.core.cpu import one_blas_thread
from tilespec.spectra.numerics import rowwise as module
from tilespec.spectra.numerics.rowwise import WAYS, rowwise


@settings(deadline=None, max_examples=30)
@given(bands=st.integers(1, 200), out=st.integers(0, 200), seed=st.integers(0, 99))
def test_a_row_has_the_same_bits_wherever_it_lies(bands, out, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2048, bands)).astype(np.float32)
    matrix = rng.normal(size=(bands, out) if out else bands).astype(np.float32)
    order = rng.permutation(len(x))
    with one_blas_thread():
        np.testing.assert_array_equal(rowwise(x, matrix)[order], rowwise(x[order], matrix))


@pytest.mark.parametrize("way", WAYS)
def test_every_way_is_the_product(way):
    x, matrix = np.random.default_rng(1).normal(size=(2, 30, 30)).astype(np.float32)
    np.testing.assert_allclose(way(x, matrix[:, :7]), x.astype(float) @ matrix[:, :7], rtol=1e-4, atol=1e-5)


def test_a_way_in_which_rows_differ_is_not_taken(monkeypatch):
    def uneven(x, matrix):
        return x @ matrix + np.arange(len(x), dtype=np.float32)[:, None]

    monkeypatch.setattr(module, "WAYS", (uneven, *WAYS[1:]))
    module._way.cache_clear()
    x, matrix = np.ones((5, 3), np.float32), np.ones((3, 2), np.float32)
    np.testing.assert_array_equal(rowwise(x, matrix), np.full((5, 2), 3))
    module._way.cache_clear()
