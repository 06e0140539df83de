"""Bytes, beats, products and steps of each unit in a pass: counted, not simulated."""

from collections import defaultdict
from dataclasses import dataclass

from lightmamba.blocks import kind
from lightmamba.blocks.layer import Sizes, out_channels
from lightmamba.hardware.estimate.memory import MemorySide
from lightmamba.hardware.estimate.units import Run, Walkers
from lightmamba.hardware.estimate.workload import Workload, carried_out
from lightmamba.hardware.machine.ports import ports
from lightmamba.native.events import When
from lightmamba.numerics.linear import Projection

__all__ = ["Quantities"]

UNCOUNTED = ("rms_in", "rms_out", "activations")  # a step or a few of each layer; read by the lanes


@dataclass(frozen=True)
class Quantities:
    """Counts of one pass.

    Parameters
    ----------
    port_beats : {port: (read, written)}
        Beats of each port.
    channel_bytes : {channel: (read, written)}
        Bytes of each channel.
    unit_cycles : {unit: cycles}
        Cycles in which a unit, or a port, has something to do: none does its part in fewer.
    products : {kind: count}
        Multiplications of weights and activations: "projections", and "head", whose activations
        have 8 bits.
    state_elements : int
        Elements of the state that are updated.
    """

    port_beats: dict[str, tuple[int, int]]
    channel_bytes: dict[str, tuple[int, int]]
    unit_cycles: dict[str, int]
    products: dict[str, int]
    state_elements: int

    @staticmethod
    def of(work: Workload) -> "Quantities":
        """Count them."""
        beats = _port_beats(work)
        moved = {
            port.name: (beats[port.name][0] * port.bits // 8, beats[port.name][1] * port.bits // 8)
            for port in ports(work.arch)
        }
        by_channel = work.target.per_channel(moved)
        c, a, m = work.config, work.arch, work.memory
        matrices = (m for layer in c.layers for m in layer.matrices(c.d_model, work.formats))
        weights = sum(matrix.read * matrix.columns for matrix in matrices)
        return Quantities(
            port_beats=beats,
            channel_bytes={n: (round(r), round(w)) for n, (r, w) in by_channel.items()},
            unit_cycles=_unit_cycles(work) | _port_cycles(beats, a.lanes),
            products={
                "projections": work.tokens * weights,
                "head": work.head * work.tokens * c.vocab_size * a.in_channels,
            },
            state_elements=work.steps * m.heads * m.head_words * a.state_elements,
        )


def _port_beats(work: Workload) -> dict[str, tuple[int, int]]:
    """Beats that each port reads and writes in a pass of all layers."""
    every = Run(work.config.n_layer, work.config.vocab_size, 1, tuple(range(work.arch.lanes)))
    side = MemorySide(Walkers(work, every))
    lists = side.lists(defaultdict(int), {})
    found = [[0, 0] for _ in side.ports]
    for reader in lists["readers"]:
        times = reader["each"] if reader["when"] == When.STATE else 1
        parts = sum(side.parts[reader.get("parts", 0) : reader.get("parts_end", 0)])
        last = work.head * reader.get("last", 0)
        found[reader["port"]][0] += times * reader["segment"] + parts + last
    for writer in lists["writers"]:
        times = writer["each"] + work.head * writer["once"]
        found[writer["port"]][1] += times * writer["command"]
    both = zip(side.ports, found, strict=True)
    return {port.name: (read, written) for port, (read, written) in both}


def _port_cycles(beats: dict[str, tuple[int, int]], lanes: int) -> dict[str, int]:
    """Reads and writes of a port go side by side; a lane's port is as busy as the lanes."""
    own = {f"lane{n}" for n in range(lanes)}
    return {f"port {name}": max(both) for name, both in beats.items() if name not in own}


def _unit_cycles(work: Workload) -> dict[str, int]:
    """Steps of each unit in a pass: of the spine as they are known, of kinds as the graph says."""
    c, a, m, f = work.config, work.arch, work.memory, work.formats
    width, out = work.rows_per_cycle, out_channels
    pairs = -(-a.lanes // width)

    def epilogue(rows: int, parts: int) -> int:
        return -(-rows // a.lanes) * parts * pairs

    head = epilogue(c.vocab_size, 1) if work.head else 0
    count, layers = c.n_layer, c.layers

    def again(rows: int, channels: int, op: Projection) -> int:
        """Cycles of the second half of activations."""
        return a.twice(op) * a.beats(op) * -(-rows // a.lanes) * channels // a.products

    def finished(layer: Sizes) -> int:
        """Cycles of rows of matrices that meet the residual stream, and of those of out_proj."""
        own = layer.matrices(c.d_model, f)[:-1]
        entering = sum(epilogue(each.rows // each.blocks, 1) * each.taken for each in own)
        return entering + epilogue(c.d_model, layer.out_groups)

    halves = sum(
        own.taken * again(own.rows // own.blocks, own.columns, k.projection(f, i, own.name))
        for i, k in enumerate(layers)
        for own in k.matrices(c.d_model, f)
    )
    head_lanes = m.head_beats + again(c.vocab_size, a.in_channels, f.head)
    known = {
        "embed": a.in_channels,
        "residual": c.d_model + count * -(-c.d_model // width),
        "quant_in": (count + work.head) * a.in_channels // width,
        "lanes": m.read_beats + halves + work.head * head_lanes,
        "epilogue": head + sum(map(finished, layers)),
        "hadamard": sum(
            k.taken * (out(k, f) + f.transform.size(k.out_dim // k.out_groups) - 1) for k in layers
        ),
        "quant_out": sum(k.taken * out(k, f) for k in layers),
        "head": head,
    }  # fmt: skip
    found = {unit.name: known.get(unit.name, 0) for unit in work.graph.units}
    for layer in layers:
        sizes = work.sizes(layer)
        special = kind(layer.kind).hardware.cycles(work, layer, sizes)
        for instruction, _ in carried_out(layer):
            for name in work.graph.own_units(layer.kind, instruction):
                found[name] += special.get(name, sizes[work.graph.unit(name).steps])
    return {name: count for name, count in found.items() if name not in UNCOUNTED}
