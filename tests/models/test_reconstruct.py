"""The task, its losses and its batches, before any training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis
from tilespec.models.nets import build
from tilespec.models.tasks import task
from tilespec.models.tasks.base import Task
from tilespec.models.tasks.values import SMALLEST
from tilespec.spectra.bands import Bands
from tilespec.training.augment.augment import KINDS, Augment, on_same_bands
from tilespec.training.objectives import objective
from tilespec.training.objectives.base import Batch
from tilespec.training.objectives.losses import l1, mrae, mse
from tilespec.training.player import Player
from tilespec.training.settings import AugmentTable

LOSSES = (l1, mse, mrae)


def reconstruct(**options):
    return task({"name": "reconstruct", "channels": 5, "low": -10.0, "high": 90.0, **options})


def batch(seed=0, size=4, side=8, channels=5, unknown=0.2, blank=0.1):
    """Return patches with unknown values, and with pixels that have no data."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(size, side, side, 3)).astype(np.float32)
    y = rng.uniform(-10, 90, size=(size, side, side, channels)).astype(np.float32)
    y[rng.random(y.shape) < unknown] = np.nan
    gone = rng.random(y.shape[:3]) < blank
    x[gone], y[gone] = 0, np.nan
    x, y = (torch.from_numpy(planes).permute(0, 3, 1, 2) for planes in (x, y))
    return Batch(x=x, y=y, ids=tuple(range(size)))


@pytest.mark.parametrize("head", ["linear", "tanh"])
@given(low=st.floats(-10, 0), span=st.floats(0.1, 1e5), seed=st.integers(0, 99))
def test_activate_undoes_planes_and_blending_may_lie_on_either_side(head, low, span, seed):
    of, rng = reconstruct(head=head, low=low, high=low + span), np.random.default_rng(seed)
    y = torch.from_numpy(rng.uniform(low, low + span, (2, 5, 3, 4)).astype(np.float32))
    planes = of.planes(y)
    ends = (-1, 1) if head == "tanh" else (0, 1)
    assert ends[0] - 1e-3 <= planes.min() <= planes.max() <= ends[1] + 1e-3
    near = {"rtol": 1e-4, "atol": 1e-5 * (span - low)}
    torch.testing.assert_close(of.activate(planes), y, **near)
    weights = torch.from_numpy(rng.dirichlet([1, 1]).astype(np.float32))[:, None, None, None]
    blended = (weights * of.activate(planes)).sum(0)
    torch.testing.assert_close(blended, of.activate((weights * planes).sum(0, keepdim=True))[0], **near)
    np.testing.assert_array_equal(of.decode(blended.numpy()), blended.numpy())


def test_it_is_a_task_of_values():
    of = reconstruct()
    assert isinstance(of, Task)
    assert (of.truth, of.channels_out, of.metrics[0], of.head) == ("field", 5, "rmse", "linear")
    assert (of.geometry.scale, of.geometry.margin) == (1, 0)


def test_nodata_becomes_input_zero_and_unknown_values_and_nothing_else_changes():
    scores, truth = np.arange(24, dtype=np.float32).reshape(2, 4, 3), np.ones((2, 4, 5), np.float32)
    assert all(a is b for a, b in zip(reconstruct().pair(scores, truth), (scores, truth), strict=True))
    scores[0, 1, 2], scores[1, 3, 0] = np.nan, np.inf
    x, y = reconstruct().pair(scores, truth)
    blank = np.zeros((2, 4), bool)
    blank[0, 1] = blank[1, 3] = True
    assert (x[blank] == 0).all()
    assert np.isnan(y[blank]).all()
    np.testing.assert_array_equal(x[~blank], scores[~blank])
    assert (y[~blank] == 1).all()
    assert np.isnan(scores[0, 1, 2]), "the cached scores are left as they are"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"channels": 0}, "at least one channel"),
        ({"low": 1.0, "high": 1.0}, "low below high"),
        ({"high": float("inf")}, "low below high"),
        ({"head": "logits"}, "linear or tanh"),
        ({"classes": 3}, r"keys of \[task\]: channels, low, high, head"),
    ],
)
def test_what_is_no_such_task_is_refused(options, text):
    with pytest.raises(UserError, match=text):
        reconstruct(**options)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_of_the_batch_is_the_mean_over_equal_slices(loss):
    some, raw = batch(), torch.randn(4, 5, 8, 8)
    parts = [loss(raw[i : i + 2], some.y[i : i + 2], reconstruct()) for i in (0, 2)]
    torch.testing.assert_close(loss(raw, some.y, reconstruct()), torch.stack(parts).mean())


