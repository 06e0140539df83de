"""Hardware of several tokens and the engine in parallel, pass by pass: everything is compared."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.counters import LOSSES, of_vector
from lightmamba.blocks import part
from lightmamba.compiler.supported import the_layer
from lightmamba.engine import Difference, Digests, Engine, State, first_difference
from lightmamba.passes import Pass, Slot
from lightmamba.sim.device import SimDevice
from lightmamba.sim.observe import Record, observables
from lightmamba.sim.twin import TwinStep, check_prompt, first_loss
from lightmamba.sim.vectors import Inputs, conv_states, inputs_of, updates_of, vector_of

__all__ = ["PassStep", "PassTwin"]

INPUTS = 3  # of a channel, that the convolution keeps


@dataclass(frozen=True)
class _Token:
    """A token on the engine, and what the gates showed of it."""

    state: State
    ours: Digests
    lost: Counter[str]
    logits: NDArray[np.int32]
    inputs: list[Inputs] = field(default_factory=list)  # of the gates
    updates: list[Record] = field(default_factory=list)


@dataclass
class _Sequence:
    state: State
    inputs: list[Inputs]  # the last ones of the gates, oldest first
    certain: list[_Token] = field(default_factory=list)  # of the last pass
    undecided: list[_Token] = field(default_factory=list)


@dataclass(frozen=True)
class PassStep:
    """One pass on both.

    Parameters
    ----------
    cycles : int
        From the start to done.
    counters : {name: int}
        What the pass added to each counter of the gates.
    lost : {name: int}
        Losses that are certain since this pass: of its committed tokens, and the accepted ones.
    next_tokens : list of int
        Arg-max of the wanted logits.
    difference : Difference or None
        Where the two first part; "here" is the engine, "there" the gates. Its token counts all that
        were fed.
    """

    cycles: int
    counters: dict[str, int]
    lost: Counter[str]
    next_tokens: list[int]
    difference: Difference | None


class PassTwin:
    """Feed the same passes to gates and engine; the engine runs every token by itself.

    Parameters
    ----------
    device : SimDevice
        Of several tokens, with the model loaded.
    engine : Engine
        Of the same model.
    rows : (in_rows,)
        Row of in_proj that is computed at each place.

    Attributes
    ----------
    watch
        Called with what the probes recorded of the first token of each pass, if set.
    """

    def __init__(self, device: SimDevice, engine: Engine, rows: NDArray[np.int64]) -> None:
        self.device, self.engine, self.rows = device, engine, rows
        self.sequences: dict[int, _Sequence] = {}
        self.tokens = 0
        self.names = tuple(device.counters())
        self.watch: Callable[[Mapping[str, Record]], None] | None = None
        artifact = device.artifact
        assert artifact is not None, "a build is loaded"
        self.arch = artifact.arch
        self.layer: Any = the_layer(engine.config)

    def step(self, work: Pass) -> PassStep:
        """Run a pass on both and compare all that can be seen."""
        head = work.wanted > 0
        before = self.device.counters()
        self.device.probes()
        self.device.submit(work)
        cycles = self.device.wait()
        seen = self.device.probes()
        if self.watch is not None:
            self.watch(vector_of(self.arch, seen, 0) | {"state": seen["updates"]})
        counters = {name: n - before[name] for name, n in self.device.counters().items()}
        sure, difference = Counter[str](), None
        first, at, logits = 0, 0, list[NDArray[np.int32]]()
        shares = self.device.shares()
        try:
            inputs, updates = self._taken(seen, sum(share.steps for share in shares))
        except ValueError as error:
            return PassStep(cycles, counters, sure, [], self._wrong("probes", str(error)))
        for slot, share in zip(work.slots, shares, strict=True):
            mine, known = self._accept(slot)
            again, new = updates[at : at + share.redone], updates[at + share.redone :]
            at += share.steps
            for token in known[len(known) - slot.replay :]:
                sure.update(token.lost)
            for token, update in zip(known[len(known) - share.redone :], again, strict=True):
                if token.updates and not _same(token.updates[0], update):
                    difference = difference or self._wrong("replay", "the state differs")
            made = self._engine(slot, mine)
            for n, token in enumerate(made):
                vector = first + n
                token.updates.append(new[n])
                token.inputs.append(inputs[vector])
                history = [*mine.inputs, *(t.inputs[0] for t in made[: n + 1])][-INPUTS:]
                difference = difference or self._compare(seen, token, vector, history, head)
                counted = {name: counters[of_vector(name, vector)] for name in LOSSES}
                difference = difference or first_loss(self.tokens, token.lost, counted, head)
                self.tokens += 1
            sure.update(self._commit(slot, mine, made))
            logits += [token.logits for token in made[len(made) - slot.wanted :]]
            first += len(made)
        difference = difference or self._results(logits)
        return PassStep(cycles, counters, sure, self.device.next_tokens(), difference)

    def run(self, prompt: Sequence[int], steps: int) -> Iterator[TwinStep]:
        """As :meth:`lightmamba.sim.twin.Twin.run`, the prompt but for its last token in chunks."""
        check_prompt(prompt)
        done, token, last = 0, 0, len(prompt) - 1
        while done < steps:
            head = done >= last
            most = 1 if head else min(self.arch.tokens, last - done, steps - done)
            ids = np.array(prompt[done : done + most] if done <= last else [token], dtype=np.int64)
            found = self.step(Pass((Slot(0, ids, wanted=int(head), fresh=not done),)))
            token = found.next_tokens[-1] if head and found.next_tokens else -1
            yield TwinStep(
                int(ids[-1]), token, found.cycles, found.counters, found.difference, None, most
            )
            if found.difference is not None:
                return
            done += most

    def follow(self, work: Pass) -> None:
        """Let the engine do a pass that the gates did while nobody looked.

        The inputs that it left to the convolution are taken from the engine. Where a later pass
        applies its tokens again, there is nothing of the gates to compare these updates with.
        """
        for slot in work.slots:
            mine, _ = self._accept(slot)
            made = self._engine(slot, mine)
            for token in made:
                token.inputs.append(self._inputs(token.state)[-1])
            self._commit(slot, mine, made)
            mine.inputs = self._inputs(mine.state)

    def _inputs(self, state: State) -> list[Inputs]:
        """Last inputs of the convolution as the engine keeps them, in the order of the rows."""
        order = part(self.layer.kind, "layout").conv_order(self.layer, self.rows)
        kept = [state.layer(n)["conv"][0][:, order] for n in range(self.engine.config.n_layer)]
        return [np.stack([layer[tap] for layer in kept]) for tap in range(-INPUTS, 0)]

    def _taken(self, seen: Mapping[str, Record], steps: int) -> tuple[list[Inputs], list[Record]]:
        """Inputs of the convolution by vector, and updates of the state by step."""
        k, layers = self.layer, self.engine.config.n_layer
        words = k.headdim * self.arch.padded_state // self.arch.state_elements
        return (
            inputs_of(seen, layers, k.conv_dim),
            updates_of(self.arch, seen["updates"], layers, k.nheads, steps, words),
        )

    def _accept(self, slot: Slot) -> tuple[_Sequence, list[_Token]]:
        """The sequence of a slot behind what it accepts, and its last pass up to there."""
        if slot.fresh or slot.sequence not in self.sequences:
            nothing = np.zeros((self.engine.config.n_layer, self.layer.conv_dim), np.int8)
            fresh = _Sequence(self.engine.empty_state(1), [nothing] * INPUTS)
            self.sequences[slot.sequence] = fresh
        mine = self.sequences[slot.sequence]
        accepted = mine.undecided[: slot.replay]
        for token in accepted:
            mine.state = token.state
            mine.inputs = [*mine.inputs, *token.inputs][-INPUTS:]
        known = [*mine.certain, *accepted]
        mine.certain, mine.undecided = [], []
        return mine, known

    def _engine(self, slot: Slot, mine: _Sequence) -> list[_Token]:
        """Tokens of a slot, one by one."""
        made, state = list[_Token](), mine.state
        for id_ in slot.tokens:
            state, ours = state.fork(), Digests(keep=True)
            before = self.engine.counters.copy()
            logits, state = self.engine.forward(np.array([[id_]]), state, observe=ours)
            made.append(_Token(state, ours, self.engine.counters - before, logits[0, -1]))
        return made

    def _commit(self, slot: Slot, mine: _Sequence, made: list[_Token]) -> Counter[str]:
        """Go on behind the committed tokens; what they lost."""
        lost = Counter[str]()
        for token in made[: slot.committed]:
            mine.state = token.state
            mine.inputs = [*mine.inputs, *token.inputs][-INPUTS:]
            lost.update(token.lost)
        mine.certain, mine.undecided = made[: slot.committed], made[slot.committed :]
        return lost

    def _compare(
        self, seen: Mapping[str, Record], token: _Token, vector: int, history: list[Inputs],
        head: bool,
    ) -> Difference | None:  # fmt: skip
        probes = vector_of(self.arch, seen, vector)
        probes["state"] = token.updates[0]
        probes["conv_state"] = conv_states(history, 0)
        theirs, config = Digests(keep=True), self.engine.config
        try:
            for name, value, _ in observables(
                config, self.engine.formats, probes, rows=self.rows, head=head
            ):
                theirs(name, value)
        except ValueError as error:
            return self._wrong("probes", str(error))
        ours = token.ours
        if not head:
            ours = Digests(keep=True)
            for (_, name), value in token.ours.arrays.items():
                if not name.startswith("head."):
                    ours(name, value)
        found = first_difference(ours, theirs)
        if found is None:
            return None
        return Difference(self.tokens, found.name, found.index, found.ours, found.theirs,
                          found.reason)  # fmt: skip

    def _results(self, logits: list[NDArray[np.int32]]) -> Difference | None:
        """What the host reads back."""
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


def _same(a: Record, b: Record) -> bool:
    """Whether two records hold the same numbers."""
    names: Any = a.records.dtype.names
    return all(np.array_equal(a.records[name], b.records[name]) for name in names)
