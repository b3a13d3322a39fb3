import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tilespec.core.errors import UserError
from tilespec.models.tasks import task


@given(st.integers(2, 254))
@settings(max_examples=20, deadline=None)
def test_decode_undoes_planes_for_any_number_of_classes(classes):
    segment = task({"name": "segment", "classes": classes})
    y = np.random.default_rng(classes).integers(classes, size=(3, 5), dtype=np.uint8)
    planes = segment.planes(torch.from_numpy(y)[None])
    assert planes.shape == (1, segment.channels_out, 3, 5)
    assert planes.dtype == torch.float32
    np.testing.assert_array_equal(segment.decode(planes[0].permute(1, 2, 0).numpy()), y)


def test_unlabelled_pixels_have_no_plane():
    y = torch.tensor([[[0, 255, 1]]], dtype=torch.uint8)
    assert task({"name": "segment", "classes": 2}).planes(y)[0, :, 0].tolist() == [[1, 0, 0], [0, 0, 1]]


def test_nodata_becomes_input_zero_and_label_255_and_nothing_else_changes():
    scores = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    scores[0, 1, 2], scores[1, 3, 0] = np.nan, np.inf
    labels = np.ones((2, 4), np.uint8)
    x, y = task({"name": "segment", "classes": 2}).pair(scores, labels)
    blank = np.zeros((2, 4), bool)
    blank[0, 1] = blank[1, 3] = True
    assert (x[blank] == 0).all()
    assert (y[blank] == 255).all()
    np.testing.assert_array_equal(x[~blank], scores[~blank])
    assert (y[~blank] == 1).all()
    assert np.isnan(scores[0, 1, 2]), "the cached scores are left as they are"


def test_logits_activate_to_probabilities_and_tanh_stays():
    raw = torch.randn(2, 3, 4, 4)
    p = task({"name": "segment", "classes": 3}).activate(raw)
    torch.testing.assert_close(p.sum(1), torch.ones(2, 4, 4))
    assert torch.equal(task({"name": "segment", "classes": 3, "head": "tanh"}).activate(raw), raw)


def test_a_tie_goes_to_the_first_class():
    assert task({"name": "segment", "classes": 3}).decode(np.full((2, 2, 3), 0.5, np.float32)).tolist() == [[0, 0]] * 2


def test_geometry_and_metrics_are_those_of_a_map_of_the_scene():
    segment = task({"name": "segment", "classes": 2})
    assert (segment.geometry.scale, segment.geometry.margin) == (1, 0)
    assert segment.metrics


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (
            {"name": "segmnt", "classes": 2},
            "one of calibrate, chemmap, classify, denoise, reconstruct, segment, superres",
        ),
        ({"name": "segment", "classes": 1}, "2 to 254 classes"),
        ({"name": "segment", "classes": 255}, "2 to 254 classes"),
        ({"name": "segment", "classes": 2, "colour": 1}, r"keys of \[task\]: classes, head"),
        ({"name": "segment", "classes": 2, "head": "relu"}, "logits or tanh"),
    ],
)
def test_what_is_no_task_is_refused_with_what_is(config, text):
    with pytest.raises(UserError, match=text):
        task(config)
