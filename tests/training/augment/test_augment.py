from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis
from tilespec.models.keyed_numbers import splitmix
from tilespec.models.tasks.base import Geometry
from tilespec.spectra.bands import Bands
from tilespec.training.augment.augment import KINDS, Augment, check
from tilespec.training.augment.draws import Draws
from tilespec.training.augment.geometry import _sources
from tilespec.training.augment.mixing import _box
from tilespec.training.augment.spectral import DEGREE
from tilespec.training.config import resolve
from tilespec.training.objectives.base import Batch
from tilespec.training.settings import AugmentTable, Kind

STRENGTHS = {
    "rotate": 40.0,
    "shift": 1.5,
    "reverse": 0.7,
    "gain": 0.3,
    "slope": 0.2,
    "offset": 0.2,
    "background": 0.3,
    "noise": 0.1,
    "drop": 0.4,
    "cutmix": 1.0,
    "mixup": 1.0,
}
SPECTRAL = [kind for kind in KINDS if kind not in ("rotate", "cutmix", "mixup")]
CPU = torch.device("cpu")


def batch(seed=0, size=4, side=12, bands=5, unlabelled=0.2, blank=0.1, first=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(size, side, side, bands)).astype(np.float32)
    y = rng.integers(3, size=(size, side, side), dtype=np.uint8)
    y[rng.random(y.shape) < unlabelled] = 255
    gone = rng.random(y.shape) < blank
    x[gone], y[gone] = 0, 255
    ids = tuple(range(first, first + size))
    return Batch(x=torch.from_numpy(x).permute(0, 3, 1, 2), y=torch.from_numpy(y), ids=ids)


def augment(seed=0, probability=1.0, **strengths):
    odds = dict.fromkeys(strengths, probability)
    return Augment.of(AugmentTable(**strengths, probability=odds), seed)


def bits(found):
    mixed = (found.mixed.y, found.mixed.share) if found.mixed else ()
    return [tensor.contiguous().numpy().tobytes() for tensor in (found.x, found.y, *mixed)]


def spectra_of(y, bands=5):
    """Return an image that is a function of its labels: a spectrum for each class, nothing where unlabelled."""
    table = torch.randn(256, bands, generator=torch.Generator().manual_seed(1))
    table[255] = 0
    return table[y.long()].permute(0, 3, 1, 2)


def test_the_table_of_the_configuration_and_that_of_the_kinds_agree():
    fields = [name for name in AugmentTable.model_fields if name not in ("probability", "own")]
    assert fields == list(KINDS) == list(get_args(Kind)) == list(STRENGTHS)


def test_nothing_is_on_by_default_and_nothing_is_done():
    given_ = batch()
    assert Augment.of(AugmentTable(), 0)(given_) is given_


@pytest.mark.parametrize("kind", KINDS)
def test_patches_that_are_not_chosen_keep_their_bits(kind):
    plain = batch(size=32)
    plain.x[0, 0, 0, 0] = -0.0
    never = augment(probability=0.0, **{kind: STRENGTHS[kind]})(plain)
    assert bits(never)[:2] == bits(plain)
    some = augment(probability=0.5, **{kind: STRENGTHS[kind]})(plain)
    same = [
        torch.equal(a, b) and torch.equal(c, d) for a, b, c, d in zip(some.x, plain.x, some.y, plain.y, strict=True)
    ]
    assert 2 <= sum(same) <= 30


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_that_is_on_changes_patches_and_not_the_batch_it_was_given(kind):
    plain, before = batch(), bits(batch())
    changed = augment(**{kind: STRENGTHS[kind]})(plain)
    assert bits(changed)[:2] != before
    assert bits(plain) == before
    assert changed.x.is_contiguous(memory_format=torch.channels_last)
    assert changed.ids == plain.ids


@settings(max_examples=25)
@given(st.integers(0, 2**40), st.sampled_from([None, *KINDS]), st.integers(0, 1000))
def test_a_patch_is_changed_alike_in_any_batch_on_any_rank(seed, kind, first):
    table = STRENGTHS if kind is None else {kind: STRENGTHS[kind]}
    change = augment(seed, 0.8, **table)
    plain = batch(size=8, first=2 * first)
    whole = change(plain)
    for world in (2, 4):
        parts = [change(part) for part in plain.cut(world)]
        assert [bits(part) for part in parts] == [bits(part) for part in whole.cut(world)]
    order = [5, 2, 3, 0, 4, 1]
    mixed_up = change(Batch(x=plain.x[order], y=plain.y[order], ids=tuple(plain.ids[i] for i in order)))
    assert torch.equal(mixed_up.x, whole.x[order])
    assert torch.equal(mixed_up.y, whole.y[order])


