"""PROSPECT-D: laws of leaf optics, another implementation, and measured leaves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from locations import DATA

from tilespec.simulate import laws
from tilespec.simulate.make_optics import make
from tilespec.simulate.optics import Optics, SensorBands
from tilespec.simulate.prospect import Traits, prospect

FIELDS = ("structure", "chlorophyll", "carotenoids", "anthocyanins", "brown", "water", "dry_matter")
LEAF = dict(zip(FIELDS, (1.5, 30.0, 7.0, 1.0, 0.0, 0.012, 0.004), strict=True))
LIMITS = ((1, 4), (0, 100), (0, 25), (0, 10), (0, 2), (0, 0.05), (0, 0.03))


def optics_of(**changed):
    matrix = np.array([[{**LEAF, **changed}[name] for name in FIELDS]])
    r, t = prospect(Traits.of(matrix))
    return r[0], t[0]


def at(nm):
    return int(nm - 400)


@settings(deadline=None)
@given(st.tuples(*(st.floats(low, high) for low, high in LIMITS)))
def test_no_leaf_sends_more_light_than_it_gets(traits):
    r, t = prospect(Traits.of(np.array([traits])))
    assert (r > 0).all()
    assert (t >= 0).all()
    assert (r + t <= 1 + 1e-9).all()


@settings(deadline=None)
@given(st.floats(1, 3), st.floats(1, 60), st.floats(1.05, 2))
def test_more_chlorophyll_makes_red_and_green_darker_and_leaves_the_infrared_alone(plates, chlorophyll, more):
    few, _ = optics_of(structure=plates, chlorophyll=chlorophyll)
    many, _ = optics_of(structure=plates, chlorophyll=chlorophyll * more)
    assert many[at(670)] < few[at(670)]
    assert many[at(550)] < few[at(550)]
    assert many[at(850)] == pytest.approx(few[at(850)], abs=1e-9)


@pytest.mark.parametrize(("constituent", "nm"), [("carotenoids", 480), ("anthocyanins", 540), ("brown", 450)])
def test_each_pigment_darkens_its_own_wavelength(constituent, nm):
    assert optics_of(**{constituent: 5.0})[1][at(nm)] < optics_of(**{constituent: 0.0})[1][at(nm)]


def test_water_darkens_970_nm_more_than_its_shoulders():
    dry, wet = optics_of(water=0.005)[0], optics_of(water=0.03)[0]
    drop = dry - wet
    assert drop[at(970)] > 3 * drop[at(880)] > 0


def test_more_plates_reflect_more_and_pass_less_infrared():
    thin, thick = optics_of(structure=1.2), optics_of(structure=2.5)
    assert thick[0][at(850)] > thin[0][at(850)]
    assert thick[1][at(850)] < thin[1][at(850)]


@pytest.mark.parametrize(
    ("traits", "reflected", "passed"),
    [
        (
            (1.0, 30, 7, 0, 0, 0.012, 0.004),
            [0.041072, 0.128353, 0.035629, 0.360002, 0.349217],
            [0.007285, 0.266205, 0.025741, 0.600935, 0.590879],
        ),
        (
            (1.6, 40, 8, 2, 0.1, 0.012, 0.004),
            [0.041314, 0.122401, 0.036855, 0.472626, 0.467714],
            [0.001072, 0.101973, 0.005354, 0.471734, 0.469547],
        ),
        (
            (2.4, 5, 4, 4, 0.8, 0.006, 0.009),
            [0.073116, 0.164296, 0.201483, 0.500892, 0.544046],
            [0.008873, 0.052602, 0.080608, 0.307861, 0.346266],
        ),
    ],
)
def test_values_are_those_of_the_prosail_package_2_0_5(traits, reflected, passed):
    r, t = prospect(Traits.of(np.array([traits], float)))
    rows = [at(nm) for nm in (450, 550, 670, 800, 970)]
    np.testing.assert_allclose(r[0, rows], reflected, atol=1e-6)
    np.testing.assert_allclose(t[0, rows], passed, atol=1e-6)


def test_whole_spectra_are_those_of_the_prosail_package():
    prosail = pytest.importorskip("prosail", reason="the optional package prosail is not installed")
    rng = np.random.default_rng(0)
    low, high = np.array([1, 0, 0, 0, 0, 0.001, 0.001]), np.array([3, 90, 20, 10, 1, 0.04, 0.02])
    matrix = rng.uniform(low, high, (20, 7))
    r, t = prospect(Traits.of(matrix))
    for i, (n, cab, car, ant, brown, cw, cm) in enumerate(matrix.tolist()):
        _, other_r, other_t = prosail.run_prospect(n, cab, car, brown, cw, cm, ant=ant, prospect_version="D")
        np.testing.assert_allclose(r[i], other_r[:601], atol=1e-9)
        np.testing.assert_allclose(t[i], other_t[:601], atol=1e-9)


@pytest.mark.parametrize(("name", "typical", "nearly_all"), [("angers", 0.020, 0.035), ("lopex", 0.026, 0.040)])
def test_measured_leaves_are_met_from_their_measured_chemistry(name, typical, nearly_all):
    """The best N, everything else measured: RMSE over reflectance and transmittance, 400 to 1000 nm."""
    path = DATA / "leaf_spectra_traits" / f"{name}.npz"
    if not path.exists():
        pytest.skip("the measured leaves are not here")
    with np.load(path, allow_pickle=False) as data:
        nm = data["wavelength_nm"]
        span = (nm >= 400) & (nm <= 1000)
        seen = [data[key][:, span] for key in ("reflectance_u16", "transmittance_u16")]
        chemistry = np.stack(
            [
                data[f"trait_leaf_{key}"]
                for key in ("chltot_per_area", "cartot_per_area", "water_thickness", "mass_per_area")
            ],
            axis=1,
        ).astype(float)
    known = np.isfinite(chemistry).all(1) & (seen[0] != 65535).all(1) & (seen[1] != 65535).all(1)
    assert known.sum() > 60
    measured = [array[known] / 5e4 for array in seen]
    chl, car, water, mass = chemistry[known].T
    best = np.full(known.sum(), np.inf)
    for plates in np.linspace(1, 3, 21):
        zero = np.zeros_like(chl)
        modelled = prospect(Traits.of(np.stack([zero + plates, chl, car, zero, zero, water, mass], axis=1)))
        squares = [((m - s) ** 2).mean(1) for m, s in zip(modelled, measured, strict=True)]
        best = np.minimum(best, np.sqrt(np.mean(squares, axis=0)))
    assert np.median(best) < typical
    assert np.quantile(best, 0.9) < nearly_all


def test_the_shipped_table_is_what_its_script_makes(tmp_path):
    if not DATA.exists():
        pytest.skip("the coefficient files are not here")
    make(DATA, tmp_path / "optics.npz")
    with np.load(tmp_path / "optics.npz", allow_pickle=False) as made:
        shipped = Optics.load()
        np.testing.assert_array_equal(made["absorption"], shipped.absorption)
        np.testing.assert_array_equal(made["refractive_index"], shipped.refractive_index)
        np.testing.assert_array_equal(made["reflectance"], np.stack(list(shipped.reflectance.values())))


def test_leaves_are_green_petioles_pale_and_dying_leaves_yellow():
    rng = np.random.default_rng(1)
    blade, vein, dying = (prospect(Traits.of(law(rng, 200)))[0] for law in (laws.blade, laws.vein, laws.senescent))

    def ndvi(r):
        return ((r[:, at(800)] - r[:, at(670)]) / (r[:, at(800)] + r[:, at(670)])).mean()

    assert ndvi(blade) > 0.75
    assert max(ndvi(vein), ndvi(dying)) < 0.6
    assert (blade[:, at(550)] > blade[:, at(670)]).all()
    assert dying[:, at(600)].mean() > dying[:, at(550)].mean()


@settings(deadline=None)
@given(st.integers(1, 250))
def test_bands_see_a_flat_spectrum_as_it_is(count):
    bands = SensorBands.even(count)
    assert len(bands.centre) == count
    assert bands.centre[0] == 407
    np.testing.assert_allclose(bands.response().sum(0), 1, rtol=1e-5)


def test_the_reference_preset_has_186_bands_from_407_to_997_nm():
    np.testing.assert_allclose(SensorBands.even(186).centre, np.linspace(407, 997, 186))
