"""Hardware and engine in parallel, pass by pass: every observable of every token is compared."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks import kind
from lightmamba.common.errors import InputError
from lightmamba.common.passes import Pass, Slot, split
from lightmamba.device.host.device_state import DeviceState
from lightmamba.device.sim.device import SimDevice
from lightmamba.device.sim.observe import Record, observables, same, vector_of
from lightmamba.engine import Difference, Digests, Engine, State, first_difference
from lightmamba.hardware.compiler.states import state_bytes
from lightmamba.hardware.machine.counters import CYCLES, losses, of_vector
from lightmamba.hardware.machine.probes import probes

__all__ = ["GoldenModel", "GoldenSequence", "GoldenStep", "check_prompt"]

Where = tuple[Difference | None, int | None]  # and the cycle of the hardware's value, if known


def check_prompt(prompt: Sequence[int]) -> None:
    """Refuse a prompt without tokens with InputError."""
    if not len(prompt):
        raise InputError("the prompt has no tokens; give at least one, such as --prompt 'The'")


@dataclass
class _Token:
    """A token on the engine, and what the probes of the hardware showed of it."""

    state: State
    ours: Digests
    lost: Counter[str]
    logits: NDArray[np.int32]
    kept: dict[str, Any] = field(default_factory=dict)  # by kind, after the token
    again: dict[str, Record] = field(default_factory=dict)  # by kind: what a replay must show


@dataclass
class GoldenSequence:
    """A sequence on both.

    Parameters
    ----------
    state : State
        The engine's, after its last certain token.
    kept : {kind: Any}
        What the hardware's probes showed earlier and the next token needs.
    """

    state: State
    kept: dict[str, Any]
    certain: list[_Token] = field(default_factory=list)  # of the last pass
    undecided: list[_Token] = field(default_factory=list)

    def fork(self) -> "GoldenSequence":
        """Copy it; tokens that are undecided are given up, as they are by a saved state."""
        return GoldenSequence(self.state.fork(), dict(self.kept))


@dataclass(frozen=True)
class GoldenStep:
    """One pass on both.

    Parameters
    ----------
    tokens : int
        Of the pass.
    cycles : int
        From the start to done.
    counters : {name: int}
        Counts that the pass added, by counter of the hardware.
    lost : {name: int}
        Losses that became certain with this pass: of its committed tokens, and the accepted ones.
    next_tokens : list of int
        Arg-max of the wanted logits.
    difference : Difference or None
        Where the two first differ; "here" is the engine, "there" the hardware. Its token counts all
        that were fed.
    cycle : int or None
        The cycle in which the hardware gave the value that differs, if it is known.
    """

    tokens: int
    cycles: int
    counters: dict[str, int]
    lost: Counter[str]
    next_tokens: list[int]
    difference: Difference | None
    cycle: int | None = None

    @property
    def next_token(self) -> int:
        """Arg-max of the last wanted logits; -1 where none were."""
        return self.next_tokens[-1] if self.next_tokens else -1

    @property
    def stalls(self) -> dict[str, int]:
        """Cycles by what the lanes did in them; they add up to all that were counted."""
        return {name: self.counters[name] for name in CYCLES if name in self.counters}


class GoldenModel:
    """Feed the same passes to hardware and engine; the engine runs every token by itself.

    Parameters
    ----------
    device : SimDevice
        With the model loaded.
    engine : Engine
        Of the same model.

    Attributes
    ----------
    watch
        Called with what the probes recorded of the first token of each pass, if set.
    """

    def __init__(self, device: SimDevice, engine: Engine) -> None:
        self.device, self.engine = device, engine
        self.sequences: dict[int, GoldenSequence] = {}
        self.tokens = 0
        self.names = tuple(device.counters())
        self.watch: Callable[[Mapping[str, Record]], None] | None = None
        artifact = device.artifact
        assert artifact is not None, "a build is loaded"
        self.arch, layers = artifact.arch, engine.config.layers
        self.rows = [kind(k.kind).hardware.row_order(k, artifact.order) for k in layers]
        known = {name: kind(name).hardware.history for name in engine.config.kinds}
        self.histories = {name: history for name, history in known.items() if history}
        self.places = {
            name: [n for n, layer in enumerate(layers) if layer.kind == name]
            for name in self.histories
        }

    def restart(self, sequence: int = 0) -> None:
        """Begin a new sequence on both."""
        self.sequences.pop(sequence, None)

    def go_on(self, state: State, sequence: int = 0) -> None:
        """Let a sequence go on from a state of the engine, on both."""
        artifact = self.device.artifact
        assert artifact is not None, "a build is loaded"
        position = int(state.position[0])
        memory = state_bytes(artifact, state)
        self.device.restore_state(DeviceState(position, memory, artifact.fingerprint), sequence)
        self.sequences[sequence] = GoldenSequence(state.fork(), self._kept(state))

    def feed(self, token: int, *, head: bool = True, sequence: int = 0) -> GoldenStep:
        """Run one token of a sequence, which begins with it unless it has begun."""
        fresh = sequence not in self.sequences
        return self.step(Pass((Slot(sequence, np.array([token]), int(head), fresh),)))

    def step(self, work: Pass) -> GoldenStep:
        """Run a pass on both and compare all that can be seen."""
        before = self.device.counters()
        self.device.probes()  # what others left
        self.device.submit(work)
        cycles = self.device.wait()
        seen = self.device.probes()
        counters = {name: n - before[name] for name, n in self.device.counters().items()}
        sure = Counter[str]()
        try:
            (difference, cycle), logits = self._tokens(work, seen, counters, sure)
        except ValueError as error:
            difference, cycle, logits = self._wrong("probes", str(error)), None, []
        if difference is None:
            difference = self._results(logits)
        next_tokens = self.device.next_tokens()
        return GoldenStep(work.tokens, cycles, counters, sure, next_tokens, difference, cycle)

    def run(self, prompt: Sequence[int], steps: int) -> Iterator[GoldenStep]:
        """Feed a prompt and go on greedily, ``steps`` tokens in all; the first difference ends it.

        Logits are wanted from the prompt's last token on; the others are fed as many at a time as
        the hardware takes.

        Raises
        ------
        InputError
            If the prompt is empty.
        """
        check_prompt(prompt)
        count, token = min(steps, len(prompt) - 1), prompt[-1]
        before = [Slot(0, np.array(prompt[:count]), wanted=0, fresh=True)] if count else []
        parts = [part for slot in before for part, _ in split(Pass((slot,)), self.arch.tokens)]
        for n in range(len(parts) + steps - count):
            alone = Slot(0, np.array([token]), fresh=not n)
            yield (found := self.step(parts[n] if n < len(parts) else Pass((alone,))))
            if found.difference is not None:
                return
            token = found.next_token if n >= len(parts) else token

    def follow(self, work: Pass) -> None:
        """Let the engine do a pass that the hardware did with its probes off.

        What its probes would have shown of it is taken from the engine. Where a later pass
        applies its tokens again, there is nothing of the hardware to compare these updates with.
        """
        for slot in work.slots:
            mine, _ = self._accept(slot)
            made = self._engine(slot, mine)
            for token in made:
                token.kept = self._kept(token.state)
            self._commit(slot, mine, made)
            mine.kept = self._kept(mine.state)

    def _tokens(
        self, work: Pass, seen: Mapping[str, Record], counters: Mapping[str, int],
        sure: Counter[str],
    ) -> tuple[Where, list[NDArray[np.int32]]]:  # fmt: skip
        """Compare every token; where the first one differs, and the engine's wanted logits."""
        shares = self.device.shares()
        steps, head = sum(share.steps for share in shares), work.wanted > 0
        passes = {
            name: history(self._layers(name), self.arch, seen, steps)
            for name, history in self.histories.items()
        }
        if self.watch is not None:
            whole = {
                probe.name: seen[probe.name] for probe in probes(self.arch) if not probe.tokens
            }
            self.watch(vector_of(self.arch, seen, 0) | whole)
        where: Where = None, None
        first, at, logits = 0, 0, list[NDArray[np.int32]]()
        for slot, share in zip(work.slots, shares, strict=True):
            mine, known = self._accept(slot)
            for token in known[len(known) - slot.replay :]:
                sure.update(token.lost)
            for n, token in enumerate(known[len(known) - share.redone :]):
                for name, shown in token.again.items():
                    if where[0] is None and not same(shown, passes[name].again(at + n)):
                        where = self._wrong("replay", "the state differs"), None
            at += share.redone
            made, kept = self._engine(slot, mine), mine.kept
            for n, token in enumerate(made):
                records = vector_of(self.arch, seen, first + n)
                for name, one in passes.items():
                    records, token.kept[name] = one.token(records, first + n, at + n, kept[name])
                    token.again[name] = one.again(at + n)
                kept = token.kept
                if where[0] is None:
                    where = self._compare(records, token, first + n, counters, head)
                self.tokens += 1
            at += share.steps - share.redone
            sure.update(self._commit(slot, mine, made))
            logits += [token.logits for token in made[len(made) - slot.wanted :]]
            first += len(made)
        return where, logits

    def _layers(self, name: str) -> list[Any]:
        """Sizes of the layers of a kind."""
        return [self.engine.config.layers[n] for n in self.places[name]]

    def _kept(self, state: State) -> dict[str, Any]:
        """The engine's copy of what the probes showed before, for each kind of layers."""
        found = {}
        for name, places in self.places.items():
            rows, states = [self.rows[n] for n in places], [state.layer(n) for n in places]
            found[name] = self.histories[name].kept(self._layers(name), rows, states)
        return found

    def _accept(self, slot: Slot) -> tuple[GoldenSequence, list[_Token]]:
        """The sequence of a slot after what it accepts, and its last pass up to there."""
        if slot.fresh or slot.sequence not in self.sequences:
            kept = {k: history.kept(self._layers(k)) for k, history in self.histories.items()}
            self.sequences[slot.sequence] = GoldenSequence(self.engine.empty_state(1), kept)
        mine = self.sequences[slot.sequence]
        accepted = mine.undecided[: slot.replay]
        for token in accepted:
            mine.state = token.state
            mine.kept = token.kept
        known = [*mine.certain, *accepted]
        mine.certain, mine.undecided = [], []
        return mine, known

    def _engine(self, slot: Slot, mine: GoldenSequence) -> list[_Token]:
        """Tokens of a slot, one by one."""
        made, state = list[_Token](), mine.state
        for id_ in slot.tokens:
            state, ours = state.fork(), Digests(keep=True)
            before = self.engine.counters.copy()
            logits, state = self.engine.forward(np.array([[id_]]), state, observe=ours)
            made.append(_Token(state, ours, self.engine.counters - before, logits[0, -1]))
        return made

    def _commit(self, slot: Slot, mine: GoldenSequence, made: list[_Token]) -> Counter[str]:
        """Go on after the committed tokens; what they lost."""
        lost = Counter[str]()
        for token in made[: slot.committed]:
            mine.state = token.state
            mine.kept = token.kept
            lost.update(token.lost)
        mine.certain, mine.undecided = made[: slot.committed], made[slot.committed :]
        return lost

    def _compare(
        self, records: Mapping[str, Record], token: _Token, vector: int,
        counters: Mapping[str, int], head: bool,
    ) -> Where:  # fmt: skip
        """Compare the observables and losses of a token."""
        theirs, when = Digests(keep=True), dict[str, NDArray[Any]]()
        for name, value, cycle in observables(
            self.engine.config,
            self.engine.formats,
            records,
            rows=self.rows,
            head=head,
            kinds=self.arch.kinds,
        ):
            theirs(name, value)
            when[name] = cycle
        ours = token.ours
        if not head:
            ours = Digests(keep=True)
            for (_, name), value in token.ours.arrays.items():
                if not name.startswith("head."):
                    ours(name, value)
        found = first_difference(ours, theirs)
        if found is None:
            return self._lost(token.lost, counters, vector, head), None
        known = found.index and found.name in when
        return (
            replace(found, token=self.tokens),
            int(when[found.name][found.index]) if known else None,
        )

    def _lost(
        self, lost: Mapping[str, int], counters: Mapping[str, int], vector: int, head: bool
    ) -> Difference | None:
        """First saturation counter that differs; the engine always computes its ``head``."""
        for name in losses(self.arch.kinds) if counters else ():
            if not head and (name.startswith("head") or name == "clipped"):
                continue
            ours, theirs = int(lost.get(name, 0)), counters[of_vector(name, vector)]
            if ours != theirs:
                return Difference(self.tokens, f"counter {name}", (), ours, theirs)
        return None

    def _results(self, logits: list[NDArray[np.int32]]) -> Difference | None:
        """Values that the host reads back."""
        theirs = self.device.wanted_logits()
        for n, ours in enumerate(logits):
            if not np.array_equal(ours, theirs[n]):
                return self._wrong("logits in memory", f"those of result {n} differ")
            best = int(ours[: self.engine.valid_vocab].argmax())
            if self.device.next_tokens()[n] != best:
                return self._wrong("next token", f"that of result {n} is not {best}")
        return None

    def _wrong(self, name: str, reason: str) -> Difference:
        return Difference(self.tokens, name, reason=reason)