@pytest.mark.parametrize("loss", LOSSES)
def test_unknown_values_have_no_gradient_and_all_others_have_one(loss):
    some, raw = batch(), torch.randn(4, 5, 8, 8, requires_grad=True)
    loss(raw, some.y, reconstruct()).backward()
    known = torch.isfinite(some.y)
    assert raw.grad[~known].abs().max() == 0
    assert raw.grad[known].abs().min() > 0


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("head", ["linear", "tanh"])
def test_losses_are_what_their_papers_say_of_what_is_known(loss, head):
    some, of = batch(size=1), reconstruct(head=head)
    raw = torch.randn(1, 5, 8, 8)
    truth, answer = (planes.numpy()[np.isfinite(some.y.numpy())] for planes in (some.y, of.activate(raw)))
    span = 100 / (2 if head == "tanh" else 1)
    error = np.abs(answer - truth).astype(np.float64)
    expected = {l1: error / span, mse: (error / span) ** 2, mrae: error / np.maximum(np.abs(truth), SMALLEST * 100)}
    assert loss(raw, some.y, of).item() == pytest.approx(expected[loss].mean(), rel=1e-4)


def test_zero_labels_give_a_relative_error_that_is_a_number_and_so_are_its_gradients():
    of, y = reconstruct(low=0.0), torch.tensor([0.0, -0.0, 1e-30, float("nan"), 45.0]).view(1, 5, 1, 1)
    raw = torch.full((1, 5, 1, 1), 0.5, requires_grad=True)
    found = mrae(raw, y, of)
    found.backward()
    assert torch.isfinite(found)
    assert torch.isfinite(raw.grad).all()
    assert found.item() == pytest.approx((3 * 0.5 / SMALLEST + 0) / 4, rel=1e-3)


def test_a_sample_of_which_nothing_is_known_counts_as_zero_and_infinite_values_are_unknown():
    some, raw = batch(size=2), torch.randn(2, 5, 8, 8)
    gone = some.y.clone()
    gone[1] = torch.tensor([float("nan"), float("inf")])[torch.randint(2, gone[1].shape)]
    for loss in LOSSES:
        expected = loss(raw[:1], some.y[:1], reconstruct()) / 2
        torch.testing.assert_close(loss(raw, gone, reconstruct()), expected)


def player(net):
    return Player(module=net, net=net, optimiser=torch.optim.SGD(net.parameters()))


def cast(**options):
    torch.manual_seed(0)
    judge = {"base_width": 2, "n_layers": 1, "norm": "channel"}
    built = objective({"name": "cgan", "loss": "l1", "discriminator": judge, **options}, reconstruct(head="tanh"))
    net = build("unet", 3, 5, base_width=2, n_down=2, norm="channel", head="tanh", init="kaiming")
    nets = {"generator": net, **built.opponents((3, 5))}
    return built, {name: player(module) for name, module in nets.items()}


def test_the_discriminator_sees_image_and_spectrum_in_the_units_of_the_head_and_nothing_that_is_unknown():
    built, players = cast()
    some = batch()
    known = torch.isfinite(some.y)
    real = built._answer(some)
    assert real.abs().max() <= 1
    assert (real[~known] == 0).all()
    torch.testing.assert_close(built.task.activate(real)[known], some.y[known], rtol=1e-4, atol=1e-3)
    fake = built._pair(some, players["generator"].module(some.x))
    assert torch.equal(fake[:, :3], some.x)
    assert (fake[:, 3:][~known] == 0).all()


