"""What the presets promise."""

import pytest

from tilespec.models.nets import build
from tilespec.models.nets.norms import SeededDropout, spatial_norms
from tilespec.training.config import resolve
from tilespec.training.presets import presets

SCENE = {"data.scene": "scene.zarr"}


def settings(name):
    return resolve(f"preset:{name}", SCENE)


def generator(name):
    return build(settings(name).net.name, 8, 2, **settings(name).net.model_extra)


def test_best_takes_at_most_a_tenth_of_the_published_steps_and_of_the_pixels():
    best, published = settings("best"), settings("mishra2021")
    assert 10 * best.train.steps <= published.train.steps
    pixels = [one.train.steps * one.train.batch * one.data.patch**2 for one in (best, published)]
    assert 10 * pixels[0] <= pixels[1]


@pytest.mark.parametrize("training", [True, False])
def test_best_never_looks_at_the_statistics_of_a_tile_or_a_batch(training):
    assert spatial_norms(generator("best").train(training)) == []


def test_best_draws_nothing_at_prediction():
    assert all(layer.p == 0 for layer in generator("best").modules() if isinstance(layer, SeededDropout))


@pytest.mark.parametrize("name", presets())
def test_patches_are_what_the_net_takes_and_any_even_number_of_ranks_can_share_a_batch(name):
    config = settings(name)
    assert config.data.patch % generator(name).tile_class.align == 0
    assert config.train.batch == 1 or config.train.batch % 2 == 0
