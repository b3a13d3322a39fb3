"""The competitors of each stage before the network: where each one's function is, and what it needs."""

from ways import PASSIVE, Way


def ours(run: str, about: str, workers: int = 0) -> Way:
    """Return a way of tilespec's own, in the environment that its command line sets."""
    return Way(run=f"stage_ours:{run}", about=about, workers=workers, env=PASSIVE)


ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""BLAS on one thread: what Dask's documentation advises where its own threads have the cores."""
FLOOR = "what must be done at the least, term by term"
STAGES: dict[str, dict[str, Way]] = {
    "ingest": {
        "floor": Way(run="floors:ingest", about=FLOOR),
        "tilespec": ours("ingest", "`tilespec ingest` with --white and --dark"),
        "tensorstore": Way(run="peer_tensorstore:ingest", about="memory map, NumPy, tensorstore writes"),
        "rioxarray": Way(run="peer_xarray:ingest", about="rioxarray on Dask, 2 threads, `to_zarr`", env=ONE_THREAD),
        "spy": Way(run="peer_spy:ingest", about="SPy reads, NumPy, Zarr writes"),
    },
    "preprocess": {
        "floor": Way(run="floors:preprocess", about=FLOOR),
        "tilespec": ours("preprocess", "`tilespec fit` and `tilespec transform`"),
        "sklearn": Way(run="peer_sklearn:preprocess", about="Zarr, StandardScaler.partial_fit, Zarr; block by block"),
        "dask": Way(run="peer_xarray:preprocess", about="xarray on Dask, 2 threads, `to_zarr`", env=ONE_THREAD),
    },
    "fit": {
        "reference": Way(run="accuracy:reference", about="the same PCA in float64, block by block"),
        "floor": Way(run="floors:fit", about=FLOOR),
        "tilespec": ours("fit", "`tilespec fit` in one process of 2 threads"),
        "tilespec-1": ours("fit", "the same with 1 worker of one thread", 1),
        "tilespec-2": ours("fit", "the same with 2 workers", 2),
        "tilespec-4": ours("fit", "the same with 4 workers on the 2 cores", 4),
        "tensorstore": Way(run="peer_tensorstore:read", about="tensorstore reads every object; nothing is computed"),
        "sklearn-ram": Way(run="peer_sklearn:in_ram", about="the whole scene in RAM, PCA(covariance_eigh)"),
        "sklearn-incremental": Way(run="peer_sklearn:incremental", about="IncrementalPCA.partial_fit, an object each"),
        "sklearn-incremental-1": Way(
            run="peer_sklearn:incremental", about="the same with BLAS on one thread", env=ONE_THREAD
        ),
        "dask-ml-pca": Way(run="peer_dask_ml:pca", about="dask-ml PCA (tsqr), 2 threads", env=ONE_THREAD),
        "dask-ml-incremental": Way(
            run="peer_dask_ml:incremental", about="dask-ml IncrementalPCA, 2 threads", env=ONE_THREAD
        ),
        "spy": Way(run="peer_spy:fit", about="the whole scene in RAM, SPy principal_components"),
    },
    "transform": {
        "floor": Way(run="floors:transform", about=FLOOR),
        "tilespec": ours("transform", "`tilespec transform` in one process of 2 threads"),
        "tilespec-2": ours("transform", "the same with 2 workers of one thread", 2),
        "tensorstore": Way(run="peer_tensorstore:transform", about="tensorstore reads, NumPy, tensorstore writes"),
        "sklearn": Way(run="peer_sklearn:transform", about="Zarr, NumPy, IncrementalPCA.transform, Zarr; by blocks"),
        "dask": Way(run="peer_xarray:transform", about="Dask map_blocks, 2 threads, `to_zarr`", env=ONE_THREAD),
    },
    "patches": {
        "floor": Way(run="floors:patches", about=FLOOR),
        "tilespec": ours("patches", "the loader of `tilespec train`, 2 threads"),
        "tensorstore": Way(run="peer_tensorstore:patches", about="tensorstore, a batch in flight"),
        "xbatcher": Way(run="peer_xbatcher:patches", about="MapDataset in torch's DataLoader, 2 processes"),
    },
}
STAGES["patches-scores"] = STAGES["patches"]
"""From 4 scores instead of 186 bands."""
