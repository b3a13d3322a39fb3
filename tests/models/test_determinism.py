"""A net agrees with itself in any batch, or it is caught."""

import numpy as np
import pytest
import torch

from tilespec.models.determinism import agreement, batches_agree
from tilespec.models.nets import build
from tilespec.models.nets.norms import set_sample_ids

SHAPE = (16, 16, 3)
KINDS = {"repeated", "order", "batch_sizes", "neighbours", "threads"}


def through(module):
    def net(tiles, ids):
        set_sample_ids(module, ids)
        with torch.inference_mode():
            return module(torch.from_numpy(tiles).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).contiguous().numpy()

    return net


def unet(**params):
    torch.manual_seed(0)
    params = {"base_width": 4, "n_down": 2, "norm": "channel", **params}
    return build("unet", 3, 2, init="kaiming", **params).eval()


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 7])
def test_the_identity_agrees_in_every_way(batch):
    assert batches_agree(lambda tiles, _: tiles, SHAPE, batch)
    assert agreement(lambda tiles, _: tiles, SHAPE, batch) == dict.fromkeys(agreement_keys(batch), True)


def agreement_keys(batch):
    return KINDS if batch > 1 else KINDS - {"batch_sizes"}


def test_a_perceptron_agrees_because_its_products_have_one_size():
    assert all(agreement(through(build("mlp", 3, 2).eval()), SHAPE, 4).values())


def test_seeded_dropout_agrees_because_its_mask_belongs_to_the_tile():
    net = through(unet(live=True, norm="batch", dropout=0.5))
    assert agreement(net, SHAPE, 4)["repeated"]
    assert agreement(net, SHAPE, 4)["neighbours"]


def test_statistics_of_the_batch_are_caught_by_size_and_by_neighbours():
    module = unet(norm="batch", dropout=0.0).train()
    found = agreement(through(module), SHAPE, 4)
    assert not batches_agree(through(module), SHAPE, 4)
    assert not found["batch_sizes"]
    assert not found["neighbours"]


def test_random_numbers_are_caught_by_repetition():
    rng = np.random.default_rng(0)
    found = agreement(lambda tiles, _: tiles + rng.standard_normal(tiles.shape, dtype=np.float32), SHAPE, 3)
    assert not any(found.values())


def test_what_depends_on_the_place_in_the_batch_is_caught_by_order():
    found = agreement(
        lambda tiles, _: tiles + np.float32(1e-6) * np.eye(4, dtype="f4")[0, : len(tiles), None, None, None], SHAPE, 4
    )
    assert found["repeated"]
    assert not found["order"]


def test_a_net_that_asks_torch_for_its_threads_is_caught_and_the_threads_are_restored():
    before = torch.get_num_threads()
    found = agreement(lambda tiles, _: tiles * np.float32(torch.get_num_threads()), SHAPE, 2, threads=before + 1)
    assert {name for name, same in found.items() if not same} == {"threads"}
    assert torch.get_num_threads() == before


def test_a_net_that_answers_in_a_buffer_of_its_own_or_writes_into_its_input_agrees():
    buffer = np.empty((4, *SHAPE), np.float32)

    def reuses(tiles, _):
        tiles *= 2
        np.add(tiles, 1, out=buffer[: len(tiles)])
        return buffer[: len(tiles)]

    assert batches_agree(reuses, SHAPE, 4)


def test_a_difference_in_the_last_bit_is_a_difference():
    def net(tiles, _):
        return np.nextafter(tiles, np.float32(9)) if len(tiles) == 2 else tiles

    assert not batches_agree(net, SHAPE, 4)
    assert batches_agree(net, SHAPE, 3)
