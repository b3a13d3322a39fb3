"""A verb computes as ever in whatever state other libraries left torch and NumPy, and leaves that state as it was."""

import hashlib
import multiprocessing
import sys
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
import torch
from untrained_models import objects, save_model

from tilespec import api
from tilespec.core.caller import caller_state


@contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(torch.float32)


@contextmanager
def threads(number):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    yield
    torch.set_num_threads(before)


@contextmanager
def precision(name):
    torch.set_float32_matmul_precision(name)
    yield
    torch.set_float32_matmul_precision("highest")


STATES = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "one thread": lambda: threads(1),
    "three threads": lambda: threads(3),
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu"),
    "low precision": lambda: precision("medium"),
    "errors of NumPy": lambda: np.errstate(all="raise"),
}


def state():
    draws = hashlib.blake2b(torch.get_rng_state().numpy().tobytes()).hexdigest()
    modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
    numbers = torch.get_default_dtype(), torch.get_num_threads(), torch.get_float32_matmul_precision()
    return draws, modes, numbers, np.geterr()


@pytest.fixture(scope="module")
def work(tmp_path_factory, make_scene):
    folder = tmp_path_factory.mktemp("caller")
    scene = make_scene(folder / "scene", 48, 40, 5)
    return folder, scene, save_model(folder / "model", scene)


@pytest.mark.parametrize("name", STATES)
def test_a_prediction_has_the_same_bytes_in_any_state_and_leaves_it(work, tmp_path, name):
    _, scene, model = work
    api.predict(model, scene, tmp_path / "before")
    with STATES[name]():
        before = state()
        api.predict(model, scene, tmp_path / "in")
        assert state() == before
    of = [{key: value for key, value in objects(tmp_path / one).items() if "/c/" in key} for one in ("before", "in")]
    assert of[0] == of[1]


def test_numpy_underflows_in_silence_whatever_the_caller_chose():
    tiny = np.full(1, 1e-30, np.float32)
    with np.errstate(all="raise"):
        with caller_state():
            assert tiny * tiny == 0
        with pytest.raises(FloatingPointError):
            tiny * tiny


def test_an_error_leaves_the_state_too(work):
    with ExitStack() as stack:
        stack.enter_context(default_dtype(torch.float64))
        before = state()
        with pytest.raises(ValueError, match="found"):
            api.predict("nowhere", work[1], "out")
        with pytest.raises(KeyError), caller_state():
            raise KeyError
        assert state() == before


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")
@pytest.mark.timeout(120)
def test_a_forked_process_computes_what_its_parent_did(work, tmp_path):
    folder, scene, model = work
    out = str(folder / "forked")
    api.predict(model, scene, out)
    expected = api.evaluate(out, scene, patches=5, patch_size=16)["oa"]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        jobs = [(out, scene, patches) for patches in (5, 5)]
        found = pool.starmap_async(score, jobs).get(timeout=90)
        refused = pool.apply_async(with_workers, (model, scene, str(tmp_path / "workers"))).get(timeout=90)
    assert found == [expected] * 2
    assert "may start none" in refused


def score(out, scene, patches):
    return api.evaluate(out, scene, patches=patches, patch_size=16)["oa"]


def with_workers(model, scene, out):
    try:
        return api.predict(model, scene, out, workers=2)["status"]
    except ValueError as error:
        return str(error)
