"""Sequences whose states lie in a device's memory side by side, and take turns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.clients import LAYER, RECORD, SPREAD
from lightmamba.arch.place import Region, copies
from lightmamba.arch.spread import lanes_of
from lightmamba.common.errors import InputError
from lightmamba.device.host.segments import Pool, Segments
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.machine.ports import clients, state_clients

__all__ = ["Resident", "fit", "reach", "residents"]

Bytes = NDArray[np.uint8]

MOST = 4096  # sequences
STEP = 1 << 16  # states of further sequences begin at multiples of this


@dataclass
class Resident:
    """One sequence on a device.

    Parameters
    ----------
    states : tuple of tuple of Region
        Of each port of states that lie head by head, the copies of what goes through it: one, or
        two of which a token reads one and writes the other.
    others : {client: Region}
        What it keeps layer by layer.
    segments : {client: Segments}
        Of those that grow.

    Attributes
    ----------
    position
        Tokens seen, without those that are undecided.
    due
        The copy that the next token reads, where there are two.
    key
        Another object for each sequence that begins here.
    undecided
        Tokens that its last pass left to be accepted or not.
    record
        Where that pass recorded them.
    recorded
        The first one's vector in that pass.
    behind
        Where that pass wrote the state as if all of them were right: how many certain tokens it
        had, which the other copy of the state lacks. They are recorded before the undecided ones.
    """

    states: tuple[tuple[Region, ...], ...]
    others: Mapping[str, Region]
    segments: Mapping[str, Segments] = field(default_factory=dict)
    position: int = 0
    due: int = 0
    key: object = field(default_factory=object)
    undecided: int = 0
    record: Region | None = None
    recorded: int = 0
    behind: int = 0

    def begin(self) -> None:
        """A new sequence takes the place."""
        self.position, self.key = 0, object()
        self.left(0)

    def end(self) -> None:
        """Give back what grew; nothing but a new sequence may follow."""
        self.begin()
        fit([(self, 0)])

    def left(
        self, undecided: int, record: Region | None = None, recorded: int = 0, behind: int = 0
    ) -> None:
        """Record that the last pass left a number of tokens undecided."""
        self.undecided, self.record, self.recorded = undecided, record, recorded
        self.behind = behind

    @property
    def twice(self) -> bool:
        """Whether there are two copies of its state."""
        return any(len(copies) > 1 for copies in self.states)

    def redo(self, accepted: int) -> int:
        """Recorded tokens that must be applied to the state again, for ``accepted`` tokens."""
        if not self.behind:
            return accepted
        return 0 if accepted == self.undecided else self.behind + accepted

    def went(self, tokens: int, written: int) -> None:
        """Count tokens that it has seen, and how often its state was ``written``."""
        self.position += tokens
        self.due = (self.due + written) % 2

    def copy(self, port: int, later: int = 0) -> Region:
        """Region that the next token, or one ``later`` on, reads through a port of the state.

        The next token writes what the one after it reads.
        """
        copies = self.states[port]
        return copies[(self.due + later) % len(copies)]

    def parts(self, positions: int) -> dict[str, tuple[Region, ...]]:
        """Everything that the next token reads after ``positions`` others, by the build's names.

        A state is one region; what grows has one in each run, of the rows that are used.
        """
        states = {copies[0].name.partition("#")[0]: (self.copy(n),)
                  for n, copies in enumerate(self.states)}  # fmt: skip
        others: dict[str, tuple[Region, ...]]
        others = {name: (region,) for name, region in self.others.items()}
        for each in self.segments.values():
            others |= each.used(positions)
        return states | others

    def sizes(self, positions: int) -> dict[str, int]:
        """Bytes of :meth:`parts` by the build's names, whatever segments the sequence has now."""
        found = {copies[0].name.partition("#")[0]: copies[0].bytes for copies in self.states}
        found |= {name: region.bytes for name, region in self.others.items()}
        for each in self.segments.values():
            found |= each.sizes(positions)
        return found

    def kept(self, memory: Mapping[str, Bytes], positions: int) -> dict[str, Bytes]:
        """Bytes of all of it, as far as they are of these positions."""
        found = dict(memory)
        for each in self.segments.values():
            found |= each.kept(memory, positions)
        return found

    @property
    def all(self) -> tuple[Region, ...]:
        """Everything that it alone has in memory."""
        return (*(region for copies in self.states for region in copies), *self.others.values())


