"""Workers in another folder than the client read and write where the client's relative paths point."""

import os

import pytest

from tests.support.command_line import tilespec
from tests.support.scenes import write_scene
from tests.support.untrained_models import save_model

VERBS = {
    "fit": "fit scene recipe --steps pca=3",
    "transform": "transform fitted scene transformed",
    "predict": "predict model scene predicted --tile 32",
    "map of a baseline": "baseline plsda scene classified --samples 200 --labels truth",
    "regression": "baseline linear scene values --target truth --samples 200",
    "measure": "measure scene scene out.csv --regions plant",
    "training": "train preset:tiny --out trained --set data.scene=scene --set train.steps=1 --set data.patch=16",
}


@pytest.fixture(scope="module")
def workers():
    """The address of a scheduler whose worker lives in the root folder."""
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        client.run(os.chdir, "/")
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a scene, its truth, a recipe and a model."""
    place = tmp_path_factory.mktemp("project")
    scene = write_scene(place / "scene", 48, 40, 6)
    write_scene(place / "truth", 48, 40, 6)
    save_model(place / "model", scene)
    assert tilespec("fit", "scene", "fitted", "--steps", "pca=3", cwd=place).returncode == 0
    return place


@pytest.mark.parametrize("verb", VERBS)
def test_relative_paths_mean_the_folder_of_the_client(workers, folder, verb):
    ran = tilespec(*VERBS[verb].split(), "--cluster", workers, "--workers", "1", cwd=folder)
    assert ran.returncode == 0, ran.stderr
