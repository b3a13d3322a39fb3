"""Damaged ENVI headers and TIFF files: refused with a message, or read as a sane cube; no traceback, crash or hang.

``MUTANTS=100000 pytest -m slow --timeout 0 tests/faults/test_fuzz_rasters.py`` reads as many of each kind.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FEW, MANY = 120, int(os.environ.get("MUTANTS", "2000"))
SCRIPT = Path(__file__).parents[1] / "support" / "raster_mutants.py"


def faults(kind, count, first=0):
    """Return the fates of the files that were neither read nor refused."""
    command = [sys.executable, SCRIPT, kind, str(count), str(first)]
    patient = os.environ | {
        "MUTANT_SECONDS": os.environ.get("MUTANT_SECONDS", "60")
    }  # a busy machine is slow, not stuck
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=patient)
    result = json.loads(done.stdout)
    assert result["files"] == count
    assert result["read"]
    assert result["refused"]
    return result["faults"]


@pytest.mark.parametrize("kind", ["envi", "tiff"])
def test_damaged_files_are_refused_or_read(kind):
    assert faults(kind, FEW) == {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["envi", "tiff"])
def test_many_damaged_files_are_refused_or_read(kind):
    assert faults(kind, MANY, first=1000) == {}
