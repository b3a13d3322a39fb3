"""Where the project lies, and the measured data beside it."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
SUPPORT = Path(__file__).parent
"""What processes of their own need on their path, so that they find the modules of this folder."""
real = pytest.mark.skipif(not DATA.exists(), reason="the measured data are not beside the project")
