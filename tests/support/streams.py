"""Drive and watch Amaranth streams; every RTL test uses these and nothing else.

:class:`Bench` compiles a unit for Amaranth's simulator once. Each :meth:`Bench.drive` begins with a
reset, pushes values through any number of input streams, collects any number of output streams,
each with its own random stalls, and checks the stream rules on all of them. :func:`drive` is for a
unit that is simulated once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from amaranth.hdl import ClockDomain, Module, Shape, Value
from amaranth.lib import data
from amaranth.sim import Simulator

__all__ = ["Bench", "Run", "drive", "handed"]


@dataclass
class Run:
    """Outputs by port: values, and the cycle of every transfer on every stream."""

    out: dict[str, list[Any]] = field(default_factory=dict)
    cycles: dict[str, list[int]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)  # sums of plain signals over all cycles
    total: int = 0  # cycles simulated


def _reader(shape: Any) -> Callable[[int], Any]:
    """Function from the bits of a shape to integers, lists and dictionaries."""
    if isinstance(shape, data.Layout):
        parts = [(name, f.offset, (1 << f.width) - 1, _reader(f.shape)) for name, f in shape]
        if isinstance(shape, data.StructLayout):
            return lambda bits: {name: read(bits >> at & mask) for name, at, mask, read in parts}
        return lambda bits: [read(bits >> at & mask) for _, at, mask, read in parts]
    plain = Shape.cast(shape)
    sign = 1 << plain.width - 1 if plain.signed else 0
    whole = (1 << plain.width) - 1
    return lambda bits: ((bits & whole) ^ sign) - sign


class _Port:
    """One stream of a run: when it may move, and how far it came."""

    def __init__(self, name: str, stream: Any, total: int, seed: int, chance: float, late: int):
        self.name, self.stream, self.total = name, stream, total
        self.chance, self.late = chance, late
        self.rng = np.random.default_rng([seed, *name.encode()])
        self.cycles: list[int] = []  # of its transfers
        self.open = False  # offers a payload, or takes one

    def opens(self, cycle: int) -> bool:
        """Whether it may move from this cycle on."""
        if cycle >= self.late and len(self.cycles) < self.total:
            self.open = bool(self.rng.random() >= self.chance)
        return self.open

    def moved(self, cycle: int) -> None:
        """Note a transfer."""
        self.cycles.append(cycle)
        self.open = False


def _came(ports: Iterable[_Port]) -> str:
    """How far each of some streams came."""
    return ", ".join(f"{port.name} {len(port.cycles)}/{port.total}" for port in ports)


class _Source(_Port):
    """Input stream that is fed some values."""

    def __init__(self, name: str, stream: Any, values: Sequence[Any], *options: Any) -> None:
        super().__init__(name, stream, len(values), *options)
        self.values, self.signals = values, [stream.ready]

    def set(self, ctx: Any, cycle: int) -> None:
        """Offer the next value if it is time to."""
        if not self.open:
            if self.opens(cycle):
                ctx.set(self.stream.payload, self.values[len(self.cycles)])
            ctx.set(self.stream.valid, self.open)

    def see(self, cycle: int, ready: int) -> None:
        """Note what happened in a cycle."""
        if self.open and ready:
            self.moved(cycle)


class _Sink(_Port):
    """Output stream from which some values are taken."""

    def __init__(self, name: str, stream: Any, total: int, out: list[Any], *options: Any) -> None:
        super().__init__(name, stream, total, *options)
        self.signals = [stream.valid, Value.cast(stream.payload)]
        self.out, self.read = out, _reader(stream.payload.shape())
        self.offered: int | None = None  # payload that waits

    def set(self, ctx: Any, cycle: int) -> None:
        """Take the next value if it is time to."""
        if not self.open:
            ctx.set(self.stream.ready, self.opens(cycle))

    def see(self, cycle: int, valid: int, payload: int) -> None:
        """Note what happened in a cycle."""
        before, self.offered = self.offered, payload if valid and not self.open else None
        assert before is None or (valid and payload == before), f"{self.name}: payload withdrawn"
        if self.open and valid:
            self.out.append(self.read(payload))
            self.moved(cycle)


class _Sum:
    """Plain signal whose values are summed."""

    def __init__(self, name: str, signal: Any, sums: dict[str, int]) -> None:
        self.name, self.signals, self.sums = name, [signal], sums

    def see(self, cycle: int, value: int) -> None:
        """Add the value of a cycle."""
        self.sums[self.name] += value


class _Probe:
    """Struct that counts in cycles in which its member ``valid`` is 1."""

    def __init__(self, view: Any, out: list[Any]) -> None:
        self.signals, self.read, self.out = [Value.cast(view)], _reader(view.shape()), out

    def see(self, cycle: int, bits: int) -> None:
        """Note the value of a cycle."""
        values = self.read(bits)
        if values.pop("valid"):
            self.out.append(values)


class Bench:
    """A unit, compiled once for any number of runs.

    Parameters
    ----------
    dut
        Component, simulated alone.
    """

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self._simulator: Simulator | None = None
        self._processes: list[Any] = []  # of this run; the first one ends it
        self._places = 0  # for processes in the simulator

    def drive(
        self,
        inputs: Mapping[str, Sequence[Any]],
        outputs: Mapping[str, int],
        *,
        stalls: float = 0.0,
        slow: Mapping[str, float] | None = None,
        late: Mapping[str, int] | None = None,
        seed: int = 0,
        counts: Iterable[str] = (),
        probes: Iterable[str] = (),
        hold: Mapping[str, int] | None = None,
        limit: int | None = None,
        settle: int = 0,
        beside: Iterable[Any] = (),
    ) -> Run:
        """Simulate from reset until every output has given what is asked of it.

        Parameters
        ----------
        inputs : {port: values}
            What each input stream is fed: integers, lists for arrays, dictionaries for structs.
        outputs : {port: count}
            How many transfers to take from each output stream.
        stalls : float
            Chance of an idle cycle before each transfer, on every port.
        slow : {port: chance}
            Ports that stall with another chance; one slow output fills everything before it.
        late : {port: cycle}
            Ports that do not move before a cycle.
        seed : int
            Of the stalls.
        counts : names of plain outputs
            Their values are summed over all cycles (loss counters, pulses).
        probes : names of struct outputs
            What they hold in every cycle in which their member ``valid`` is 1 is kept, as an
            output.
        hold : {port: value}
            Plain inputs, held from the start.
        limit : int
            Cycles after which the run counts as stuck.
        settle : int
            Further cycles after the last transfer, in which nothing more may come out.
        beside : testbenches
            Processes that run along, a memory for example; the run does not wait for them.

        Raises
        ------
        AssertionError
            If a stream withdraws or changes an offered payload, gives more than was asked, or if
            the run is stuck; the message tells how far each port came.
        """
        run = Run({name: [] for name in [*outputs, *probes]}, {}, dict.fromkeys(counts, 0))
        total = sum(map(len, inputs.values())) + sum(outputs.values())
        chance = dict.fromkeys([*inputs, *outputs], stalls) | dict(slow or {})
        begins = dict.fromkeys(chance, 0) | dict(late or {})
        limit = limit or 500 + max(begins.values(), default=0) + int(
            total * 8 / (1 - max(chance.values(), default=0.0)) ** 2
        )
        sources = [
            _Source(name, self.port(name), values, seed, chance[name], begins[name])
            for name, values in inputs.items()
        ]
        sinks = [
            _Sink(name, self.port(name), n, run.out[name], seed + 1, chance[name], begins[name])
            for name, n in outputs.items()
        ]
        ports: list[_Source | _Sink] = [*sources, *sinks]
        run.cycles = {port.name: port.cycles for port in ports}
        watched: list[_Source | _Sink | _Sum | _Probe] = [
            *ports,
            *(_Sum(name, self.port(name), run.counts) for name in run.counts),
            *(_Probe(self.port(name), run.out[name]) for name in probes),
        ]

        async def process(ctx: Any) -> None:
            for name, value in (hold or {}).items():
                ctx.set(self.port(name), value)
            for port in ports:
                port.set(ctx, 0)
            signals, waited = chain.from_iterable(each.signals for each in watched), 0
            async for _, _, *sampled in ctx.tick().sample(*signals):
                values = iter(sampled)
                for each in watched:
                    each.see(run.total, *(next(values) for _ in each.signals))
                run.total += 1
                if waited or all(len(port.cycles) == port.total for port in ports):
                    more = [port.name for port in sinks if waited and port.offered is not None]
                    assert not more, f"{', '.join(more)}: more than was asked"
                    waited += 1
                    if waited > settle:
                        return
                assert run.total < limit, f"stuck after {run.total} cycles: {_came(ports)}"
                for port in ports:
                    port.set(ctx, run.total)

        self._run([process, *beside])
        return run

    def port(self, name: str) -> Any:
        """Member of the unit: ``a.b[2]`` for one of an array in an interface."""
        found = self.dut
        for part in name.replace("]", "").replace("[", ".").split("."):
            found = found[int(part)] if part.isdigit() else getattr(found, part)
        return found

    def _run(self, processes: list[Any]) -> None:
        """Run the simulator with some processes until the first of them ends.

        After one that failed, the unit is compiled again: the simulator keeps what it began.
        """
        simulator, self._simulator, self._processes = self._simulator, None, processes
        if simulator is None:
            whole = Module()  # which has a clock, even if the unit is combinational
            whole.domains.sync = ClockDomain()
            whole.submodules.dut = self.dut
            simulator, self._places = Simulator(whole), 0
            simulator.add_clock(1e-6)
        else:
            simulator.reset()
        for n in range(self._places, len(processes)):
            self._add(simulator, n)
        self._places = max(self._places, len(processes))
        simulator.run()
        self._simulator = simulator

    def _add(self, simulator: Simulator, n: int) -> None:
        """Make room in the simulator for one more process."""

        async def first(ctx: Any) -> None:
            """Set inputs together with the registers, which settles once for each cycle."""
            with ctx.critical():
                await self._processes[0](ctx)

        async def other(ctx: Any) -> None:
            if n < len(self._processes):
                await self._processes[n](ctx)

        if n == 0:
            simulator.add_process(first)
        else:
            simulator.add_testbench(other, background=True)


def drive(
    dut: Any, inputs: Mapping[str, Sequence[Any]], outputs: Mapping[str, int], **options: Any
) -> Run:
    """Simulate a unit once; :meth:`Bench.drive` has the options."""
    return Bench(dut).drive(inputs, outputs, **options)


def handed(rows: Iterable[Any], lanes: int, unused: int) -> list[dict[str, int]]:
    """Rows in the pairs in which an epilogue of ``lanes`` lanes gives them; an odd slot ends alone.

    A row without a second one comes with ``unused``, which must not count.
    """
    found, left = [], [int(row) for row in rows]
    while left:
        slot, left = left[:lanes], left[lanes:]
        for first, *rest in (slot[n : n + 2] for n in range(0, len(slot), 2)):
            found.append({"first": first, "second": [*rest, unused][0], "both": len(rest)})
    return found
