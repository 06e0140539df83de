"""Drive and watch Amaranth streams; every RTL test uses these and nothing else.

``drive`` pushes values through any number of input streams and collects any number of output
streams, each with its own random stalls, and watches the stream rules on all of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from amaranth.hdl import ClockDomain, Module, Value
from amaranth.lib import data
from amaranth.sim import Simulator

__all__ = ["Run", "drive"]


@dataclass
class Run:
    """Outputs by port: values, and the cycle of every transfer on every stream."""

    out: dict[str, list[Any]] = field(default_factory=dict)
    cycles: dict[str, list[int]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)  # sums of plain signals over all cycles
    total: int = 0  # cycles simulated


def _plain(view: Any) -> Any:
    """Sampled payload as integers, lists and dictionaries."""
    if isinstance(view, data.Const):
        shape = view.shape()
        if isinstance(shape, data.StructLayout):
            return {name: _plain(view[name]) for name, _ in shape}
        return [_plain(view[n]) for n in range(shape.length)]
    return int(view)


def drive(
    dut: Any,
    inputs: Mapping[str, Sequence[Any]],
    outputs: Mapping[str, int],
    *,
    stalls: float = 0.0,
    slow: Mapping[str, float] | None = None,
    seed: int = 0,
    counts: Iterable[str] = (),
    probes: Iterable[str] = (),
    hold: Mapping[str, int] | None = None,
    limit: int | None = None,
    settle: int = 0,
    beside: Iterable[Any] = (),
) -> Run:
    """Simulate ``dut`` until every output has given what is asked of it.

    Parameters
    ----------
    dut
        Component, simulated alone.
    inputs : {port: values}
        What each input stream is fed: integers, lists for arrays, dictionaries for structs.
    outputs : {port: count}
        How many transfers to take from each output stream.
    stalls : float
        Chance of an idle cycle before each transfer, on every port.
    slow : {port: chance}
        Ports that stall with another chance; one slow output fills everything before it.
    seed : int
        Of the stalls.
    counts : names of plain outputs
        Their values are summed over all cycles (loss counters, pulses).
    probes : names of struct outputs
        What they hold in every cycle in which their member ``valid`` is 1 is kept, as an output.
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
        If a stream withdraws or changes an offered payload, gives more than was asked, or if the
        run is stuck; the message tells how far each port came.
    """
    run = Run(
        {p: [] for p in [*outputs, *probes]},
        {p: [] for p in [*inputs, *outputs]},
        dict.fromkeys(counts, 0),
    )
    total = sum(map(len, inputs.values())) + sum(outputs.values())
    chance = dict.fromkeys([*inputs, *outputs], stalls) | dict(slow or {})
    limit = limit or 500 + int(total * 8 / (1 - max(chance.values(), default=0.0)) ** 2)

    def port(name: str) -> Any:
        found = dut
        for part in name.replace("]", "").replace("[", ".").split("."):
            found = found[int(part)] if part.isdigit() else getattr(found, part)
        return found

    def source(name: str, values: Sequence[Any]) -> Any:
        rng = np.random.default_rng([seed, *name.encode()])

        async def process(ctx: Any) -> None:
            target = port(name)
            for value in values:
                while rng.random() < chance[name]:
                    await ctx.tick()
                ctx.set(target.payload, value)
                ctx.set(target.valid, 1)
                await ctx.tick().until(target.ready)
                ctx.set(target.valid, 0)

        return process

    def sink(name: str, count: int) -> Any:
        rng = np.random.default_rng([seed + 1, *name.encode()])

        async def process(ctx: Any) -> None:
            target = port(name)
            for _ in range(count):
                while rng.random() < chance[name]:
                    await ctx.tick()
                ctx.set(target.ready, 1)
                (payload,) = await ctx.tick().sample(target.payload).until(target.valid)
                ctx.set(target.ready, 0)
                run.out[name].append(_plain(payload))

        return process

    def progress() -> str:
        parts = [f"{p} {len(run.cycles[p])}/{len(v)}" for p, v in inputs.items()]
        parts += [f"{p} {len(run.cycles[p])}/{n}" for p, n in outputs.items()]
        return ", ".join(parts)

    async def monitor(ctx: Any) -> None:
        names = [*inputs, *outputs]
        streams = [port(name) for name in names]
        plain = [port(name) for name in [*counts, *probes]]
        offered: dict[str, int | None] = dict.fromkeys(names)
        signals = [
            s for stream in streams
            for s in (stream.valid, stream.ready, Value.cast(stream.payload))
        ]  # fmt: skip
        waited = 0
        while True:
            _, _, *values = await ctx.tick().sample(*signals, *plain)
            for n, name in enumerate(names):
                valid, ready, payload = values[3 * n : 3 * n + 3]
                before = offered[name]
                assert before is None or (valid and payload == before), f"{name}: payload withdrawn"
                offered[name] = payload if valid and not ready else None
                if valid and ready:
                    run.cycles[name].append(run.total)
            watched = values[3 * len(names) :]
            for name, value in zip(counts, watched, strict=False):
                run.counts[name] += int(value)
            for name, value in zip(probes, watched[len(run.counts) :], strict=True):
                shown = _plain(value)
                if shown.pop("valid"):
                    run.out[name].append(shown)
            run.total += 1
            done = all(len(run.cycles[p]) == len(v) for p, v in inputs.items()) and all(
                len(run.cycles[p]) >= n for p, n in outputs.items()
            )
            if done:
                for name in outputs:
                    stream = port(name)
                    assert not (waited and ctx.get(stream.valid)), f"{name}: more than was asked"
                waited += 1
                if waited > settle:
                    return
            assert run.total < limit, f"stuck after {run.total} cycles: {progress()}"

    whole = Module()  # which has a clock, even if the unit is combinational
    whole.domains.sync = ClockDomain()
    whole.submodules.dut = dut
    simulator = Simulator(whole)
    simulator.add_clock(1e-6)
    for name, value in (hold or {}).items():

        async def set_once(ctx: Any, name: str = name, value: int = value) -> None:
            ctx.set(port(name), value)

        simulator.add_testbench(set_once)
    for name, values in inputs.items():
        simulator.add_testbench(source(name, values))
    for name, count in outputs.items():
        simulator.add_testbench(sink(name, count))
    for process in beside:
        simulator.add_testbench(process, background=True)
    simulator.add_testbench(monitor)
    simulator.run()
    return run