def test_seeds_and_places_in_the_stream_differ_and_calls_do_not():
    change, plain = augment(**STRENGTHS), batch()
    assert bits(change(plain)) == bits(change(plain))
    assert bits(change(plain)) != bits(augment(1, **STRENGTHS)(plain))
    assert bits(change(plain))[0] != bits(change(replace(plain, ids=(8, 9, 10, 11))))[0]


def test_one_more_kind_changes_no_numbers_of_the_others():
    plain = batch(blank=0)
    alone, both = augment(gain=0.3)(plain), augment(gain=0.3, offset=0.2)(plain)
    moved = both.x - alone.x
    torch.testing.assert_close(moved, moved[:, :1, :1, :1].expand_as(moved), atol=1e-5, rtol=0)
    assert moved.abs().min() > 0


@pytest.mark.parametrize("kind", SPECTRAL)
def test_spectral_kinds_keep_labels_and_pixels_without_data(kind):
    plain = batch()
    changed = augment(**{kind: STRENGTHS[kind]})(plain)
    blank = (plain.x == 0).all(dim=1)
    assert 0 < blank.sum() < blank.numel() / 2
    assert torch.equal(changed.y, plain.y)
    assert (changed.x.permute(0, 2, 3, 1)[blank] == 0).all()
    assert ((changed.x == 0).all(dim=1) == blank).all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_flow_through_every_kind(kind):
    plain = batch(blank=0, unlabelled=0)
    x = plain.x.clone().requires_grad_()
    augment(**{kind: STRENGTHS[kind]})(replace(plain, x=x)).x.square().sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad != 0).float().mean() > 0.4


@settings(max_examples=30)
@given(
    st.integers(0, 1000),
    st.sampled_from([1, 2, 7, 16]),
    st.sampled_from(["rotate", "cutmix", "rotate cutmix"]),
)
def test_an_image_that_is_a_function_of_its_labels_stays_that_function(seed, side, kinds):
    plain = batch(seed, side=side)
    plain = replace(plain, x=spectra_of(plain.y))
    changed = augment(seed, **{kind: STRENGTHS[kind] for kind in kinds.split()})(plain)
    assert torch.equal(changed.x, spectra_of(changed.y))


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(0.05, 5))
def test_a_mixture_is_the_weighted_mean_of_what_its_two_answers_say(seed, strength):
    plain = batch(seed, blank=0, unlabelled=0)
    plain = replace(plain, x=spectra_of(plain.y))
    changed = augment(seed, mixup=strength, cutmix=1.0)(plain)
    share = changed.mixed.share[:, None, None, None]
    assert ((share >= 0) & (share <= 1)).all()
    expected = share * spectra_of(changed.y) + (1 - share) * spectra_of(changed.mixed.y)
    torch.testing.assert_close(changed.x, expected)


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_mixtures_lie_between_partners_and_have_no_data_where_one_has_none(seed):
    plain = batch(seed)
    changed = augment(seed, mixup=0.4)(plain)
    at = [1, 0, 3, 2]
    other, blank = plain.x[at], (plain.x == 0).all(dim=1)
    blank = (blank | blank[at])[:, None].expand_as(plain.x)
    assert (changed.x[blank] == 0).all()
    low, high = torch.minimum(plain.x, other) - 1e-6, torch.maximum(plain.x, other) + 1e-6
    assert ((changed.x >= low) & (changed.x <= high))[~blank].all()
    for mine, theirs in ((changed.y, plain.y), (changed.mixed.y, plain.y[at])):
        assert (mine[blank[:, 0]] == 255).all()
        assert torch.equal(mine[~blank[:, 0]], theirs[~blank[:, 0]])


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.floats(0.1, 5), st.integers(1, 40), st.integers(1, 40))
def test_a_box_covers_the_share_that_was_drawn_and_lies_inside(seed, strength, high, wide):
    y0, y1, x0, x1 = _box(np.random.default_rng(seed), strength, (high, wide))
    covered = 1 - np.random.default_rng(seed).beta(strength, strength)
    assert 0 <= y0 <= y1 <= high
    assert 0 <= x0 <= x1 <= wide
    assert abs((y1 - y0) * (x1 - x0) - covered * high * wide) <= (y1 - y0) / 2 + 1e-9


