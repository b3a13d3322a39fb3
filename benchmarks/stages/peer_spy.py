"""SPy (Spectral Python): its reader, and its principal components."""

from pathlib import Path
from typing import Any

import spectral
from envi_files import references
from job import Clock
from plain import COMPONENTS, create, in_ram, save
from spectral.io import envi
from stage_job import Stage

from tilespec.storage.layout import CHUNK


def ingest(job: Stage, clock: Clock) -> dict[str, Any]:
    """Read rows of objects, calibrate, write."""
    with clock.working():
        data = Path(job.source).with_suffix(".bil")
        image = envi.open(job.source, str(data))
        dark, gain = references(job.source, job.white, job.dark)
        array = create(job, image.shape)
        for y in range(0, image.shape[0], CHUNK):
            stop = min(y + CHUNK, image.shape[0])
            counts = image.read_subregion((y, stop), (0, image.shape[1]))
            array[y:stop] = (counts - dark) * gain
    return {"bytes": data.stat().st_size}


def fit(job: Stage, clock: Clock) -> dict[str, Any]:
    """Read the scene whole; SPy's streaming statistics go pixel by pixel, and would take hours."""
    with clock.working():
        values = in_ram(job)
        found = spectral.principal_components(values).reduce(num=COMPONENTS)
    save(job, found.eigenvectors.T)
    return {"bytes": values.nbytes}
