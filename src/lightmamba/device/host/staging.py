"""A pass on hardware: values of its registers, and the tokens that it leaves undecided."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lightmamba.arch.clients import RECORD
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.fields import encode
from lightmamba.arch.passes import SLOT, STEP, VECTOR, Share, slots, steps, vectors
from lightmamba.arch.place import Region
from lightmamba.arch.ports import of_token
from lightmamba.common.errors import InputError
from lightmamba.common.passes import Pass, Slot
from lightmamba.device.host.resident import Resident, fit
from lightmamba.hardware.machine.ports import clients
from lightmamba.hardware.machine.registers import registers

__all__ = ["Staged", "Staging"]


@dataclass(frozen=True)
class Staged:
    """Values of the registers of one pass.

    Parameters
    ----------
    tokens : tuple of int
        Ids, by vector.
    vectors, slots, steps : tuples of int
        Packed as ``arch/passes.py`` says.
    read, written : Region or None
        The record that is applied again, and the one that is made.
    shares : tuple of Share
        Of each slot.
    """

    tokens: tuple[int, ...]
    vectors: tuple[int, ...]
    slots: tuple[int, ...]
    steps: tuple[int, ...]
    read: Region | None
    written: Region | None
    shares: tuple[Share, ...]


class Staging:
    """Undecided tokens of the sequences on a device, and where they are recorded.

    Tokens that a pass leaves undecided lie in its record. One pass reads one record, so what it
    applies again must all be of one earlier pass. There is a record more than there are sequences,
    so one is always free.

    Where the state lies twice, a pass that leaves tokens undecided writes it as if all were right,
    and the other copy stays that before the pass. If they are, the next pass has nothing to apply
    again. If not, it goes on from the other copy, through the pass's certain tokens as well.

    Parameters
    ----------
    arch : ArchConfig
    sequences : sequence of Resident
    records : sequence of Region
        One more than there are sequences.
    """

    def __init__(
        self, arch: ArchConfig, sequences: Sequence[Resident], records: Sequence[Region]
    ) -> None:
        self.arch, self.sequences, self.records = arch, sequences, records
        self._there = {each.name for each in registers(arch.kinds) if each.counted(arch)}
        self._records = [client.name for client in clients(arch, RECORD)]
        self._written = dict[tuple[str, int], list[int]]()  # segments of slots that hardware knows

    def stage(self, work: Pass) -> Staged:
        """Check a pass and give the values of its registers; nothing changes.

        Raises
        ------
        InputError
            If it has too many tokens, accepts or leaves more than it can, accepts tokens of two
            passes, or begins a sequence without a certain token.
        """
        if work.tokens > self.arch.tokens:
            raise InputError(
                f"this pass has {work.tokens} tokens, but the hardware of this build takes "
                f"{self.arch.tokens} at most; submit the others in another pass"
            )
        shares = [self._share(slot) for slot in work.slots]
        again = {record for slot in work.slots if (record := self.needs(slot)) is not None}
        if len(again) > 1:
            raise InputError(
                "the sequences of a pass accept tokens of different passes, but the hardware reads "
                "the record of one; submit them one after the other"
            )
        undecided = any(len(slot.tokens) > slot.committed for slot in work.slots)
        return Staged(
            tuple(int(token) for slot in work.slots for token in slot.tokens),
            tuple(encode(VECTOR, each) for each in vectors(shares)),
            tuple(encode(SLOT, each) for each in slots(shares)),
            tuple(encode(STEP, each) for each in steps(shares)),
            again.pop() if again else None,
            self._free() if undecided else None,
            tuple(shares),
        )

    def needs(self, slot: Slot) -> Region | None:
        """The record of which a slot applies tokens again, if it does."""
        mine = self.sequences[slot.sequence]
        return mine.record if not slot.fresh and mine.redo(slot.replay) else None

    def done(self, work: Pass, staged: Staged, times: int) -> None:
        """Note that a pass has run; of a chain, ``times`` times, of one sequence, a token each."""
        first = 0
        for slot, share in zip(work.slots, staged.shares, strict=True):
            mine = self.sequences[slot.sequence]
            written = bool(share.stored) + self._other(mine, share) + times - 1
            mine.went(slot.replay + slot.committed + times - 1, written)
            if left := len(slot.tokens) - slot.committed:
                behind = slot.committed if share.ahead else 0
                mine.left(left, staged.written, first + slot.committed, behind)
            else:
                mine.left(0)
            first += len(slot.tokens)

    def write(
        self, staged: Staged, work: Pass, write: Callable[[str, int | list[int]], None],
        address: Callable[[Region], int], row: Callable[[int], int],
    ) -> None:  # fmt: skip
        """Write the registers of a pass.

        Parameters
        ----------
        staged, work
            From :meth:`stage`.
        write
            Writes a register, or the first of several.
        address, row
            Where a region lies; the row of an id in the embedding.
        """
        tokens = self.arch.tokens
        rows = [row(token) for token in _filled(staged.tokens, tokens)[1:]]
        mine = [self.sequences[slot.sequence] for slot in work.slots]
        values: dict[str, int | list[int]] = {
            "later_row": rows,
            "vector": _filled(staged.vectors, tokens),
            "slot": _filled(staged.slots, tokens),
            "last_step": len(staged.steps) - 1,
        }
        for name in mine[0].others:
            values[f"slot_{name}"] = [address(each.others[name]) for each in mine]
        seen = [
            0 if slot.fresh else each.position + slot.replay
            for each, slot in zip(mine, work.slots, strict=True)
        ]
        for name in mine[0].segments:
            values[f"slot_{name}_positions"] = seen
            values[f"slot_{name}_more"] = [len(slot.tokens) for slot in work.slots]
            self._segments(name, [each.segments[name].places for each in mine], write)
        for port in range(len(mine[0].states)):
            for way, later in (("slot_read", 0), ("slot_write", 1)):
                copies = [
                    each.copy(port, later + self._other(each, share))
                    for each, share in zip(mine, staged.shares, strict=True)
                ]
                values[of_token(way, port)] = [address(copy) for copy in copies]
        for name in self._records:
            made = int(staged.written is not None) << 1
            values[name] = int(staged.read is not None) | made
            for way, region in (("read", staged.read), ("write", staged.written)):
                if region is not None:
                    values[f"{name}_{way}"] = address(region)
        for name, value in values.items():
            if name in self._there:
                write(name, value)
        if "step_index" in self._there:
            write("step_index", 0)
            for step in staged.steps:
                write("step_data", step)

    def _segments(
        self, name: str, places: list[list[int]], write: Callable[[str, int | list[int]], None]
    ) -> None:
        """Write where the segments of each slot are, as far as they are others than before."""
        per_slot = 1 << (self.arch.segments - 1).bit_length()
        for slot, each in enumerate(places):
            if self._written.get((name, slot)) == each:
                continue
            self._written[name, slot] = each
            write(f"{name}_segment_index", slot * per_slot)
            for place in each:
                write(f"{name}_segment_data", place)

    def forget(self) -> None:
        """Expect nothing of earlier passes in the registers."""
        self._written.clear()

    def grow(self, work: Pass, chain: int = 0) -> None:
        """Take segments for what a pass adds to its sequences.

        Raises
        ------
        InputError
            If there are too few; nothing is taken then.
        """
        fit([(self.sequences[slot.sequence], self._end(slot, chain)) for slot in work.slots])

    def _end(self, slot: Slot, chain: int = 0) -> int:
        """Positions of a slot's sequence after a pass."""
        seen = 0 if slot.fresh else self.sequences[slot.sequence].position + slot.replay
        return seen + len(slot.tokens) + chain

    def check(self, slot: Slot, chain: int = 0) -> None:
        """Refuse a slot that the hardware cannot carry out, not even in several passes.

        ``chain`` tokens follow it.

        Raises
        ------
        InputError
            If a slot accepts or leaves more tokens than it can, begins a sequence without a certain
            token, or has more tokens than memory has room for.
        """
        mine = self.sequences[slot.sequence]
        left, most = len(slot.tokens) - slot.committed, self.arch.undecided
        if slot.fresh and not slot.committed:  # memory would keep what was there before
            raise InputError(
                f"sequence {slot.sequence} begins with this pass, so its first token must be "
                f"certain; commit it"
            )
        if slot.replay > mine.undecided:
            raise InputError(
                f"sequence {slot.sequence} cannot accept {slot.replay} tokens: its last pass left "
                f"{mine.undecided} undecided"
            )
        if left > most:
            raise InputError(
                f"the hardware of this build leaves at most {most} tokens of a sequence "
                f"undecided, not {left}"
            )
        end, more, context = self._end(slot, chain), len(slot.tokens) + chain, self.arch.context
        if mine.segments and end > context:
            raise InputError(
                f"sequence {slot.sequence} has {end - more:,} tokens and this pass adds {more:,}, "
                f"but the build has memory for {context:,}; compile with --context {end}"
            )

    def _share(self, slot: Slot) -> Share:
        self.check(slot)
        mine, left = self.sequences[slot.sequence], len(slot.tokens) - slot.committed
        redo = mine.redo(slot.replay) if self.records and not slot.fresh else 0
        position = mine.position + slot.replay - redo
        # If they are wrong, the next pass goes on from what this one reads: it must be in memory,
        # and all that comes after it in one record.
        ahead = mine.twice and not (redo or slot.fresh) and left > 0 < slot.committed
        return Share(
            tokens=len(slot.tokens),
            replay=slot.replay,
            commit=slot.committed,
            position=0 if slot.fresh else position,
            fresh=slot.fresh,
            recorded=mine.recorded + slot.replay - redo if redo else 0,
            redo=redo,
            ahead=ahead,
        )

    @staticmethod
    def _other(mine: Resident, share: Share) -> int:
        """1 if a pass reads the copy that is not due: what was written ahead was wrong."""
        return int(mine.behind > 0 and share.redone > 0)

    def _free(self) -> Region | None:
        """A record that no sequence needs, so neither one that this pass reads.

        None where nothing must be applied again, as what grows is simply written over.
        """
        taken = {each.record for each in self.sequences}
        return next((region for region in self.records if region not in taken), None)


def _filled(values: Sequence[int], count: int) -> list[int]:
    return [*values, *[0] * (count - len(values))]