def test_a_box_shows_the_partner_there_and_the_patch_elsewhere():
    plain = batch(unlabelled=0.2, blank=0.1, side=32)
    changed = augment(cutmix=1.0)(plain)
    for k, other in enumerate([1, 0, 3, 2]):
        covered = 1 - Draws.of(0, "cutmix", (k,), 1.0, CPU).streams[0].beta(1.0, 1.0)
        own, theirs = ((changed.x[k] == plain.x[i]).all(dim=0) & (changed.y[k] == plain.y[i]) for i in (k, other))
        assert (own | theirs).all()
        assert (~own).sum().item() <= covered * 32 * 32 + 16 <= (theirs.sum() + 32).item()


@pytest.mark.parametrize("shape", [(9, 9), (16, 16), (5, 13)])
@pytest.mark.parametrize("degrees", [0, 17.3, -64, 90, 180, 139])
def test_a_turn_is_the_one_of_scipy_for_nearest_pixels(shape, degrees):
    plane = np.random.default_rng(0).normal(size=shape)
    index, inside = _sources(torch.tensor([float(degrees)], dtype=torch.float64), shape)
    turned = np.where(inside[0].reshape(shape), plane.ravel()[index[0]].reshape(shape), -9)
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = (np.array(shape) - 1) / 2
    expected = ndimage.affine_transform(plane, matrix, centre - matrix @ centre, order=0, mode="grid-constant", cval=-9)
    np.testing.assert_array_equal(turned, expected)


def test_outside_of_a_turned_patch_there_are_no_data():
    plain = batch(blank=0, unlabelled=0, side=32)
    changed = augment(rotate=45.0)(plain)
    gone = changed.y == 255
    assert 0.01 < gone.float().mean() < 0.2
    assert torch.equal((changed.x == 0).all(dim=1), gone)


def drawn(size=3000, bands=5, **strengths):
    """Return what becomes of patches of one pixel, ``patch, band``, that are 2 in every band."""
    plain = Batch(
        x=torch.full((size, bands, 1, 1), 2.0), y=torch.zeros(size, 1, 1, dtype=torch.uint8), ids=tuple(range(size))
    )
    return augment(**strengths)(plain).x[:, :, 0, 0].double().numpy()


def uniform(values, low, high):
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-3


def test_gain_and_offset_have_the_distributions_that_were_asked_for():
    factor, constant = drawn(gain=0.2) / 2, drawn(offset=0.3) - 2
    for values in (factor, constant):
        np.testing.assert_allclose(values, values[:, :1] * np.ones(5), atol=1e-6)
    uniform(factor[:, 0], 0.8, 1.2)
    uniform(constant[:, 0], -0.3, 0.3)


def test_a_slope_is_a_line_about_the_middle_band():
    values = drawn(slope=0.4) - 2
    uniform(values[:, -1], -0.4, 0.4)
    np.testing.assert_allclose(values, values[:, -1:] * np.linspace(-1, 1, 5), atol=1e-6)


def test_a_background_is_a_smooth_curve_from_zero_to_a_height():
    values = drawn(background=0.4, bands=40) - 2
    np.testing.assert_allclose(values.min(axis=1), 0, atol=1e-6)
    uniform(values.max(axis=1), 0, 0.4)
    places = np.linspace(-1, 1, 40)
    fitted = np.polynomial.polynomial.polyvander(places, DEGREE)
    residual = values.T - fitted @ np.linalg.lstsq(fitted, values.T, rcond=None)[0]
    assert np.abs(residual).max() < 1e-5