@given(turns=st.tuples(st.integers(1, 5), st.integers(1, 5)), step=st.integers(0, 1000))
def test_who_moves_is_a_function_of_the_step(turns, step):
    built, players = cast(alternate=list(turns))
    moved = [move.player for move in built.moves(players, replace(batch(), step=step))]
    assert moved == ["discriminator" if step % sum(turns) < turns[0] else "generator"]


def test_a_move_of_one_player_alone_is_that_of_a_step_of_both():
    both, alone = cast()[0], cast(alternate=[1, 1])[0]
    players, some = cast()[1], batch()
    moves = [list(move.terms) for move in both.moves(players, some)]
    for step in (0, 1):
        (move,) = alone.moves(players, replace(some, step=step))
        for mine, other in zip(move.terms, moves[step], strict=True):
            assert torch.equal(mine, other)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"name": "supervised"}, "cross_entropy, for a task that learns values.*one of huber, l1, mrae, mse, sam"),
        ({"name": "cgan"}, "cross_entropy, for a task that learns values"),
        ({"name": "cgan", "loss": "l1", "alternate": [50]}, "two numbers of steps"),
        ({"name": "cgan", "loss": "l1", "alternate": [0, 25]}, "each at least 1"),
        ({"name": "supervised", "loss": "l1", "class_weights": [1, 2]}, "expected 5, one for each class or channel"),
    ],
)
def test_what_no_field_is_learned_by_is_refused_with_what_is(config, text):
    with pytest.raises(UserError, match=text):
        objective(config, reconstruct())


STRENGTHS = {"rotate": 40.0, "gain": 0.3, "offset": 0.2, "noise": 0.1, "drop": 0.4, "cutmix": 1.0, "mixup": 1.0}


def changed(some, seed=0, **strengths):
    return Augment.of(AugmentTable(**strengths), seed)(some)


@given(seed=st.integers(0, 50))
def test_values_turn_with_their_pixels(seed):
    """Every kind that moves pixels moves values with them: x says where each came from."""
    some = batch(seed, blank=0)
    where = torch.arange(4.0 * 64).view(4, 1, 8, 8) + 1
    some = replace(some, x=where.repeat(1, 3, 1, 1), y=where + 1000.0 * torch.arange(5).view(1, 5, 1, 1))
    found = changed(some, seed, rotate=45.0, cutmix=1.0)
    seen = found.x[:, :1] > 0
    assert torch.equal(torch.isfinite(found.y), seen.expand_as(found.y))
    values = found.y - 1000.0 * torch.arange(5).view(1, 5, 1, 1)
    assert torch.equal(torch.where(seen, values, 0), torch.where(seen, found.x[:, :1], 0).expand_as(values))


@pytest.mark.parametrize("kind", STRENGTHS)
def test_what_has_no_data_stays_so_and_the_same_patch_is_changed_the_same_in_any_batch(kind):
    some = batch()
    found = changed(some, **{kind: STRENGTHS[kind]})
    assert found.y.dtype == torch.float32
    blank = (some.x == 0).all(1) & some.y.isnan().all(1)
    if kind not in ("rotate", "cutmix"):  # these move it
        assert (found.x.movedim(1, -1)[blank] == 0).all()
        assert found.y.movedim(1, -1)[blank].isnan().all()
    halves = [changed(part, **{kind: STRENGTHS[kind]}) for part in some.cut(2)]
    for name in ("x", "y"):
        whole = torch.cat([getattr(half, name) for half in halves])
        assert torch.equal(getattr(found, name).nan_to_num(7e7), whole.nan_to_num(7e7))


