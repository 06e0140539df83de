"""Hardware and engine in parallel, token by token: every observable is compared."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.counters import CYCLES, LOSSES
from lightmamba.engine import Difference, Digests, Engine, State, first_difference
from lightmamba.errors import InputError
from lightmamba.passes import Pass, Slot
from lightmamba.sim.observe import Record, observables

__all__ = ["Observed", "Twin", "TwinStep", "check_prompt", "first_loss"]


def check_prompt(prompt: Sequence[int]) -> None:
    """Refuse a prompt without tokens with InputError."""
    if not len(prompt):
        raise InputError("the prompt has no tokens; give at least one, such as --prompt 'The'")


def first_loss(
    token: int, lost: Mapping[str, int], counted: Mapping[str, int], head: bool
) -> Difference | None:
    """First saturation counter that differs; the engine always computes its ``head``."""
    for name in LOSSES:
        if not head and (name.startswith("head") or name == "clipped"):
            continue
        if lost.get(name, 0) != counted[name]:
            return Difference(token, f"counter {name}", (), int(lost.get(name, 0)), counted[name])
    return None


class Observed(Protocol):
    """A device whose streams can be watched."""

    def submit(self, work: Pass) -> None:
        """Begin one token."""

    def wait(self) -> int:
        """Run until it is done; the cycles that it took."""

    def next_token(self) -> int:
        """Arg-max of the last logits."""

    def counters(self) -> Mapping[str, int]:
        """All counters by name."""

    def probes(self) -> Mapping[str, Record]:
        """What the probes recorded since the last call."""


@dataclass(frozen=True)
class TwinStep:
    """One token on both, or a chunk of a prompt.

    Parameters
    ----------
    token, next_token : int
        What went in last, and the arg-max that came out; -1 where no logits were wanted.
    cycles : int
        From the start to done.
    counters : {name: int}
        What this token added to each counter of the gates.
    difference : Difference or None
        Where the two first part, if they do; "here" is the engine, "there" the gates.
    cycle : int or None
        The cycle in which the gates gave the value that differs, if it is known.
    tokens : int
        Of the chunk.
    """

    token: int
    next_token: int
    cycles: int
    counters: dict[str, int]
    difference: Difference | None
    cycle: int | None
    tokens: int = 1

    @property
    def stalls(self) -> dict[str, int]:
        """Cycles by what the lanes did in them; they add up to all that were counted."""
        return {name: self.counters[name] for name in CYCLES}


class Twin:
    """Feed the same tokens to a device and to the engine.

    Parameters
    ----------
    device : Observed
        Loaded with the model.
    engine : Engine
        Of the same model.
    rows : (in_rows,)
        Row of in_proj that is computed at each place (the order of the build).

    Attributes
    ----------
    watch
        Called with what the probes recorded of each token, if set.
    """

    def __init__(self, device: Observed, engine: Engine, rows: NDArray[np.int64]) -> None:
        self.device, self.engine, self.rows = device, engine, rows
        self.states: dict[int, State] = {}  # of the sequences that have begun, by their number
        self.steps = 0
        self.names = tuple(device.counters())
        self.watch: Callable[[Mapping[str, Record]], None] | None = None

    def restart(self, sequence: int = 0) -> None:
        """Begin a new sequence on both."""
        self.states.pop(sequence, None)

    def step(self, token: int, *, head: bool = True, sequence: int = 0) -> TwinStep:
        """Run one token of a sequence on both and compare all that can be seen."""
        fresh = sequence not in self.states
        state = self.engine.empty_state(1) if fresh else self.states[sequence]
        lost = self.engine.counters.copy()
        ours = Digests(keep=True, first=self.steps)

        def observe(name: str, value: NDArray[Any]) -> None:
            if head or not name.startswith("head."):
                ours(name, value)

        ids = np.array([[token]], dtype=np.int64)
        _, self.states[sequence] = self.engine.forward(ids, state, observe=observe)
        lost = self.engine.counters - lost

        before = self.device.counters()
        self.device.probes()  # what others left
        self.device.submit(Pass((Slot(sequence, ids[0], wanted=int(head), fresh=fresh),)))
        cycles = self.device.wait()
        seen = self.device.probes()
        if self.watch is not None:
            self.watch(seen)
        theirs, when = Digests(keep=True, first=self.steps), dict[str, NDArray[Any]]()
        try:
            for name, value, cycle in observables(
                self.engine.config, self.engine.formats, seen, rows=self.rows, head=head
            ):
                theirs(name, value)
                when[name] = cycle
            difference = first_difference(ours, theirs)
        except ValueError as error:
            difference = Difference(self.steps, "probes", reason=str(error))
        counters = {name: n - before[name] for name, n in self.device.counters().items()}
        if difference is None:
            difference = first_loss(self.steps, lost, counters, head)
        cycle_of = None
        if difference is not None and difference.index and difference.name in when:
            cycle_of = int(when[difference.name][difference.index])
        self.steps += 1
        return TwinStep(
            token, self.device.next_token() if head else -1, cycles, counters, difference, cycle_of
        )

    def run(self, prompt: Sequence[int], steps: int) -> Iterator[TwinStep]:
        """Feed a prompt and go on greedily, ``steps`` tokens in all; the first difference ends it.

        Logits are wanted from the prompt's last token on.

        Raises
        ------
        InputError
            If the prompt is empty.
        """
        check_prompt(prompt)
        token = 0
        for n in range(steps):
            token = int(prompt[n]) if n < len(prompt) else token
            step = self.step(token, head=n >= len(prompt) - 1)
            yield step
            if step.difference is not None:
                return
            token = step.next_token
