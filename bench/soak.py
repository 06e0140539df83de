"""Random work on simulated machines for as long as it is given, against the engine.

    python -m bench.soak [--minutes 10] [MACHINE ...]     (make soak)

Machines take turns of a minute. In a turn, sequences run passes of random composition on memory
that stalls at random, and are saved, restored, forked, ended, reset, and broken off in the middle
of a pass; damaged states are refused. Every observable of every token is compared with the engine.
A machine's row counts what was done since its hardware or its program changed last, so runs add up;
a turn that was not finished does not count. The run ends with an error at the first difference,
which says how to see it again: ``--turn N`` repeats turn N of a machine alone.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tests.sim import machines
from tests.sim.passes import damaged, random_passes
from tests.support import mixed
from tqdm import tqdm

from bench.common import asked
from bench.identity import Random, simulated
from bench.stored import HARDWARE, MADE, Row, keep, rows
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Target
from lightmamba.common.errors import InputError
from lightmamba.device.host.device_state import DeviceState
from lightmamba.device.sim import Opened, open_golden
from lightmamba.device.sim.golden import GoldenSequence
from lightmamba.hardware.compiler import build
from lightmamba.model.data import demo_file, experts_file, hybrid_file
from lightmamba.model.qmodel import load

SEQUENCES, CONTEXT, TURN, SAVED = 4, 192, 60.0, 6
STALLS = (0.0, 0.1, 0.2, 0.4)
LATE = 64  # positions before a token that counts as late
RESTART = 0.01  # of a part of a pass, so that tokens come late
OFTEN = {  # of what is done; the rest are passes
    "saved": 0.02, "restored": 0.02, "forked": 0.01, "ended": 0.005, "refused": 0.01,
    "reset": 0.002, "aborted": 0.002,
}  # fmt: skip
FROM_SAVED = ("restored", "refused")
COUNTED = ("tokens", "late", "passes", *OFTEN)


@dataclass(frozen=True)
class Machine:
    """A model on the machine of a target, or on hardware that was made for more."""

    model: Random | Path
    target: Target
    hardware: ArchConfig | None = None
    grows: bool = False  # with the length of a sequence

    @property
    def context(self) -> int | None:
        """Positions that memory has room for, where it has to be said."""
        return CONTEXT if self.grows else None

    def built(self, folder: Path) -> Path:
        """Compile it."""
        model = self.model.made() if isinstance(self.model, Random) else load(self.model)
        return build(
            model, self.target, folder / "build", hardware=self.hardware, context=self.context,
            sequences=SEQUENCES if self.grows else None,
        ).path  # fmt: skip


def _small(sizes: Any, target: str, hardware: ArchConfig | None = None) -> Machine:
    return Machine(Random(sizes), mixed.target_of(target, segment=64), hardware, grows=True)


def made() -> dict[str, Machine]:
    """Machines by name: models of two to seven small layers, and the bundled ones."""
    return {
        "Mamba2": Machine(Random(machines.CONFIG), machines.FOUR, machines.HARDWARE),
        "attention and MLPs": _small(mixed.MIXED, "tiny-t4"),
        "experts": _small(mixed.EXPERTS, "tiny", mixed.with_experts()),
        "bundled on tiny": Machine(Path(demo_file()), Target.load("tiny")),
        "bundled on tiny-t4": Machine(Path(demo_file()), Target.load("tiny-t4")),
        "bundled-hybrid on tiny-hybrid": Machine(
            Path(hybrid_file()), Target.load("tiny-hybrid"), grows=True
        ),
        "bundled-experts on tiny": Machine(Path(experts_file()), Target.load("tiny"), grows=True),
    }


def identity(row: Row) -> str:
    """Hash of a machine, its program, and the memory that it ran on."""
    machine = made()[row["machine"]]
    return simulated(
        machine.model, machine.target, hardware=machine.hardware, context=machine.context
    )


class Turn:
    """A turn of a machine: what is done is drawn from the turn's number.

    Attributes
    ----------
    done : {event: int}
        Counts of :data:`COUNTED`.
    difference : str
        The first, or empty.
    """

    def __init__(self, opened: Opened, number: int) -> None:
        self.golden, self.device, self.model = opened.golden, opened.device, opened.model
        self.rng, self.done, self.difference = np.random.default_rng(number), Counter[str](), ""
        self.saved = list[tuple[DeviceState, GoldenSequence]]()
        self.passes = random_passes(
            self.rng, self.device, self.model.valid_vocab, restart=RESTART, context=CONTEXT
        )
        self.others: dict[str, Callable[[int], None]] = {
            "saved": self._save, "restored": self._restore, "forked": self._fork,
            "ended": self._end, "refused": self._refuse, "reset": self._reset,
            "aborted": self._abort,
        }  # fmt: skip

    def step(self) -> None:
        """Do one thing."""
        shares = [*OFTEN.values(), 1 - sum(OFTEN.values())]
        name = str(self.rng.choice([*OFTEN, "pass"], p=shares))
        known = list(self.golden.sequences)
        if name == "pass" or not known or (name in FROM_SAVED and not self.saved):
            self._pass()
        else:
            self.others[name](int(self.rng.choice(known)))

    def _pass(self) -> None:
        work = next(self.passes)
        before = [
            0 if slot.fresh else self.device.sequences[slot.sequence].position + slot.replay
            for slot in work.slots
        ]
        step = self.golden.step(work)
        if step.difference is not None:
            self.difference = f"{step.difference} (cycle {step.cycle}) in {work}"
        self.done["passes"] += 1
        self.done["tokens"] += work.tokens
        for slot, first in zip(work.slots, before, strict=True):
            count = len(slot.tokens)
            self.done["late"] += max(0, min(count, first + count - LATE))

    def _save(self, sequence: int) -> None:
        """Keep a state, without its undecided tokens, which are given up."""
        state = self.device.save_state(sequence)
        mine = self.golden.sequences[sequence] = self.golden.sequences[sequence].fork()
        self.saved = [*self.saved[-SAVED:], (state, mine.fork())]
        self.done["saved"] += 1

    def _restore(self, sequence: int) -> None:
        """Go on from any saved state."""
        state, theirs = self.saved[self.rng.integers(len(self.saved))]
        self.device.restore_state(state, sequence)
        self.golden.sequences[sequence] = theirs.fork()
        self.done["restored"] += 1

    def _fork(self, sequence: int) -> None:
        """Let another sequence go on from this one; both lose what is undecided."""
        into = int(self.rng.integers(SEQUENCES))
        self.device.fork_state(sequence, into)
        mine = self.golden.sequences[sequence] = self.golden.sequences[sequence].fork()
        self.golden.sequences[into] = mine.fork()
        self.done["forked"] += 1

    def _end(self, sequence: int) -> None:
        """Give back the memory of a sequence."""
        self.device.end_sequence(sequence)
        self.golden.restart(sequence)
        self.done["ended"] += 1

    def _refuse(self, sequence: int) -> None:
        """A damaged state changes nothing."""
        state, reason = damaged(self.rng, self.saved[self.rng.integers(len(self.saved))][0])
        try:
            self.device.restore_state(state, sequence)
        except InputError as error:
            self.done["refused"] += 1
            if reason in str(error):
                return
        self.difference = f"a damaged state was not refused as such: {reason}"

    def _reset(self, sequence: int) -> None:
        """Nothing is left but what was saved."""
        self._clear()
        self.done["reset"] += 1

    def _abort(self, sequence: int) -> None:
        """Reset the machine in the middle of a pass."""
        self.device.submit(next(self.passes))
        self.device.simulator.run(int(self.rng.integers(1, 20_000)))
        self._clear()
        self.done["aborted"] += 1

    def _clear(self) -> None:
        self.device.reset()
        self.golden.sequences.clear()


def take(name: str, path: Path, number: int, seconds: float) -> Turn:
    """A turn of a machine."""
    opened = open_golden(
        path, stalls=STALLS[number % len(STALLS)], seed=number, sequences=SEQUENCES
    )
    end = time.monotonic() + seconds
    with opened.device:
        turn = Turn(opened, number)
        while not turn.difference and time.monotonic() < end:
            turn.step()
    if turn.difference:
        raise SystemExit(
            f"{turn.difference}\n\nafter {dict(turn.done)}; to see it again:\n"
            f'    python -m bench.soak "{name}" --turn {number}'
        )
    return turn


def so_far(name: str, hardware: str) -> dict[str, int]:
    """Counts of a machine's row, or zeros if it is of other hardware."""
    for row in rows("soak"):
        if row["machine"] == name and row[MADE][HARDWARE] == hardware:
            return {key: row[key] for key in ("turns", *COUNTED)}
    return dict.fromkeys(("turns", *COUNTED), 0)


def main() -> None:
    """Let machines take turns."""
    every = made()
    args = asked(
        __doc__, every,
        minutes={"type": float, "default": 10.0, "help": "how long (10)"},
        turn={"type": int, "help": "repeat this turn of one machine, and keep nothing"},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for name in args.row:
            (own := Path(folder) / name.replace(" ", "-")).mkdir()
            paths[name] = every[name].built(own)
        if args.turn is not None:
            take(args.row[0], paths[args.row[0]], args.turn, 60 * args.minutes)
            return
        begin, end = time.monotonic(), time.monotonic() + 60 * args.minutes
        with tqdm(total=round(end - begin), unit=" s") as bar:
            while (left := end - time.monotonic()) > 1:
                for name in args.row:
                    known = so_far(name, identity({"machine": name}))
                    turn = take(name, paths[name], known["turns"], min(TURN, max(1.0, left)))
                    counts = {key: known[key] + turn.done[key] for key in COUNTED}
                    keep("soak", {"machine": name, "turns": known["turns"] + 1, **counts})
                    bar.update(round(min(time.monotonic(), end) - begin) - bar.n)
                    if (left := end - time.monotonic()) <= 1:
                        break


if __name__ == "__main__":
    main()
