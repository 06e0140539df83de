"""Workers of Ray: killed, failing, short of memory, of a cluster, at an address that is silent."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest

from lightmamba.cli import main
from lightmamba.common.errors import InputError
from lightmamba.model.config import SHAPES
from lightmamba.quantization.plan import available_memory
from lightmamba.study.sweep import sweep
from lightmamba.study.sweep.api import run_jobs
from lightmamba.study.sweep.job import Order
from lightmamba.study.sweep.results import is_done, open_results, read_results
from tests.sweep.cases import attempt_noted, cell_of, die, invented, timed
from tests.sweep.test_killed import files_of
from tests.sweep.test_sweep import settled

pytestmark = [
    pytest.mark.skipif(not find_spec("ray"), reason="needs the extra sweep"),
    pytest.mark.filterwarnings("default"),  # Ray's own
]


def run(folder, work, jobs, **more):
    """Do jobs on Ray, each on one thread; all records of the folder by key."""
    from lightmamba.study.sweep.on_ray import on_ray  # not there without Ray

    with open_results(folder) as results:
        run_jobs(jobs, results, folder, partial(on_ray, work=work, **more), more["workers"])
    return {record.key: record for record in read_results(folder)}


def notes(folder: Path) -> list[tuple[str, int, str]]:
    """Key, process and kind of every job that was begun."""
    found = [p for p in (folder / "notes").glob("*") if p.suffix != ".part"]
    return [(p.name.split()[0], int(p.name.split()[1]), p.read_text()) for p in found]


def kill_one(folder: Path, kind: str, killed: list[str], over: threading.Event) -> None:
    """Wait for a job of this kind and kill the worker that is at it."""
    while not over.wait(0.05):
        begun = [(key, pid) for key, pid, what in notes(folder) if what == kind]
        if begun:
            os.kill(begun[0][1], signal.SIGKILL)
            killed.append(begun[0][0])
            return


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["quantize", "text"])
def test_the_work_of_a_killed_worker_is_done_again(world, tmp_path, kind):
    """Three workers, one of them killed in mid-job: all results, once each, and the same ones."""
    plan = replace(world.plan, recipes=world.plan.recipes[:2])
    folder, over, killed = tmp_path / "s", threading.Event(), list[str]()
    killer = threading.Thread(target=kill_one, args=(folder, kind, killed, over))
    killer.start()
    try:
        found = run(folder, attempt_noted, plan.jobs(), workers=3)
    finally:
        over.set()
        killer.join()
    assert len(found) == 5
    assert len(killed) == 1
    assert sorted(note[0] for note in notes(folder)) == sorted([*found, *killed])
    assert len({pid for _, pid, _ in notes(folder)}) >= 3

    alone = sweep(plan, tmp_path / "alone", workers=0)
    one = {name: settled(record) for name, record in found.items()}
    other = {record.key: settled(record) for record in alone.records}
    assert {key: one[key] for key in other} == other
    assert files_of(folder) == files_of(tmp_path / "alone")


@pytest.mark.slow
def test_jobs_that_fail_fail_alone(tmp_path):
    """Three workers died of text a and of a file; a worker for text u lacks the project."""
    jobs = [*(cell_of(None, text) for text in "baucd"), cell_of("w4a4", "b"), cell_of("w8a8", "b")]
    records = run(tmp_path / "s", die, jobs, workers=2).values()
    died, trace = "3 workers died of it; the last one: ", "could not take the job: ModuleNotFound"
    found = {(r.what["recipe"], r.what["measure"]): r.values.get("error", "") for r in records}
    assert len(found) == 9
    assert found["float", "a"].startswith(died)
    assert found["w4a4", None].startswith(died)
    assert found["w4a4", "b"].startswith(f"its quantized file was not made: {died}")
    assert trace in found["float", "u"]
    assert sum(said == "" for said in found.values()) == 5


def test_workers_share_cores_and_memory(monkeypatch):
    from lightmamba.study.sweep import on_ray

    small = [Order(cell_of(None, text), Path(), 8, "") for text in "abcd"]
    model = replace(small[0].job.model, config=SHAPES["mamba2-2.7b"])
    large = replace(small[0], job=replace(small[0].job, model=model))
    for free, jobs, workers in ((30, small, 8), (30, [*small, large], 2), (1, [large], 1)):
        monkeypatch.setattr(on_ray, "available_memory", lambda free=free: free << 30)
        assert on_ray.fitting(jobs) == workers


@pytest.mark.slow
def test_jobs_that_have_no_room_beside_each_other_wait(tmp_path, monkeypatch):
    """Jobs of more than half of the memory, or of more than there is, run one at a time."""
    from lightmamba.study.sweep import on_ray

    free = available_memory()
    room = {"a": 0.6, "b": 0.6, "c": 3}

    def memory_of(job, threads):
        return int(room[job.measure.name] * free)

    monkeypatch.setattr(on_ray, "memory_of", memory_of)
    found = run(tmp_path / "s", timed, [cell_of(None, text) for text in room], workers=3)
    times = sorted(record.values["times"] for record in found.values())
    assert all(one[1] <= other[0] for one, other in pairwise(times))


class Terminated(BaseException):
    """Raised by this program's handler of SIGTERM."""


