"""One competitor in a fresh process: ``python race.py KIND JOB`` prints what was measured as one line of JSON."""

import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

KINDS = {"predict": "job:Job", "stage": "stage_job:Stage", "train": "train_job:Training"}
"""What a job may be."""
CHECKS = {
    "identity": "quality:identity",
    "constant": "quality:constant",
    "seams": "quality:seams",
    "reference": "quality:reference",
    "angle": "accuracy:angle",
    "reflectance": "accuracy:reflectance",
}
"""What may be measured on a product."""


def main() -> None:
    began = time.monotonic()
    from job import Clock

    from tilespec.core.registry import import_object, load

    job = load(KINDS, sys.argv[1], "kind of job").loads(sys.argv[2])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.threads])
    if job.address_space:
        resource.setrlimit(resource.RLIMIT_AS, (job.address_space, job.address_space))
    run = import_object(job.run, "way")
    clock, facts = Clock(), {"import_seconds": time.monotonic() - began}
    try:
        told = run(job, clock)
        facts |= clock.facts() | told | written(job.out) | checked(job)
    except (MemoryError, RuntimeError) as error:  # torch reports memory as RuntimeError
        traceback.print_exc()
        facts |= {"error": f"{type(error).__name__}: {error}"[:300]}
    sys.stdout.write(f"\n{json.dumps(facts)}\n")


def written(out: str) -> dict[str, int]:
    """Return the bytes and the objects of what was written."""
    files = [path for path in Path(out).rglob("*") if path.is_file()]
    stored = sum(path.name != "zarr.json" for path in files)
    return {"out_bytes": sum(path.stat().st_size for path in files), "objects": stored}


def checked(job: Any) -> dict[str, Any]:
    """Return what the job's check measures on its product."""
    if not job.check:
        return {}
    from tilespec.core.registry import load

    return load(CHECKS, job.check, "check")(job)


if __name__ == "__main__":
    main()