def test_a_share_of_the_bands_is_dropped_and_one_at_least_stays():
    values = drawn(drop=0.3, bands=20)
    assert set(np.unique(values)) == {0, 2}
    assert (values == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert ((drawn(drop=0.99) != 0).sum(axis=1) >= 1).all()


def test_a_share_of_the_patches_is_reversed():
    plain = batch(size=400, side=1, blank=0)
    changed = augment(reverse=0.25)(plain)
    turned = (changed.x == plain.x.flip(1)).all(dim=3).all(dim=2).all(dim=1)
    assert turned.float().mean().item() == pytest.approx(0.25, abs=0.07)
    assert torch.equal(changed.x[~turned], plain.x[~turned])


def test_noise_is_normal_and_independent():
    plain = Batch(x=torch.zeros(2, 3, 100, 101).add(1), y=torch.zeros(2, 100, 101, dtype=torch.uint8), ids=(0, 1))
    values = augment(noise=0.5)(plain).x.double().numpy() - 1
    assert stats.kstest(values.ravel(), stats.norm(0, 0.5).cdf).pvalue > 1e-3
    first = values[0]
    for other in (values[1], np.roll(first, 1, 0), np.roll(first, 1, 1), np.roll(first, 1, 2)):
        assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.03


def test_a_field_is_the_same_in_pieces(monkeypatch):
    whole = Draws.of(0, "noise", (3,), 1.0, CPU).normals((7, 11, 3))
    monkeypatch.setattr("tilespec.training.augment.draws.PIECE", 16)
    torch.testing.assert_close(Draws.of(0, "noise", (3,), 1.0, CPU).normals((7, 11, 3)), whole)


def test_splitmix_gives_the_published_numbers():
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    found = splitmix(1234567, 0, 4, CPU).numpy().view(np.uint64)
    assert found.tolist() == published
    assert torch.equal(splitmix(1234567, 2, 2, CPU), splitmix(1234567, 0, 4, CPU)[2:])


@settings(max_examples=30)
@given(st.integers(0, 1000), st.sampled_from([2, 3, 8]), st.floats(0, 1))
def test_a_shift_is_linear_interpolation_on_the_reflected_spectrum(seed, bands, part):
    plain = batch(seed, side=2, bands=bands, blank=0)
    strength = part * (bands - 1)
    changed = augment(seed, shift=strength)(plain).x.double().numpy() if strength else plain.x.numpy()
    for k, (patch, before) in enumerate(zip(changed, plain.x.double().numpy(), strict=True)):
        stream = Draws.of(seed, "shift", (k,), 1.0, CPU).streams[0]
        moved = stream.uniform(-strength, strength)
        wide = np.pad(before, ((bands - 1, bands - 1), (0, 0), (0, 0)), mode="reflect").reshape(-1, 4)
        at, places = np.arange(bands) + moved, np.arange(1 - bands, 2 * bands - 1)
        expected = np.stack([np.interp(at, places, spectrum) for spectrum in wide.T], axis=1)
        np.testing.assert_allclose(patch.reshape(-1, 4), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("settings_", "batch_", "ranks", "bands", "text"),
    [
        ({"mixup": 0.2}, 3, 1, 4, r"3 patches, of which a rank holds 3.*multiple of 2"),
        ({"cutmix": 1.0}, 2, 2, 4, r"2 patches, of which a rank holds 1.*multiple of 4"),
        ({"shift": 4.5}, 2, 1, 5, r"augment.shift: found 4.5 bands; expected at most 4"),
        ({"slope": 0.1}, 2, 1, 1, r"augment.slope: found one band"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_computed(settings_, batch_, ranks, bands, text):
    with pytest.raises(UserError, match=text):
        check(
            AugmentTable(**settings_),
            batch=batch_,
            ranks=ranks,
            bands=Bands(count=bands, axis=None),
            geometry=Geometry(),
        )


@pytest.mark.parametrize("kind", ["shift", "reverse", "slope", "background"])
def test_kinds_along_the_bands_are_refused_on_scores_and_the_others_are_not(kind):
    axis = SpectralAxis(name="component", unit="1", values=(1.0, 2.0, 3.0, 4.0))
    bands = Bands(count=4, axis=axis)
    with pytest.raises(UserError, match=rf"augment.{kind}: found 4 scores .* no order"):
        check(AugmentTable(**{kind: 0.5}), batch=2, ranks=1, bands=bands, geometry=Geometry())
    others = {k: v for k, v in STRENGTHS.items() if k not in ("shift", "reverse", "slope", "background")}
    check(AugmentTable(**others), batch=4, ranks=2, bands=bands, geometry=Geometry())
    check(AugmentTable(**STRENGTHS), batch=4, ranks=2, bands=Bands(count=5, axis=None), geometry=Geometry())


def test_a_patch_without_its_partner_is_refused():
    with pytest.raises(UserError, match="an even number for each rank"):
        augment(mixup=0.2)(batch(size=3))
    with pytest.raises(UserError, match="an even number for each rank"):
        augment(cutmix=0.2)(batch(size=2, first=1))


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("augment.gian", "0.1", r"expected keys of \[augment\]: rotate, shift, reverse, gain"),
        ("augment.gain", "1.5", "less than 1"),
        ("augment.noise", "-1", "greater than or equal to 0"),
        ("augment.probability.gian", "0.5", "'rotate', 'shift', 'reverse', 'gain'"),
        ("augment.probability.gain", "1.5", "less than or equal to 1"),
    ],
)
def test_a_mistake_in_the_table_is_refused_with_what_is_known(key, value, text):
    with pytest.raises(UserError, match=text):
        resolve("preset:tiny", {"data.scene": "a.zarr", key: value})


def test_strengths_and_probabilities_are_set_from_the_command_line():
    table = resolve(
        "preset:tiny", {"data.scene": "a", "augment.gain": "0.1", "augment.probability.gain": "0.5"}
    ).augment
    assert (table.gain, table.probability) == (0.1, {"gain": 0.5})