@pytest.mark.parametrize("when", ["while Ray starts", "later"])
def test_ray_does_not_take_sigterm_from_the_program(monkeypatch, when):
    import ray

    from lightmamba.study.sweep import on_ray

    def ours(*_):
        raise Terminated

    def init(**_):  # installs a handler that ends the program, as Ray does
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        if when != "later":
            signal.raise_signal(signal.SIGTERM)

    def run():
        with on_ray._cluster(None, 1):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(ray, "init", init)
    before = signal.signal(signal.SIGTERM, ours)
    try:
        with pytest.raises(Terminated):
            run()
    finally:
        signal.signal(signal.SIGTERM, before)


BEGUN = """
import sys
from lightmamba.cli import main
from lightmamba.study.sweep import on_ray
on_ray.ray.wait = lambda *_, **__: print("waits", flush=True) or sys.stdin.read()
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_sweep_that_is_terminated_names_its_folder(tmp_path):
    folder = tmp_path / "s"
    words = ("sweep", "--model", "demo", "--recipe", "w4a4", "--target", "tiny", "-o", str(folder))
    child = subprocess.Popen(
        [sys.executable, "-c", BEGUN, *words, "--workers", "1"], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "waits\n"
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 143
    assert said.strip() == f"lightmamba sweep: stopped; the same command resumes from {folder}"


def refusal(address: str) -> str:
    from lightmamba.study.sweep.on_ray import on_ray

    start, order = time.monotonic(), Order(cell_of(None), Path(), 1, "")
    with pytest.raises(InputError) as error:
        list(on_ray([order], lambda *_: None, invented, address=address))
    assert time.monotonic() - start < 25
    return str(error.value)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_an_address_where_nobody_listens():
    port = free_port()
    assert refusal(f"127.0.0.1:{port}").startswith(
        f"no Ray cluster answers at 127.0.0.1:{port}; start one with: ray start --head"
    )


@pytest.mark.slow
def test_an_address_that_listens_and_says_nothing():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert f"no Ray cluster answers at 127.0.0.1:{port}" in refusal(f"127.0.0.1:{port}")


@pytest.mark.parametrize("address", ["", "here", "ray://h:10001", "h:", ":1", "h:port"])
def test_an_address_that_is_none(address):
    assert "--address must be HOST:PORT" in refusal(address)


@contextmanager
def cluster(port: int):
    """A head with two cores, as a process of its own, gone at the end."""
    ray = Path(sys.executable).with_name("ray")
    command = [str(ray), "start", "--head", "--block", f"--port={port}", "--num-cpus=2",
               "--include-dashboard=false", "--disable-usage-stats",
               f"--object-store-memory={80 << 20}"]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if "--block" in line:  # it has started, and says how long it will stay
                break
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.stdout.close()
        process.wait()


@pytest.mark.slow
def test_a_cluster_by_its_address(world, tmp_path, capsys):
    port = free_port()
    words = ["sweep", "--model", "demo", "--recipe", "w4a4", "--recipe", "w8a8", "--target", "tiny",
             "--threads", "16", "--workers", "1", "-o", str(tmp_path / "s"), "--json"]  # fmt: skip
    with cluster(port):
        assert main([*words, "--address", f"127.0.0.1:{port}"]) == 0
    capsys.readouterr()
    found = read_results(tmp_path / "s")
    assert {record.what["recipe"] for record in found} == {"w4a4", "w8a8"}
    assert all(is_done(record) for record in found)
    assert {record.made["threads"] for record in found} == {2}  # as many as the machine has