def test_a_mixture_of_spectra_is_that_of_both_and_known_where_both_are():
    some = batch(blank=0)
    found = changed(some, mixup=1.0)
    assert found.mixed is None
    partner = some.y[[1, 0, 3, 2]]
    assert torch.equal(found.y.isnan(), some.y.isnan() | partner.isnan())
    weight = ((found.x - some.x[[1, 0, 3, 2]]) / (some.x - some.x[[1, 0, 3, 2]])).median(dim=1).values.median(-1).values
    weight = weight.median(-1).values[:, None, None, None]
    known = ~found.y.isnan()
    expected = weight * some.y + (1 - weight) * partner
    torch.testing.assert_close(found.y[known], expected[known], rtol=1e-3, atol=1e-2)


def spectra_and_answers(seed=0):
    """Return patches with targets on the same bands: twice the spectrum plus one, some of them unknown."""
    some = batch(seed, blank=0.1)
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.uniform(1, 2, (4, 8, 8, 5)).astype(np.float32)).permute(0, 3, 1, 2)
    blank = (some.x == 0).all(1, keepdim=True)
    return replace(some, x=torch.where(blank, 0, x), y=torch.where(blank, torch.nan, 2 * x + 1))


@pytest.mark.parametrize("kind", ["shift", "reverse"])
@given(seed=st.integers(0, 50))
def test_targets_on_the_same_bands_move_along_them_with_the_spectra(kind, seed):
    some = spectra_and_answers(seed)
    table = AugmentTable(**{kind: {"shift": 2.5, "reverse": 1.0}[kind]}, probability={kind: 0.7})
    alone = Augment.of(table, seed)(some)
    both = Augment.of(table, seed, same_bands=True)(some)
    assert torch.equal(both.x, alone.x)
    assert both.x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(alone.y.nan_to_num(7e7), some.y.nan_to_num(7e7))
    blank = (some.x == 0).all(1, keepdim=True)
    torch.testing.assert_close(both.y, torch.where(blank, torch.nan, 2 * both.x + 1), equal_nan=True)
    same = [torch.equal(both.x[i], some.x[i]) for i in range(4)]
    assert same == [torch.equal(both.y[i].nan_to_num(7e7), some.y[i].nan_to_num(7e7)) for i in range(4)]
    parts = [Augment.of(table, seed, same_bands=True)(part) for part in some.cut(2)]
    assert torch.equal(torch.cat([part.y for part in parts]).nan_to_num(7e7), both.y.nan_to_num(7e7))


def test_other_kinds_leave_targets_on_the_same_bands_alone():
    some = spectra_and_answers()
    table = AugmentTable(gain=0.3, slope=0.2, offset=0.2, background=0.3, noise=0.1, drop=0.4)
    found = Augment.of(table, 0, same_bands=True)(some)
    assert torch.equal(found.y.nan_to_num(7e7), some.y.nan_to_num(7e7))


def test_targets_are_on_the_same_bands_only_if_both_axes_say_so():
    def bands(*values, name="wavelength", unit="nm"):
        return Bands(count=len(values), axis=SpectralAxis(name=name, unit=unit, values=values))

    read = bands(500.0, 600.0, 700.0)
    assert on_same_bands(read, bands(500.0, 600.1, 700.0))
    assert not on_same_bands(read, bands(500.0, 610.0, 700.0))
    assert not on_same_bands(read, bands(500.0, 600.0))
    assert not on_same_bands(read, bands(500.0, 600.0, 700.0, name="wavenumber", unit="cm-1"))
    assert not on_same_bands(read, Bands(count=3, axis=None))
    assert not on_same_bands(Bands(count=3, axis=None), Bands(count=3, axis=None))
    scores = bands(1.0, 2.0, 3.0, name="component", unit="1")
    assert not on_same_bands(scores, scores)


def test_every_kind_is_tried_or_changes_spectra_only():
    assert set(KINDS) - set(STRENGTHS) == {"shift", "reverse", "slope", "background"}
