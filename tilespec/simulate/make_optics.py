"""Make optics: regenerates ``optics.npz``: ``python -m tilespec.simulate.make_optics SOURCE_DIR OUT``.

SOURCE_DIR holds, anywhere below it, ``dataSpec_PRO.txt``, ``dataSpec_SOIL_ATM.txt`` and
``dataSpec_SOIL_atbd_v3_ossl.txt`` of https://github.com/jbferet/prosail (MIT), and ``earthlib_spectra.npz``: the
spectral library of https://github.com/earth-chris/earthlib (MIT) as arrays ``wavelength_nm``, ``spectrum_name``,
``reflectance_u16`` (reflectance x 50000). ``optics.json`` describes each column and its source.
"""

import sys
from pathlib import Path

import numpy as np
from jaxtyping import Float64

WAVELENGTHS = np.arange(400, 1001, dtype=np.float64)
CONSTITUENTS = ("chlorophyll", "carotenoids", "anthocyanins", "brown", "water", "dry_matter")
COLUMNS = ("SAC_CHL", "SAC_CAR", "SAC_ANT", "SAC_BROWN", "SAC_EWT", "SAC_LMA")
TEXT_SOILS = {
    "soil_wet": ("dataSpec_SOIL_ATM.txt", "Wet_Soil"),
    "soil_dry": ("dataSpec_SOIL_ATM.txt", "Dry_Soil"),
    "soil_loam_a": ("dataSpec_SOIL_atbd_v3_ossl.txt", "soil_08"),
    "soil_loam_b": ("dataSpec_SOIL_atbd_v3_ossl.txt", "soil_12"),
    "soil_loam_c": ("dataSpec_SOIL_atbd_v3_ossl.txt", "soil_45"),
}
EARTHLIB = {
    "organic_a": "FS21_FS9631",
    "organic_b": "FS21_FS9663",
    "organic_c": "FS21_FS9671",
    "organic_d": "FS21_FS9685",
    "organic_e": "FS21_FS9704",
    "bark_spruce": "dedspruc",
    "bark_twig": "deadtwig",
    "bark_grey": "kellbark",
}

Column = Float64[np.ndarray, " wavelength"]


def make(source: Path, out: Path) -> None:
    """Write the optical table from the published coefficient files below ``source``."""
    leaf = _columns(_find(source, "dataSpec_PRO.txt"))
    spectra = {name: _columns(_find(source, file))[column] for name, (file, column) in TEXT_SOILS.items()}
    spectra |= _library(_find(source, "earthlib_spectra.npz"))
    np.savez_compressed(
        out,
        wavelength=WAVELENGTHS.astype(np.float32),
        refractive_index=leaf["nrefrac"].astype(np.float64),
        absorption=np.stack([leaf[name] for name in COLUMNS]).astype(np.float64),
        constituents=np.array(CONSTITUENTS),
        reflectance=np.stack(list(spectra.values())).astype(np.float32),
        materials=np.array(list(spectra)),
    )


def _find(source: Path, name: str) -> Path:
    """Return the one file called ``name`` below ``source``."""
    files = sorted(source.rglob(name))
    if not files:
        raise SystemExit(f"{source}: found no file {name}; expected one below it. See this module's docstring.")
    return files[0]


def _columns(path: Path) -> dict[str, Column]:
    """Return the named columns of a coefficient file on the table's wavelengths (the files have a 1 nm grid)."""
    names = path.read_text().split("\n", 1)[0].split("\t")
    table = np.loadtxt(path, skiprows=1)
    rows = np.searchsorted(table[:, 0], WAVELENGTHS)
    assert (table[rows, 0] == WAVELENGTHS).all(), f"{path} has another grid"
    return {name.strip(): table[rows, i] for i, name in enumerate(names)}


def _library(path: Path) -> dict[str, Column]:
    """Return the library spectra (10 nm grid, smooth materials) linearly interpolated to 1 nm."""
    with np.load(path, allow_pickle=False) as file:
        names = file["spectrum_name"].tolist()
        grid, values = file["wavelength_nm"], file["reflectance_u16"] / 5e4
    rows = {name: values[names.index(entry)] for name, entry in EARTHLIB.items()}
    return {name: np.interp(WAVELENGTHS, grid, row) for name, row in rows.items()}


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
