"""Who started this process as a rank: what torchrun's and Slurm's variables mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilespec.core.errors import UserError
from tilespec.training.ranks.launchers import PORTS, RankAddress, first_host, place

TASK = {
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
    "SLURM_NTASKS": "4",
    "SLURM_STEP_ID": "0",
    "SLURM_JOB_ID": "17",
    "SLURM_JOB_NODELIST": "gpu[03-05]",
}


@st.composite
def lists(draw):
    """Return a list of hosts as Slurm writes it, and the first of them."""
    name = st.from_regex(r"[a-z]{1,4}-?", fullmatch=True)
    digits = st.from_regex(r"[0-9]{1,3}", fullmatch=True)
    part = st.one_of(digits, st.tuples(digits, digits).map("-".join))
    parts = st.lists(part, min_size=1, max_size=3)
    hosts = draw(st.lists(st.lists(st.tuples(name, parts | st.none()), min_size=1, max_size=2), min_size=1, max_size=3))

    def written(host):
        return "".join(word + ("" if numbers is None else f"[{','.join(numbers)}]") for word, numbers in host)

    first = "".join(word + ("" if numbers is None else numbers[0].partition("-")[0]) for word, numbers in hosts[0])
    return ",".join(map(written, hosts)), first


@given(lists())
def test_the_first_host_of_a_list_is_found(case):
    text, first = case
    assert first_host(text) == first


@given(st.integers(0, 63), st.integers(1, 64), st.integers(1, 65535), st.booleans(), st.integers(0, 9))
def test_what_a_place_tells_is_read_as_the_same_place(rank, more, port, hosted, attempt):
    one = RankAddress(rank=rank, world=rank + 1 + more, address="10.0.0.7", port=port, hosted=hosted, attempt=attempt)
    assert place(one.environment()) == one


def test_a_plain_process_is_alone():
    assert place({}) is None
    assert place({"RANK": "0", "WORLD_SIZE": "1"}) is None


def test_a_task_of_srun_has_the_place_that_slurm_says():
    found = place(TASK)
    assert (found.rank, found.world, found.address, found.hosted) == (1, 4, "gpu03", False)
    assert found.port in PORTS
    assert found.threads is None
    assert place({**TASK, "SLURM_CPUS_PER_TASK": "8"}).threads == 8
    assert place({**TASK, "MASTER_ADDR": "10.1.1.1", "MASTER_PORT": "77"}).address == "10.1.1.1"
    assert place({**TASK, "SLURM_STEP_NODELIST": "b[7,9]"}).address == "b7"


def test_all_tasks_of_a_step_meet_at_one_place_and_another_step_at_another():
    def port(task, step):
        return place({**TASK, "SLURM_PROCID": str(task), "SLURM_STEP_ID": str(step)}).port

    assert len({port(task, 0) for task in range(4)}) == 1
    assert port(0, 0) != port(0, 1)
    assert place({**TASK, "SLURM_JOB_ID": "18"}).port != port(0, 0)


def test_a_batch_script_and_a_single_task_are_no_ranks():
    script = {key: value for key, value in TASK.items() if key != "SLURM_STEP_ID"}
    assert place({**script, "ENVIRONMENT": "BATCH"}) is None
    assert place({**TASK, "SLURM_NTASKS": "1"}) is None
    assert place({**TASK, "SLURM_STEP_NUM_TASKS": "1"}) is None, "one step of a job for several tasks"
    assert place({**TASK, "ENVIRONMENT": "BATCH"}).world == 4, "srun passes the script's variables on"


def test_ranks_that_are_started_inside_slurm_are_those_of_who_started_them():
    inner = RankAddress(rank=2, world=3, address="127.0.0.1", port=5)
    assert place({**TASK, **inner.environment()}) == inner


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR: found nothing"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a"}, "MASTER_PORT: found ''; expected a number"),
        ({"RANK": "x", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "RANK: found 'x'"),
        ({"RANK": "2", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "RANK: found 2; expected 0 to 1"),
        ({**TASK, "SLURM_JOB_NODELIST": ""}, "SLURM_JOB_NODELIST: found nothing"),
        ({**TASK, "SLURM_NTASKS": "-3"}, "SLURM_NTASKS: found '-3'"),
    ],
)
def test_variables_that_make_no_sense_are_refused(environment, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        place(environment)
