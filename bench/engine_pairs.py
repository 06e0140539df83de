"""Programs timed in turns: the machine's speed drifts between minutes, their ratio much less.

Every program is a worker of its own, which sleeps on a pipe while another one runs; that it does
is measured, as the processor time that it takes meanwhile. Who comes first alternates by round.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightmamba.common.errors import InputError
from lightmamba.common.speed import Spread, spread

__all__ = ["Runs", "Spread", "Task", "Worker", "in_turns", "python", "ratios", "share", "spread"]

ROOT = Path(__file__).parent.parent
Task = tuple[str, dict[str, Any]]  # what :func:`bench.engine_serve.serve` takes


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Median and range of the ratios of every round; not the ratio of two medians."""
    return spread([a / b for a, b in zip(ours, theirs, strict=True)])


def share(row: Mapping[str, Any]) -> list[float]:
    """Bytes that decoding reads per second over those that the machine can, by round."""
    rates = row["rates"]["decode"]["ours"]
    return [
        rate * row["bytes_read"] / (1e9 * gb) for rate, gb in zip(rates, row["probes"], strict=True)
    ]


class Worker:
    """A process that answers one task at a time (:mod:`bench.engine_serve`).

    Parameters
    ----------
    words
        Its command.

    Attributes
    ----------
    load_seconds : float
        From its start until it has loaded the model.
    """

    def __init__(self, words: Sequence[str]) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
        paths = [str(ROOT), str(ROOT / "src")]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        self.words, began = list(words), time.perf_counter()
        self.process = subprocess.Popen(
            self.words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env=environment,
        )  # fmt: skip
        self._answer()
        self.load_seconds = time.perf_counter() - began

    def ask(self, task: Task) -> Any:
        """Wait for the answer and return it."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.close()
            status = self.process.returncode
            words = " ".join(self.words)
            raise InputError(f"this worker ended with status {status}; see above: {words}")
        return json.loads(line)

    def seconds(self) -> float:
        """Processor time that it has taken, all threads; 0 where there is no /proc."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        if not stat.is_file():
            return 0.0
        fields = stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@dataclass(frozen=True)
class Runs:
    """Results of the rounds.

    Parameters
    ----------
    rates : {task: {worker: [tokens per second]}}
        By round; a round that came first, for warmth, is left out.
    idle : {worker: float}
        Share of the others' time in which a worker kept a core busy; 0 if it slept.
    others : float
        Cores that programs other than ours kept busy meanwhile, on average.
    probes : [float]
        What ``probe`` gave at the end of each round.
    """

    rates: dict[str, dict[str, list[float]]]
    idle: dict[str, float]
    others: float
    probes: list[float]


def _busy() -> float:
    """Processor time that all programs have taken since the start of the machine."""
    stat = Path("/proc/stat")
    if not stat.is_file():  # then nothing is known of the others
        return 0.0
    user, nice, system, _idle, _wait, irq, soft = map(int, stat.read_text().split()[1:8])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def _own(workers: Iterable[Worker]) -> float:
    """Processor time of this process, of what it waited for, and of its workers."""
    return sum(os.times()[:4]) + sum(worker.seconds() for worker in workers)


def in_turns(
    workers: Mapping[str, Worker],
    tasks: Sequence[Task],
    rounds: int,
    probe: Callable[[], float] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Runs:
    """Give every task to every worker in every round, one at a time."""
    rates: dict[str, dict[str, list[float]]] = {t: {w: [] for w in workers} for t, _ in tasks}
    waited, busy = dict.fromkeys(workers, 0.0), dict.fromkeys(workers, 0.0)
    probes = []
    names, began = list(workers), time.perf_counter()
    elsewhere = _busy() - _own(workers.values())
    for n in range(rounds + 1):
        for task in tasks:
            for name in names if n % 2 else reversed(names):
                others = [w for w in names if w != name]
                before = {w: workers[w].seconds() for w in others}
                start = time.perf_counter()
                rate = float(workers[name].ask(task))
                for w in others:
                    waited[w] += time.perf_counter() - start
                    busy[w] += workers[w].seconds() - before[w]
                if n:
                    rates[task[0]][name].append(rate)
        if probe is not None:
            found = probe()
            if n:
                probes.append(found)
        left = (time.perf_counter() - began) / (n + 1) * (rounds - n)
        say(f"round {n} of {rounds}, {left:,.0f} s left")
    idle = {w: busy[w] / waited[w] if waited[w] else 0.0 for w in workers}
    elsewhere = _busy() - _own(workers.values()) - elsewhere
    strangers = max(0.0, elsewhere / (time.perf_counter() - began))
    return Runs(rates, idle, strangers, probes)


def python(module: str, *words: str, executable: str = sys.executable) -> list[str]:
    """Command of a module of ours."""
    return [executable, "-m", module, *words]
