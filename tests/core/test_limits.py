"""The memory that a process may take is the smallest limit above it, of every version of cgroups."""

import resource

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilespec.core import limits
from tilespec.core.limits import enforced, usable
from tilespec.core.memory import resident
from tilespec.predict.memory_forecast import budget

MIB = 1 << 20
LARGE = 1 << 50


def system(root, version, *, inside, start="/", files=None):
    """Write what Linux shows of a process in a cgroup; ``files`` maps folders below the mount to their files."""
    mount = "/sys/fs/cgroup" if version == 2 else "/sys/fs/cgroup/memory"
    kind = "cgroup2 cgroup2 rw" if version == 2 else "cgroup cgroup rw,memory"
    entry = f"0::{inside}" if version == 2 else f"4:memory:{inside}"
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    (root / "proc/self/cgroup").write_text(f"3:cpu:/elsewhere\n{entry}\n")
    (root / "proc/self/mountinfo").write_text(f"36 25 0:30 {start} {mount} rw,nosuid - {kind}\n")
    for folder, contents in (files or {}).items():
        place = root / mount.lstrip("/") / folder.strip("/")
        place.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            (place / name).write_text(text)
    return root


NAMES = {1: ("memory.limit_in_bytes", "memory.usage_in_bytes"), 2: ("memory.max", "memory.current")}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("where", ["/", "/job", "/job/step"])
def test_the_limit_of_any_cgroup_above_counts(tmp_path, version, where):
    limit, use = NAMES[version]
    unlimited = "max" if version == 2 else str((1 << 63) - 4096)
    files = {folder: {limit: f"{unlimited}\n", use: "0\n"} for folder in ("/", "/job", "/job/step")}
    files[where] = {limit: f"{LARGE}\n", use: f"{LARGE // 2}\n"}
    found = enforced(system(tmp_path, version, inside="/job/step", files=files))
    assert min(found) == pytest.approx(LARGE // 2 + resident(), abs=64 * MIB)


@pytest.mark.parametrize("version", [1, 2])
def test_pages_of_files_are_dropped_before_anybody_is_killed(tmp_path, version):
    limit, use = NAMES[version]
    total = "total_" if version == 1 else ""
    stat = (
        f"active_file 1\ninactive_file 1\nanon 7\n{total}active_file {LARGE // 8}\n{total}inactive_file {LARGE // 8}\n"
    )
    files = {"/job": {limit: str(LARGE), use: str(LARGE // 2), "memory.stat": stat}}
    found = enforced(system(tmp_path, version, inside="/job", files=files))
    assert min(found) == pytest.approx(LARGE // 2 + LARGE // 4 + resident(), abs=64 * MIB)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("start", "inside"), [("/docker/abc", "/docker/abc"), ("/", "/"), ("/../..", "/../../x")])
def test_in_a_container_the_mounted_folder_is_the_cgroup(tmp_path, version, start, inside):
    limit, use = NAMES[version]
    root = system(tmp_path, version, inside=inside, start=start, files={"/": {limit: "1000", use: "10"}})
    assert min(enforced(root)) == 1000


@given(st.dictionaries(st.sampled_from(["memory.max", "memory.current", "memory.stat", "memory.high"]), st.text()))
def test_no_content_of_these_files_ends_in_an_error(tmp_path_factory, files):
    root = system(tmp_path_factory.mktemp("system"), 2, inside="/job", files={"/job": files})
    assert all(value >= 0 for value in enforced(root))


def test_a_resource_limit_counts():
    before, held = resource.getrlimit(resource.RLIMIT_DATA), limits.usable()
    free = enforced()
    resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, before[1]))
    try:
        assert usable() <= 6 << 30
        assert budget("100GB") <= 6 << 30, "who takes more is killed, whatever was requested"
        assert len(enforced()) == len(free) + 1
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
    assert usable() == pytest.approx(held, rel=0.5)


def test_without_any_limit_of_the_system_what_is_free_counts(monkeypatch):
    monkeypatch.setattr(limits, "enforced", list)
    assert limits.usable() >= psutil.virtual_memory().available / 2