def fit(wanted: Sequence[tuple[Resident, int]]) -> None:
    """Give sequences room for some positions each, and no more, in what grows by segments.

    Raises
    ------
    InputError
        If too few segments are free; nothing is taken then.
    """
    for name, first in wanted[0][0].segments.items():
        first.pool.check(sum(mine.segments[name].lacks(end) for mine, end in wanted))
    for mine, end in wanted:
        for each in mine.segments.values():
            each.fit(end)


def residents(artifact: Artifact, count: int) -> tuple[list[Resident], list[Region]]:
    """Places for ``count`` sequences: the build's own, then further ones after all its regions.

    The second list are records of passes, one more than sequences, on hardware that makes any.

    Raises
    ------
    InputError
        If a channel is too small for them.
    """
    if not 1 <= count <= MOST:
        raise InputError(f"a device holds 1 to {MOST} sequences, not {count}")
    arch = artifact.arch
    there = [[n for n in copies(name) if artifact.has_region(n)] for name in state_clients(arch)]
    states = tuple(tuple(map(artifact.region, names)) for names in there)
    kept = {c.name: artifact.region(c.name) for c in clients(arch, LAYER)}
    pools = {c.name: _pool(artifact, c.name) for c in clients(arch, SPREAD)}

    def segments() -> dict[str, Segments]:
        return {name: Segments(pool) for name, pool in pools.items()}

    own = Resident(states, kept, segments())
    free = {name: size for name, (size, _) in artifact.extents().items()}
    found = [own]
    for n in range(1, count):
        moved = tuple(tuple(_moved(region, n, free) for region in copies) for copies in own.states)
        others = {name: _moved(region, n, free) for name, region in kept.items()}
        found.append(Resident(moved, others, segments()))
    records = []
    for client in clients(arch, RECORD):
        first = artifact.region(client.name)
        records = [first, *(_moved(first, n + 1, free) for n in range(count))]
    for channel in artifact.target.channels:
        most = channel.capacity_mib << 20
        if most and free[channel.name] > most:
            raise InputError(
                f"the states of {count} sequences do not fit channel {channel.name} of "
                f"{channel.capacity_mib} MiB; ask for fewer"
            )
    return found, records


def _pool(artifact: Artifact, client: str) -> Pool:
    layers, runs, stride, words = _numbers(artifact, client, "layers", "runs", "stride", "words")
    regions = {name: artifact.region(name) for name in lanes_of(artifact.arch, client)}
    return Pool(artifact.arch, regions, layers * runs, stride, 1 + words)


def _numbers(artifact: Artifact, client: str, *names: str) -> list[int]:
    """Values of registers of a client."""
    found = {f"{client}_{name}": artifact.registers.get(f"{client}_{name}") for name in names}
    if missing := [name for name, value in found.items() if not isinstance(value, int)]:
        raise InputError(f"{artifact.path} has no register {missing[0]}; compile again")
    return [int(str(value)) for value in found.values()]


def _moved(region: Region, n: int, free: dict[str, int]) -> Region:
    """A region like another one, after what there is on its channel."""
    at = -(-free[region.channel] // STEP) * STEP
    free[region.channel] = at + region.bytes
    return replace(region, name=f"{region.name}#{n}", address=at, file=None)


def reach(regions: Sequence[Region], artifact: Artifact) -> dict[str, tuple[int, int]]:
    """Bytes of each channel up to the last of some regions more, and the alignment of its base."""
    found = artifact.extents()
    for region in regions:
        size, alignment = found[region.channel]
        found[region.channel] = max(size, region.address + region.bytes), alignment
    return found
