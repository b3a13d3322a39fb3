"""Tables of spectra in arrays: two axes with a name, labels and layers in vectors, and what is refused."""

from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import scipy.io
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tilespec import api
from tilespec.core.errors import UserError

COUNT, BANDS = 9, 5
CENTRES = np.array([900.5, 905, 910, 915, 920])
SPECTRA = np.random.default_rng(0).random((COUNT, BANDS)).astype(np.float32)
LABELS = (np.arange(COUNT) % 3).astype(np.uint8)
FAT = np.linspace(1, 2, COUNT)


def npy(path, spectra, **others):
    np.save(path.with_suffix(".npy"), spectra)
    return path.with_suffix(".npy")


def npz(path, spectra, **others):
    np.savez(path.with_suffix(".npz"), spectra=spectra, **others)
    return path.with_suffix(".npz")


def mat(path, spectra, **others):
    scipy.io.savemat(path.with_suffix(".mat"), {"spectra": spectra, **others})
    return path.with_suffix(".mat")


def mat73(path, spectra, **others):
    """Write HDF5 as MATLAB does, whose arrays are stored with their axes reversed."""
    with h5py.File(path.with_suffix(".mat"), "w") as file:
        for name, values in {"spectra": spectra, **others}.items():
            file[name] = np.atleast_2d(values).T
    return path.with_suffix(".mat")


def hdf5(path, spectra, **others):
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        for name, values in {"spectra": spectra, **others}.items():
            file[name] = values
    return path.with_suffix(".h5")


def read(store):
    with xr.open_zarr(store) as table:
        return SimpleNamespace(**{name: np.asarray(array) for name, array in table.variables.items()}, dims=table.sizes)


@pytest.mark.parametrize(
    ("write", "turned"), [(npz, False), (npz, True), (mat, False), (mat73, False), (mat73, True), (hdf5, True)]
)
def test_an_array_of_spectra_and_bands_is_a_table_with_its_axis_labels_and_layers(tmp_path, write, turned):
    stored = {"spectra": SPECTRA.T if turned else SPECTRA, "wavelength": CENTRES, "y": LABELS, "fat": FAT}
    path = write(tmp_path / "t", **stored)
    order = "band,spectrum" if turned else "spectrum,band"
    api.ingest(path, tmp_path / "t", axes=order, labels=f"{path}:y", layer={"fat": f"{path}:fat"}, class_names="a,b,c")
    table = read(tmp_path / "t")
    assert dict(table.dims) == {"spectrum": COUNT, "band": BANDS}
    assert_array_equal(table.cube, SPECTRA)
    assert_allclose(table.wavelength, CENTRES)
    assert_array_equal(getattr(table, "class"), LABELS)
    assert_allclose(table.fat, FAT)


def test_arrays_in_npy_take_wavelengths_and_labels_from_files_of_their_own(tmp_path):
    path, labels = npy(tmp_path / "t", SPECTRA), npy(tmp_path / "y", LABELS + 1)
    (tmp_path / "axis.txt").write_text("\n".join(map(str, CENTRES)))
    options = {"axes": "spectrum,band", "wavelengths": str(tmp_path / "axis.txt"), "wavelength_unit": "cm-1"}
    api.ingest(path, tmp_path / "t", **options, labels=str(labels), ignore_label=0)
    table = read(tmp_path / "t")
    assert_array_equal(table.cube, SPECTRA)
    assert_allclose(table.wavenumber, CENTRES)
    assert_array_equal(getattr(table, "class"), LABELS)


@settings(max_examples=6, deadline=None)
@given(count=st.integers(2, 5000), bands=st.integers(2, 4), kind=st.sampled_from("ifd"), turned=st.booleans())
def test_every_array_comes_in_as_it_is(tmp_path_factory, count, bands, kind, turned):
    folder = tmp_path_factory.mktemp("t")
    values = np.random.default_rng(count).integers(0, 1000, (count, bands)).astype(kind)
    np.save(folder / "t.npy", values.T if turned else values)
    api.ingest(folder / "t.npy", folder / "t", axes="band,spectrum" if turned else "spectrum,band")
    assert_array_equal(read(folder / "t").cube, values)


def test_a_variable_names_the_table_among_several_arrays(tmp_path):
    path = npz(tmp_path / "t", SPECTRA, other=SPECTRA + 1)
    with pytest.raises(UserError, match="--variable"):
        api.ingest(path, tmp_path / "t", axes="spectrum,band")
    api.ingest(path, tmp_path / "t", axes="spectrum,band", variable="other")
    assert_array_equal(read(tmp_path / "t").cube, SPECTRA + 1)


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (SPECTRA, {}, "If spectra is a table of spectra, say how: --axes spectrum,band, or --axes band,spectrum"),
        (SPECTRA, {"variable": "spectra"}, "--axes spectrum,band"),
        (SPECTRA, {"axes": "y,x,band"}, "--axes spectrum,band"),
        (SPECTRA, {"axes": "spectrum,x"}, "'spectrum,x'; expected spectrum and band"),
        (SPECTRA, {"axes": "spectrum"}, "'spectrum'; expected spectrum and band"),
        (SPECTRA[None], {"axes": "spectrum,band"}, "expected one numeric array of 2 dimensions"),
        (SPECTRA, {"axes": "spectrum,band", "labels": "short"}, "8 x 1 labels; expected 9 x 1"),
        (SPECTRA, {"axes": "spectrum,band", "labels": "spectra"}, "expected one number for each spectrum"),
        (SPECTRA, {"axes": "spectrum,band", "wavelengths": "short"}, "8 values; expected 5"),
    ],
)
def test_what_is_no_table_is_refused_with_what_to_write(tmp_path, array, options, message):
    path = npz(tmp_path / "t", array, short=LABELS[:-1])
    options = options | ({"labels": f"{path}:{options['labels']}"} if "labels" in options else {})
    with pytest.raises(UserError, match=message):
        api.ingest(path, tmp_path / "t", **options)
    assert not (tmp_path / "t").exists()
