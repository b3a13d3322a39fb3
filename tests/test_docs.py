"""The documentation builds as a site without a warning: every link leads somewhere, every function has its text."""

import re
import subprocess
import sys

import pytest
from locations import ROOT

from tilespec import api

pytest.importorskip("sphinx", reason="no package sphinx: pip install 'tilespec[docs]'")
pytest.importorskip("furo", reason="no package furo: pip install 'tilespec[docs]'")


@pytest.mark.timeout(300)
def test_the_site_is_built_without_a_warning_and_asks_for_nothing_outside(tmp_path):
    words = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", "-c", str(ROOT / "docs"), str(ROOT)]
    done = subprocess.run([*words, str(tmp_path)], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    first, reference = ((tmp_path / name).read_text() for name in ("index.html", "docs/reference.html"))
    for page in sorted(ROOT.glob("docs/*.md")):
        assert f"docs/{page.stem}.html" in first or page.stem == "README", page
    for verb in api.VERBS:
        assert f'id="tilespec.api.{verb}"' in reference, verb
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|img|link rel=\"stylesheet\")[^>]*(?:src|href)=\"(\w+:[^\"]*)", page.read_text()
        )
        assert loaded == [], page
