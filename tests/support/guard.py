"""The cost of each module of tests, and limits that CI enforces with ``--guard``.

Costs are seconds of processor time, of programs that a test starts too, on the computer on which a
fixed loop takes `LOOP_S`: a slow computer is no failure. The loop is timed again and again along
the run, since whatever else a computer does slows its tests, and the loop as much.
"""

import os
import resource
import time
import tomllib
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import pytest

__all__ = ["Guard", "Limits", "Run", "factor"]

ROOT = Path(__file__).parents[2]
LOOP, LOOP_S = 1_000_000, 0.033
AGAIN_S = 10.0  # seconds after which the loop is timed again
SHOWN, SHOWN_FROM = 10, 60.0  # modules, and seconds of all tests


@dataclass(frozen=True)
class Limits:
    """``[tool.lightmamba-tests]`` of pyproject.toml.

    Parameters
    ----------
    budget
        Seconds of all tests that are neither ``slow`` nor ``board``.
    longest
        Seconds of one of them, its fixtures included.
    memory_gb
        Largest size of a process that runs tests.
    skipped
        By the end of a reason to skip a test: why it is right that CI skips it.
    """

    budget: float
    longest: float
    memory_gb: float
    skipped: dict[str, str]

    @staticmethod
    def read() -> "Limits":
        """The limits of this checkout."""
        text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        return Limits(**tomllib.loads(text)["tool"]["lightmamba-tests"])


@dataclass
class Run:
    """Tests that have run, and what they cost.

    Parameters
    ----------
    tests : Counter[str]
        Seconds of each quick test, by its id.
    slow : float
        Seconds of all others.
    skipped : dict of (str, str)
        Reason by place.
    grown : Counter[str]
        Gigabytes by which a module let the process grow that ran it.
    memory_gb : float
        Size of the largest process that runs tests.
    """

    tests: Counter[str] = field(default_factory=Counter)
    slow: float = 0.0
    skipped: dict[str, str] = field(default_factory=dict)
    grown: Counter[str] = field(default_factory=Counter)
    memory_gb: float = 0.0

    def add(self, report: Any) -> None:
        """Take one phase of a test, or a module that was skipped as a whole."""
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            self.skipped[report.nodeid] = str(reason).removeprefix("Skipped: ")
        if not hasattr(report, "cost"):
            return
        self.memory_gb = max(self.memory_gb, report.memory_gb)
        self.grown[report.nodeid.partition("::")[0]] += report.grown_gb
        if {"slow", "board"} & set(report.keywords):
            self.slow += report.cost
        else:
            self.tests[report.nodeid] += report.cost

    def modules(self) -> Counter[str]:
        """Seconds of the quick tests of each module."""
        found = Counter[str]()
        for name, cost in self.tests.items():
            found[name.partition("::")[0]] += cost
        return found

    def problems(self, limits: Limits) -> Iterator[str]:
        """A line for each limit that was exceeded."""
        for name, cost in self.tests.most_common():
            if cost > limits.longest:
                yield (
                    f"{name} takes {cost:.0f} s, more than {limits.longest:.0f}: make it shorter, "
                    f"or mark it slow"
                )
        if (total := self.tests.total()) > limits.budget:
            yield f"all take {total:.0f} s of processor time, more than {limits.budget:.0f}"
        if self.memory_gb > limits.memory_gb:
            yield f"a process grew to {self.memory_gb:.1f} GB, more than {limits.memory_gb:g}"
        for name, reason in self.skipped.items():
            if not any(reason.endswith(end) for end in limits.skipped):
                yield f"{name} was skipped, and pyproject.toml does not say why it may be: {reason}"


class Guard:
    """Plugin that notes what tests cost, in each process that runs them, and adds it up."""

    def __init__(self, strict: bool) -> None:
        self.strict, self.run, self.mark, self.size = strict, Run(), 0.0, 0.0
        self.factors: list[float] = []
        self.timed = 0.0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        """Begin to count, after everything was collected."""
        self.time_loop()

    def time_loop(self) -> None:
        """Time the loop, which is not of the next test's cost."""
        self.factors.append(factor())
        self.timed, self.mark = time.monotonic(), spent()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, Any, Any]:
        """Note the cost of a phase, the first of them with what came before it."""
        report = yield
        now = spent()
        report.cost, self.mark = (now - self.mark) / median(self.factors), now
        report.memory_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        report.grown_gb, self.size = report.memory_gb - self.size, report.memory_gb
        if time.monotonic() > self.timed + AGAIN_S:
            self.time_loop()
        return report

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Take a phase of a test, where all come together."""
        self.run.add(report)

    def pytest_collectreport(self, report: Any) -> None:
        """Take a module that was skipped."""
        self.run.add(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: Any) -> None:
        """Fail if a limit was exceeded."""
        alone_or_first = not hasattr(session.config, "workerinput")
        if self.strict and alone_or_first and any(self.run.problems(Limits.read())):
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the modules that take longest, and what is wrong."""
        write, run = terminalreporter.write_line, self.run
        if not self.strict and run.tests.total() < SHOWN_FROM:
            return
        write(
            f"{run.tests.total():.0f} s of processor time in quick tests, {run.slow:.0f} s in "
            f"others, {run.memory_gb:.1f} GB in one process; modules that take most:"
        )
        for name, cost in run.modules().most_common(SHOWN):
            write(f"{cost:7.1f} s  {name}")
        for name, size in run.grown.most_common(SHOWN):
            if size > 0.1:
                write(f"{size:7.1f} GB  {name}")
        for problem in run.problems(Limits.read()) if self.strict else ():
            write(f"guard: {problem}", red=True)


def spent() -> float:
    """Seconds of processor time of this process and of those that it has waited for."""
    return sum(os.times()[:4])


def factor() -> float:
    """Time of a fixed loop here, in units of `LOOP_S`."""
    times = []
    for _ in range(3):
        start = time.process_time()
        total = 0
        for n in range(LOOP):
            total += n & 3
        times.append(time.process_time() - start)
    return min(times) / LOOP_S
