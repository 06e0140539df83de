"""Sequences whose states lie in a device's memory side by side, and take turns."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from lightmamba.arch.artifact import Artifact
from lightmamba.arch.place import CONV_STATE, STATES, Region
from lightmamba.errors import InputError

__all__ = ["Resident", "reach", "residents"]

MOST = 4096  # sequences
STEP = 1 << 16  # states of further sequences begin at multiples of this


@dataclass
class Resident:
    """One sequence on a device.

    Parameters
    ----------
    states : tuple of Region
        Copies of the state: one, or two of which a token reads one and writes the other.
    conv : Region
        State of the convolution.

    Attributes
    ----------
    position
        Tokens seen.
    due
        The copy that the next token reads.
    key
        Another object for each sequence that begins here.
    """

    states: tuple[Region, ...]
    conv: Region
    position: int = 0
    due: int = 0
    key: object = field(default_factory=object)

    def begin(self) -> None:
        """A new sequence takes the place."""
        self.position, self.key = 0, object()

    def went(self, tokens: int) -> None:
        """So many tokens were run."""
        self.position += tokens
        self.due = (self.due + tokens) % len(self.states)

    @property
    def regions(self) -> dict[str, Region]:
        """What the next token reads, by the names that a build has for it."""
        return {STATES[0]: self.states[self.due], CONV_STATE: self.conv}

    @property
    def all(self) -> tuple[Region, ...]:
        """Everything that it has in memory."""
        return (*self.states, self.conv)


def residents(artifact: Artifact, count: int) -> list[Resident]:
    """Places for so many sequences: the build's own, then further ones behind all of its regions.

    Raises
    ------
    InputError
        If a channel is too small for them.
    """
    if not 1 <= count <= MOST:
        raise InputError(f"a device holds 1 to {MOST} sequences, not {count}")
    states = tuple(artifact.region(name) for name in STATES if artifact.has_region(name))
    own = Resident(states, artifact.region(CONV_STATE))
    free = {name: size for name, (size, _) in artifact.extents().items()}
    found = [own]
    for n in range(1, count):
        moved = [_moved(region, n, free) for region in own.all]
        found.append(Resident(tuple(moved[:-1]), moved[-1]))
    for channel in artifact.target.channels:
        most = channel.capacity_mib << 20
        if most and free[channel.name] > most:
            raise InputError(
                f"the states of {count} sequences do not fit channel {channel.name} of "
                f"{channel.capacity_mib} MiB; ask for fewer"
            )
    return found


def _moved(region: Region, n: int, free: dict[str, int]) -> Region:
    """A region like another one, behind what there is on its channel."""
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
