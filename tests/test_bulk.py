"""Many statements examined by all cores: the same verdicts in the same order; a process that ends blames none."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from commands import Earmark, in_farm
from earmark import bulk
from earmark.audit import stretch
from earmark.bulk import CHUNK, WORTH, Examination, Pool
from earmark.cli import check as command
from earmark.verifier import examine
from farm import Signing
from sample_farm import SampleFarm

pytest_plugins = ["command_fixtures"]


def ends(*_: object) -> bytes:
    """Stands for a process that the system ends, as it does where memory is short."""
    os._exit(1)


def double(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is below nothing")
    return 2 * number


def test_verdicts_come_back_in_order_from_all_cores() -> None:
    node = Signing(3, "n1")
    raws = [node.read(number) if number % 3 else b"junk %d" % number for number in range(WORTH + CHUNK // 2)]
    forged = bytearray(raws[7])
    forged[-1] ^= 1
    raws[7] = bytes(forged)
    told: list[tuple[int, int]] = []
    with Examination(raws) as examination:
        examination.progress = lambda done, total: told.append((done, total))
        found = list(examination.verdicts())
        faults = examination.faults()
    assert told[-1] == (len(raws), len(raws))
    for place, (claims, error) in enumerate(map(examine, raws)):
        if claims is None:
            assert found[place][0] is None
            assert str(found[place][1]) == str(error)
        else:
            assert found[place] == (claims, None)
            assert str(faults.get(place)) == str(error)
    with Examination(raws[:9]) as few:
        assert list(map(str, few.verdicts())) == list(map(str, found[:9]))
        assert list(map(str, few.faults().items())) == list(map(str, faults.items()))


def test_faults_that_were_never_looked_for_are_not_none() -> None:
    raws = [Signing(3, "n1").read()] * WORTH
    with Examination(raws) as examination:
        if not examination._pool.has_processes:
            pytest.skip("one core")
        with pytest.raises(RuntimeError, match="after all verdicts"):
            examination.faults()
        verdicts = examination.verdicts()
        next(verdicts)
        with pytest.raises(RuntimeError, match="after all verdicts"):
            examination.faults()
        assert len(list(verdicts)) == len(raws) - 1
        assert examination.faults() == {}
        with pytest.raises(RuntimeError, match="taken once"):
            examination.faults()


@pytest.mark.parametrize("count", [0, WORTH])
def test_results_come_in_the_order_of_the_tasks_and_only_a_few_tasks_are_read_ahead(count: int) -> None:
    read: list[int] = []
    with Pool(count) as pool:
        results = pool.map(double, (read.append(number) or number for number in range(200)))
        assert next(results) == 0
        assert len(read) <= 2 * len(os.sched_getaffinity(0)) + 2
        assert list(results) == [2 * number for number in range(1, 200)]


@pytest.mark.parametrize("count", [0, WORTH])
def test_what_a_task_raises_comes_out_where_its_result_is_taken(count: int) -> None:
    with Pool(count) as pool:
        results = pool.map(double, [1, -1, 2])
        assert next(results) == 2
        with pytest.raises(ValueError, match="below nothing"):
            next(results)


def test_a_program_with_threads_is_not_forked() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with Pool(WORTH) as pool:
            assert list(pool.map(double, range(5))) == [0, 2, 4, 6, 8]
    finally:
        done.set()
        thread.join()


def test_a_check_whose_process_ends_says_nothing_of_the_proof(
    earmark: Earmark, sample: SampleFarm, lot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (bulk, command):
        monkeypatch.setattr(module, "WORTH", 0)
    monkeypatch.setattr(bulk, "_check", ends)
    monkeypatch.setattr(stretch, "_survey_file", ends)
    for said in (earmark("check", lot, "--operator", sample.did), in_farm(earmark)("log", "check")):
        assert (said.status, "a process that verified statements was ended" in " ".join(said.err.split())) == (3, True)


def test_the_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    """Also where that one is killed: each may have a log open, which a gateway goes on writing."""
    program = "import time\nfrom earmark.bulk import WORTH, Pool\nwith Pool(WORTH) as pool:\n"
    program += "    print(*pool._pool._processes, flush=True)\n    time.sleep(60)\n"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        workers = [psutil.Process(int(number)) for number in process.stdout.readline().split()]
        process.kill()
    assert len(workers) == len(os.sched_getaffinity(0))
    assert psutil.wait_procs(workers, timeout=10)[1] == []
