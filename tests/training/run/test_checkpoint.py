import json

import pytest
import torch

from tilespec.core.errors import UserError
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


def test_the_validations_so_far_are_kept(tmp_path):
    lines = [{"step": 2, "iou": 0.25, "seconds": 0.1}, {"step": 4, "iou": None, "seconds": 0.2}]
    checkpoint.save(tmp_path, 4, tensors(), lines)
    assert checkpoint.validations(tmp_path, 4) == lines


def test_two_stay_and_the_newest_is_found(tmp_path):
    assert checkpoint.newest(tmp_path) == 0
    for step in (2, 4, 6):
        checkpoint.save(tmp_path, step, tensors(step))
        assert checkpoint.newest(tmp_path) == step
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LATEST", "step-000004", "step-000006"]
    assert checkpoint.load(tmp_path, 4)["net/generator/weight"][0, 0] == 4


def test_one_that_was_damaged_is_passed_over_and_can_be_written_again(tmp_path):
    for step in (2, 4):
        checkpoint.save(tmp_path, step, tensors(step))
    (tmp_path / "step-000004/state.safetensors").write_bytes(b"torn")
    with pytest.warns(UserWarning, match=r"step-000004 cannot be used .*falling back to the checkpoint before"):
        assert checkpoint.newest(tmp_path) == 2
    checkpoint.save(tmp_path, 4, tensors(5))
    assert checkpoint.newest(tmp_path) == 4
    assert checkpoint.load(tmp_path, 4)["net/generator/weight"][0, 0] == 5


@pytest.mark.parametrize("card", ["[]", "3", "null", "{}", '{"format": 9}', ""])
def test_a_card_that_says_something_else_is_a_fault(tmp_path, card):
    checkpoint.save(tmp_path, 2, tensors())
    (tmp_path / "step-000002/state.json").write_text(card)
    with pytest.warns(UserWarning, match="step-000002 cannot be used"):
        assert checkpoint.newest(tmp_path) == 0


def test_a_killed_run_leaves_nothing_that_stays(tmp_path):
    checkpoint.save(tmp_path, 2, tensors())
    (tmp_path / "step-000004.partial").mkdir()
    (tmp_path / "step-000004.partial/state.safetensors").write_bytes(b"half")
    (tmp_path / "LATEST.77.partial").write_text("half")
    assert checkpoint.newest(tmp_path) == 2
    checkpoint.save(tmp_path, 6, tensors())
    assert not list(tmp_path.glob("*.partial"))


def test_without_latest_the_newest_that_is_whole_counts(tmp_path):
    for step in (2, 4):
        checkpoint.save(tmp_path, step, tensors(step))
    (tmp_path / "LATEST").unlink()
    assert checkpoint.newest(tmp_path) == 4
    assert json.loads((tmp_path / "step-000004/state.json").read_text())["step"] == 4
