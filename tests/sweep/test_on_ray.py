"""Workers of Ray: killed, failing, of a cluster, at an address that does not answer."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from lightmamba.cli import main
from lightmamba.common.errors import InputError
from lightmamba.study.sweep import sweep
from lightmamba.study.sweep.results import Results, is_done, read_results
from lightmamba.study.sweep.schedule import run_jobs
from tests.sweep.cases import attempt_noted, cell_of, die, invented, unfit
from tests.sweep.test_sweep import settled

pytestmark = [
    pytest.mark.skipif(not find_spec("ray"), reason="needs the extra sweep"),
    pytest.mark.filterwarnings("default"),  # Ray's own
]


def on_ray(*arguments, **more):
    """A runner; the module is imported where Ray is there."""
    from lightmamba.study.sweep.on_ray import OnRay

    return OnRay(*arguments, **more)


def notes(folder: Path) -> list[tuple[str, int, str]]:
    """Key, process and kind of every job that was begun."""
    found = [p for p in (folder / "notes").glob("*") if p.suffix != ".part"]
    return [(p.name.split()[0], int(p.name.split()[1]), p.read_text()) for p in found]


def kill_one(folder: Path, kind: str, killed: list[tuple[str, int]], over: threading.Event) -> None:
    """Wait for a job of this kind and kill the worker that is at it."""
    while not over.wait(0.05):
        begun = [(key, pid) for key, pid, what in notes(folder) if what == kind]
        if begun:
            os.kill(begun[0][1], signal.SIGKILL)
            killed.append(begun[0])
            return


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["quantize", "text"])
def test_the_work_of_a_killed_worker_is_done_again(world, tmp_path, kind):
    """Three workers, one of them killed in mid-job: all results, once each, and the same ones."""
    plan = replace(world.plan, recipes=world.plan.recipes[:2])
    folder, jobs, over = tmp_path / "s", plan.jobs(), threading.Event()
    killed: list[tuple[str, int]] = []
    runner = on_ray(None, 3, 1, attempt_noted)
    assert runner.places == 3
    killer = threading.Thread(target=kill_one, args=(folder, kind, killed, over))
    killer.start()
    try:
        with Results(folder) as results:
            assert run_jobs(jobs, results, folder, runner) == 5
    finally:
        over.set()
        killer.join()
        runner.close()
    found = {record.key: record for record in read_results(folder)}
    assert len(found) == 5
    ((key, _),) = killed
    for name, record in found.items():
        assert record.made["attempts"] == (2 if name == key else 1)
    begun = [note[0] for note in notes(folder)]
    assert sorted(begun) == sorted([*found, key])  # twice what was killed
    assert len({pid for _, pid, _ in notes(folder)}) >= 3
    assert len(list((folder / "files").glob("*.safetensors"))) == 1
    shutil.rmtree(folder / "notes")

    alone = sweep(plan, tmp_path / "alone", workers=0)
    one = {name: settled(record) for name, record in found.items()}
    other = {record.key: settled(record) for record in alone.records}
    assert {key: one[key] for key in other} == other
    assert {f.name: f.read_bytes() for f in (folder / "files").iterdir()} == {
        f.name: f.read_bytes() for f in (tmp_path / "alone" / "files").iterdir()
    }


class Terminated(BaseException):
    """Raised by this program's handler of SIGTERM."""


@pytest.mark.parametrize("when", ["while Ray starts", "later"])
def test_ray_does_not_take_sigterm_from_the_program(monkeypatch, when):
    import ray

    def ours(*_):
        raise Terminated

    def init(**_):  # installs a handler that ends the program, as Ray does
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        if when != "later":
            signal.raise_signal(signal.SIGTERM)

    def run():
        on_ray(None, 1, 1, invented)
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
on_ray.OnRay.wait = lambda *_: print("waits", flush=True) or sys.stdin.read()
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


@pytest.mark.slow
def test_a_job_that_kills_its_workers_fails_alone(tmp_path):
    jobs = [cell_of(None, text) for text in ("b", "a", "c")]
    runner = on_ray(None, 2, 1, die)
    try:
        with Results(tmp_path / "s") as results:
            run_jobs(jobs, results, tmp_path / "s", runner)
    finally:
        runner.close()
    found = {record.what["measure"]: record for record in read_results(tmp_path / "s")}
    assert [is_done(found[text]) for text in "abc"] == [False, True, True]
    assert found["a"].values["error"].startswith("3 workers died of it; the last one: ")
    assert found["a"].made["attempts"] == 3


@pytest.mark.slow
def test_a_worker_without_the_project_is_named(tmp_path):
    runner = on_ray(None, 1, 1, unfit)
    try:
        with Results(tmp_path / "s") as results:
            run_jobs([cell_of(None)], results, tmp_path / "s", runner)
    finally:
        runner.close()
    (record,) = read_results(tmp_path / "s")
    assert record.made["attempts"] == 1
    assert "could not take the job: ModuleNotFoundError" in record.values["error"]


def refusal(address: str) -> str:
    start = time.monotonic()
    with pytest.raises(InputError) as error:
        on_ray(address, None, 1, invented)
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
             "--threads", "16", "-o", str(tmp_path / "s"), "--json"]  # fmt: skip
    with cluster(port):
        assert main([*words, "--address", f"127.0.0.1:{port}"]) == 0
    capsys.readouterr()
    found = read_results(tmp_path / "s")
    assert {record.what["recipe"] for record in found} == {"w4a4", "w8a8"}
    assert all(is_done(record) for record in found)
    assert {record.made["threads"] for record in found} == {2}  # as many as the machine has
