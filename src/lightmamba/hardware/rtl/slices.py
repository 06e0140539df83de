"""The tokens of a pass next to each other: copies of one unit that move in step."""

from collections.abc import Callable, Collection
from typing import Any

from amaranth.hdl import Cat, Module, Shape, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SINGLE", "Slices", "wide"]

SINGLE = ("busy", "filled")  # outputs that say how far a unit is, the same in every copy


def wide(shape: Any, tokens: int) -> Any:
    """Shape of a payload of T tokens, the first in the lowest bits."""
    return data.ArrayLayout(shape, tokens)


class Slices(wiring.Component):
    """``tokens`` copies of a unit that takes its time whatever the values are.

    All copies see the same valid and ready, so they are always in the same state: the first one
    answers for all. Latency and interval are the unit's. What is computed of a token that the pass
    does not have goes along.

    Parameters
    ----------
    make : function
        Makes a copy.
    tokens : int
        T, at least 1.
    shared : names
        Streams whose items are the same for every token, besides ``command``.

    Members
    -------
    Those of the unit, by its names. ``command``, shared streams, other inputs and :data:`SINGLE`
    are as the unit has them; payloads of all other streams are arrays of T; all other outputs are
    T members.
    """

    def __init__(self, make: Callable[[], Any], tokens: int, shared: Collection[str] = ()) -> None:
        self.tokens = tokens
        self.copies = [make() for _ in range(tokens)]
        unit = self.copies[0]
        self.latency, self.interval = getattr(unit, "latency", None), getattr(unit, "interval", 1)
        self.shared = {"command", *shared}
        members: dict[str, Any] = {}
        for name, member in unit.signature.members.items():
            if name in self.shared or name in SINGLE:
                members[name] = member
            elif _is_stream(member):
                shape = wide(member.signature.members["payload"].shape, tokens)
                members[name] = member.flow(stream.Signature(shape))
            elif member.flow is In:
                members[name] = member
            elif member.is_port:
                members[name] = Out(member.shape).array(tokens)
            else:
                members[name] = Out(member.signature).array(tokens)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for n, copy in enumerate(self.copies):
            m.submodules[f"token{n}"] = copy
        for name, member in self.copies[0].signature.members.items():
            mine, theirs = getattr(self, name), [getattr(copy, name) for copy in self.copies]
            if _is_stream(member):
                self._stream(m, mine, theirs, given=member.flow is In, shared=name in self.shared)
            elif member.flow is In:
                m.d.comb += [Value.cast(copy).eq(Value.cast(mine)) for copy in theirs]
            elif name in SINGLE:
                m.d.comb += mine.eq(theirs[0])
            else:
                m.d.comb += [
                    Value.cast(a).eq(Value.cast(b)) for a, b in zip(mine, theirs, strict=True)
                ]
        return m

    @staticmethod
    def _stream(m: Module, mine: Any, theirs: list[Any], *, given: bool, shared: bool) -> None:
        """Join one stream to the same stream of every copy."""
        payloads = [Value.cast(copy.payload) for copy in theirs]
        whole = Value.cast(mine.payload)
        if not given:
            m.d.comb += [
                mine.valid.eq(theirs[0].valid),
                whole.eq(payloads[0] if shared else Cat(payloads)),
                *(copy.ready.eq(mine.ready) for copy in theirs),
            ]
            return
        width = Shape.cast(payloads[0].shape()).width
        m.d.comb += mine.ready.eq(theirs[0].ready)
        for n, (copy, payload) in enumerate(zip(theirs, payloads, strict=True)):
            part = whole if shared else whole[n * width : (n + 1) * width]
            m.d.comb += [copy.valid.eq(mine.valid), payload.eq(part)]


def _is_stream(member: wiring.Member) -> bool:
    return member.is_signature and isinstance(member.signature, stream.Signature)
