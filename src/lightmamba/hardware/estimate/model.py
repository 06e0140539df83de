"""Estimate a pass: run a few of its layers, which are alike, and count the others."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.amount import Amount
from lightmamba.arch.target import Channel, Target
from lightmamba.blocks import kind
from lightmamba.common.errors import InputError
from lightmamba.hardware.estimate.energy import energy
from lightmamba.hardware.estimate.fill import passes
from lightmamba.hardware.estimate.quantities import Quantities
from lightmamba.hardware.estimate.resources import resources, unmeasured
from lightmamba.hardware.estimate.result import Estimate
from lightmamba.hardware.estimate.units import Run
from lightmamba.hardware.estimate.workload import Workload, modes
from lightmamba.hardware.machine.counters import CYCLES
from lightmamba.model.config import ModelConfig
from lightmamba.numerics.model_formats import Formats

__all__ = ["estimate", "estimate_pass"]

Values = NDArray[np.float64]
BUDGET = 500_000  # cycles of a token that are run, about
# Most tokens of a chain that are run; at least two for each copy of the state. Each leaves state to
# the next, and where there are two copies, every other token reads the same one.
TOKENS = 8
FEWEST, MOST = 3, 64  # layers that are run: what is read ahead of a head is felt many layers later
HEAD_SHARE = 4  # the LM head gets this fraction of the budget, 1 / HEAD_SHARE
LANES = 3  # that are looked at, of those on channels of their own


def estimate(
    config: ModelConfig,
    formats: Formats,
    target: Target,
    order: str = "reordered",
    *,
    stalls: float = 0.0,
    context: int | None = None,
) -> Estimate:
    """Cycles, traffic and stalls of one token, without simulation.

    Machines of several tokens have other passes, too: the ``modes`` of what is returned.

    Parameters
    ----------
    config, formats, target, order
        As for the compiler.
    stalls
        Probability that a channel of memory does nothing in a cycle; its mean is looked at.
    context
        Positions of each sequence so far, where layers keep something of each; by default
        1,024.

    Raises
    ------
    InputError
        If the hardware of the target cannot run the model.
    """
    if not 0 <= stalls <= 0.9:
        raise InputError(f"stalls must be a probability in 0..0.9, not {stalls}; try 0.2")
    work = Workload.of(config, formats, target, order, context)
    area = resources(work.arch, target.resources)
    token = estimate_pass(work, stalls=stalls, area=area)
    others = {}
    for name in modes(work.arch):
        other = work.of_mode(name)  # where a pass is one token, some are passes of decoding
        if (other.slots, other.head) != (work.slots, work.head):
            others[name] = estimate_pass(other, stalls=stalls, area=area)
    prompt_cycles = -(-others["prefill"].cycles // others["prefill"].tokens)
    return replace(
        token, prompt_cycles=prompt_cycles, modes=others, area_unknown=unmeasured(work.arch)
    )


def estimate_pass(
    work: Workload, *, stalls: float = 0.0, area: Mapping[str, Amount] | None = None
) -> Estimate:
    """A pass of a steady run of such passes; ``area`` are the machine's resources, if known."""
    if area is None:
        area = resources(work.arch, work.target.resources)
    return _estimate(work, _values(work, stalls), area)


def _values(work: Workload, stalls: float) -> Values:
    """Cycles of a pass by what the lanes do."""
    counts = Quantities.of(work)
    bound = max(*_channel_cycles(work, counts).values(), *counts.unit_cycles.values())
    found = _passes(work, _runs(work, counts, bound, stalls))
    # The queues that are run may still be filling: no chain is faster than its bound for long.
    found[CYCLES.index("wait_activation")] += max(0.0, bound - found.sum())
    return found


def _channel_cycles(work: Workload, counts: Quantities) -> dict[str, float]:
    """Cycles that the bytes of each channel take at its attainable rate."""
    target = work.target
    channels = {channel.name: channel for channel in target.channels}
    return {
        name: sum(both) / channels[name].bytes_per_cycle(target.clock_mhz)
        for name, both in counts.channel_bytes.items()
    }


def _estimate(work: Workload, values: Values, area: Mapping[str, Amount]) -> Estimate:
    counts, target, whole = Quantities.of(work), work.target, integers(values)
    found = Estimate(
        clock_mhz=target.clock_mhz,
        cycles=int(whole.sum()),
        prompt_cycles=0,
        stalls=dict(zip(CYCLES, whole.tolist(), strict=True)),
        channel_bytes={name: sum(both) for name, both in counts.channel_bytes.items()},
        channel_cycles=_channel_cycles(work, counts),
        unit_cycles=counts.unit_cycles,
        nominal_bytes_per_cycle={
            channel.name: channel.gb_per_s * 1e3 / target.clock_mhz for channel in target.channels
        },
        resources=area,
        tokens=work.tokens,
        context=work.positions,
    )
    return replace(found, energy=energy(found, target))


