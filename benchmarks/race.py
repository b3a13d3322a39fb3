"""One competitor in a fresh process: ``python race.py JOB`` prints what was measured as one line of JSON."""

import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any


def main() -> None:
    began = time.monotonic()
    from job import Clock, Job
    from ways import WAYS

    from tilespec.plugins import load

    job = Job.loads(sys.argv[1])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.threads])
    if job.address_space:
        resource.setrlimit(resource.RLIMIT_AS, (job.address_space, job.address_space))
    run = load({name: way.run for name, way in WAYS.items()}, job.way, "way")
    clock, facts = Clock(), {"import_seconds": time.monotonic() - began}
    try:
        told = run(job, clock)
        facts |= clock.facts() | told | {"out_bytes": size(job.out)} | checked(job)
    except (MemoryError, RuntimeError) as error:  # torch reports memory as RuntimeError
        traceback.print_exc()
        facts |= {"error": f"{type(error).__name__}: {error}"[:300]}
    sys.stdout.write(f"\n{json.dumps(facts)}\n")


def size(out: str) -> int:
    """Return the bytes of what was written."""
    return sum(path.stat().st_size for path in Path(out).rglob("*") if path.is_file())


def checked(job: Any) -> dict[str, Any]:
    """Return what the job's check measures on its product."""
    if not job.check:
        return {}
    from quality import CHECKS

    return CHECKS[job.check](job)


if __name__ == "__main__":
    main()
