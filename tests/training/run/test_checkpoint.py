import json
from datetime import timedelta

import pytest
import torch
from object_store import reached

from tilespec.core.errors import UserError
from tilespec.storage.backends.paths import store_path
from tilespec.training.player import Player
from tilespec.training.run import checkpoint


def player(kind=torch.optim.AdamW, seed=0, steps=3):
    """Return a net that has learned a little, in channels-last memory."""
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Conv2d(3, 2, 3))
    net = net.to(memory_format=torch.channels_last)
    made = Player(module=net, net=net, optimiser=kind(net.parameters(), lr=0.1))
    for _ in range(steps):
        learn(made)
    return made


def learn(made):
    made.optimiser.zero_grad()
    draw = torch.Generator().manual_seed(9)
    made.net(torch.randn((2, 2, 8, 8), generator=draw)).square().mean().backward()
    made.optimiser.step()


def tensors(step=1.0):
    return {"net/generator/weight": torch.full((2, 2), step)}


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop])
def test_what_was_restored_goes_on_bit_for_bit(kind, tmp_path):
    one, other = {"generator": player(kind)}, {"generator": player(kind, seed=1, steps=0)}
    average = {"0.weight": torch.rand(3, 2, 3, 3).to(memory_format=torch.channels_last)}
    again = {"0.weight": torch.zeros(3, 2, 3, 3).to(memory_format=torch.channels_last)}
    checkpoint.save(tmp_path, 3, checkpoint.state(one, average))
    checkpoint.restore(other, checkpoint.load(tmp_path, 3), again)
    for made in (*one.values(), *other.values()):
        learn(made)
    ours, theirs = checkpoint.state(one, average), checkpoint.state(other, again)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    assert again["0.weight"].stride() == average["0.weight"].stride()


def test_nothing_is_changed_by_a_checkpoint_of_another_net(tmp_path):
    one = {"generator": player()}
    before = checkpoint.state(one)
    other = {key: value for key, value in before.items() if not key.endswith("2.bias")}
    with pytest.raises(UserError, match=r"here: net/generator/2.bias: found no tensor; expected float32 \[2\]"):
        checkpoint.restore(one, other, where="here")
    with pytest.raises(UserError, match=r"average/0.bias: found no tensor"):
        checkpoint.restore(one, before, {"0.bias": torch.zeros(3)})
    with pytest.raises(UserError, match=r"average/0.bias: found float32 \[3\]; expected no tensor"):
        checkpoint.restore(one, {**before, "average/0.bias": torch.zeros(3)}, {})
    assert all(torch.equal(value, before[key]) for key, value in checkpoint.state(one).items())


def test_ranks_without_an_average_leave_it_alone():
    one, other = {"generator": player()}, {"generator": player(seed=1)}
    checkpoint.restore(other, checkpoint.state(one, {"0.bias": torch.zeros(3)}))
    assert all(torch.equal(value, checkpoint.state(other)[key]) for key, value in checkpoint.state(one).items())


def test_the_validations_so_far_are_kept(place):
    lines = [{"step": 2, "iou": 0.25, "seconds": 0.1}, {"step": 4, "iou": None, "seconds": 0.2}]
    checkpoint.save(place, 4, tensors(), lines)
    assert checkpoint.validations(place, 4) == lines


def test_two_stay_and_the_newest_is_found(place):
    assert checkpoint.newest(place) == 0
    for step in (2, 4, 6):
        checkpoint.save(place, step, tensors(step))
        assert checkpoint.newest(place) == step
    assert {key.split("/")[0] for key in place.sizes()} == {"LATEST", "step-000004", "step-000006"}
    assert checkpoint.load(place, 4)["net/generator/weight"][0, 0] == 4


def test_one_that_was_damaged_is_passed_over_and_can_be_written_again(place):
    for step in (2, 4):
        checkpoint.save(place, step, tensors(step))
    (place / "step-000004/state.safetensors").write_bytes(b"torn")
    with pytest.warns(UserWarning, match=r"step-000004 cannot be used .*falling back to the checkpoint before"):
        assert checkpoint.newest(place) == 2
    checkpoint.save(place, 4, tensors(5))
    assert checkpoint.newest(place) == 4
    assert checkpoint.load(place, 4)["net/generator/weight"][0, 0] == 5


@pytest.mark.parametrize("card", ["[]", "3", "null", "{}", '{"format": 9}', ""])
def test_a_card_that_says_something_else_is_a_fault(place, card):
    checkpoint.save(place, 2, tensors())
    (place / "step-000002/state.json").write_bytes(card.encode())
    with pytest.warns(UserWarning, match="step-000002 cannot be used"):
        assert checkpoint.newest(place) == 0


def test_a_killed_run_leaves_nothing_that_stays(place):
    checkpoint.save(place, 2, tensors())
    (place / "step-000004.partial").mkdir()
    (place / "step-000004.partial/state.safetensors").write_bytes(b"half")
    (place / "step-000005").mkdir()
    (place / "step-000005/state.safetensors").write_bytes(b"half")
    (place / "LATEST.77.partial").write_bytes(b"half")
    assert checkpoint.newest(place) == 2
    checkpoint.save(place, 6, tensors())
    assert {key.split("/")[0] for key in place.sizes()} == {"LATEST", "step-000002", "step-000006"}


def test_without_latest_the_newest_that_is_whole_counts(place):
    for step in (2, 4):
        checkpoint.save(place, step, tensors(step))
    (place / "LATEST").unlink()
    assert checkpoint.newest(place) == 4
    assert json.loads((place / "step-000004/state.json").read_text())["step"] == 4


def test_of_two_runs_that_write_one_training_the_slower_one_ends(place, monkeypatch):
    checkpoint.save(place, 2, tensors())

    def meanwhile(_):
        monkeypatch.undo()
        checkpoint.save(place, 8, tensors(8))

    monkeypatch.setattr(checkpoint, "_flush", meanwhile)
    with pytest.raises(UserError, match="LATEST: found a checkpoint that another run has written meanwhile"):
        checkpoint.save(place, 4, tensors())
    assert checkpoint.newest(place) == 8


def test_a_checkpoint_whose_answer_was_lost_was_written(server, tmp_path, monkeypatch):
    monkeypatch.setattr("tilespec.storage.backends.buckets.TIMEOUT", timedelta(seconds=1))
    with reached(server) as (proxy, url):
        place = store_path(f"{url}/place")
        checkpoint.save(place, 2, tensors())
        proxy.faults.append(("PUT LATEST", "timeout", 1))
        checkpoint.save(place, 4, tensors(4))
        assert proxy.met == ["timeout"]
        assert checkpoint.newest(place) == 4