def _runs(work: Workload, counts: Quantities, bound: float, stalls: float) -> Run:
    """Layers, rows of the head and passes that are run: as many as the budget allows."""
    c, lanes = work.config, counts.unit_cycles["lanes"]
    slower = bound / lanes  # than lanes that never wait
    layer = slower * work.memory.read_beats / c.n_layer
    head = slower * (lanes - work.memory.read_beats)
    layers = _layers(work, int(BUDGET / layer))
    share = min(1.0, BUDGET / HEAD_SHARE / head) if work.head else 1.0
    step = 2 * work.arch.lanes
    vocab = c.vocab_size if share == 1 else max(1, int(share * c.vocab_size / step)) * step
    copies, most = len(work.memory.states), int(BUDGET / (layers * layer + share * head))
    count = max(2 * copies, min(TOKENS, copies * most)) if work.chained else 2 * copies
    return Run(layers, vocab, count, _looked_at(work), stalls)


def _layers(work: Workload, budget: int) -> int:
    """Layers that are run: of two periods and one more or all, and then as the last ones come."""
    period, whole = work.period, work.config.n_layer
    fewest = max(FEWEST, 2 * period + 1)
    least = max(fewest, min(MOST, budget))
    return min(whole, least + (whole - least) % period)


def _looked_at(work: Workload) -> tuple[int, ...]:
    """Lanes that represent all: those that share a channel with others, and some of the others."""
    if work.arch.shared_port:
        return tuple(range(work.arch.lanes))
    alike: dict[tuple[Channel, int], list[tuple[int, ...]]] = {}
    found: list[int] = []
    for channel in work.target.channels:
        lanes = tuple(n for n in range(work.arch.lanes) if f"lane{n}" in channel.ports)
        if len(lanes) < len(channel.ports):
            found += lanes
        else:
            same = replace(channel, name="", ports=(), source="-")
            alike.setdefault((same, len(lanes)), []).append(lanes)
    for (channel, _), groups in alike.items():
        # Refreshes come at other times on other channels.
        some = min(len(groups), LANES if channel.refresh_ns else 1)
        for n in range(some):
            found += groups[n * len(groups) // some]
    return tuple(sorted(found))


def _passes(work: Workload, sample: Run) -> Values:
    """Stalls of a pass, as long as the whole model's."""
    log = passes(work, sample)
    if log is None:
        raise InputError(
            f"this machine would hang: a queue of target {work.target.name} is too short for the "
            f"model; try {_longer(work)}"
        )
    layers, seen = sample.layers, log[:, :, 1:].astype(np.float64)
    # Behind others, and in a chain before one: one token for each copy that they read.
    copies = len(work.memory.states)
    end = max(1, sample.passes - 2) + 1 if work.chained else sample.passes
    token = seen[end - copies : end].mean(axis=0)

    missing = np.zeros(len(CYCLES))
    if layers < work.config.n_layer:
        # The first layers begin with what was read ahead, the last one reads nothing ahead.
        end = layers - 1
        begin = end - (end - layers // 2) // work.period * work.period
        first, behind = (2 * work.first_job(n) for n in (begin, end))  # a job has two places
        layer = (token[behind] - token[first]) / (end - begin)
        missing = (work.config.n_layer - layers) * layer
    whole: Values = token[-1] - token[0] + missing
    if work.head and sample.vocab < work.config.vocab_size:
        slots = sample.vocab // work.arch.lanes
        rest = -(-work.config.vocab_size // work.arch.lanes) - slots
        head = 2 * work.first_job(layers)
        whole += rest / (slots - slots // 2) * (token[head + 2] - token[head + 1])
    return whole


def _longer(work: Workload) -> str:
    """Depths of queues with which a machine would not hang, as kinds know them."""
    some = (kind(layer.kind).hardware.depths(layer) for layer in work.config.layers)
    wanted = {f"{name} = {depth}" for depths in some for name, depth in depths.items()}
    return " and ".join(sorted(wanted)) or "longer ones"


def integers(values: Values) -> NDArray[np.int64]:
    """Round to integers that add up to the rounded total."""
    edges = np.rint(np.concatenate([[0.0], np.cumsum(values)])).astype(np.int64)
    found: NDArray[np.int64] = np.diff(edges)
    return found
