"""Bytes, beats, products and steps of each unit in a pass: counted, not simulated."""

from dataclasses import dataclass

from lightmamba.arch.contract import WORD_BITS
from lightmamba.arch.ports import of_token
from lightmamba.estimate.older import MACHINE
from lightmamba.estimate.workload import Workload
from lightmamba.machine.ports import ports

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
        c, k, a, m = work.config, work.layer, work.arch, work.memory
        in_out = k.in_rows * a.in_channels + c.d_model * a.out_channels
        return Quantities(
            port_beats=beats,
            channel_bytes={n: (round(r), round(w)) for n, (r, w) in by_channel.items()},
            unit_cycles=_unit_cycles(work) | _port_cycles(beats, a.lanes),
            products={
                "projections": work.tokens * c.n_layer * in_out,
                "head": work.head * work.tokens * c.vocab_size * a.in_channels,
            },
            state_elements=work.steps * c.n_layer * m.state_words * a.state_elements,
        )


def _port_beats(work: Workload) -> dict[str, tuple[int, int]]:
    c, a, m, slots = work.config, work.arch, work.memory, len(work.slots)
    per_beat = a.aux_port_bits // WORD_BITS

    def whole(words: int) -> int:
        return -(-words // per_beat)

    lane = m.layers_beats + work.head * m.head_beats
    state = m.state_beats * c.n_layer
    loaded, stored = slots * state, work.stores * state
    conv, record = slots * c.n_layer * whole(m.conv_words), c.n_layer * whole(m.recorded_words)
    words = dict(m.stream_words)
    read = a.tokens * whole(words.pop("embedding")) + conv + work.replays * record
    read += sum(whole(c.n_layer * count) for count in words.values())
    logits = work.head * work.tokens * whole(m.logits_words)
    written = conv + logits + work.records * record
    if a.shared_port:
        return {"memory": (a.lanes * lane + loaded + read, stored + written)}
    lanes = {f"lane{n}": (lane, 0) for n in range(a.lanes)}
    states = {of_token("state_read", n): (loaded, 0) for n in range(a.state_ports)}
    states |= {of_token("state_write", n): (0, stored) for n in range(a.state_ports)}
    return lanes | states | {"aux": (read, written)}


def _port_cycles(beats: dict[str, tuple[int, int]], lanes: int) -> dict[str, int]:
    """Reads and writes of a port go side by side; a lane's port is as busy as the lanes."""
    own = {f"lane{n}" for n in range(lanes)}
    return {f"port {name}": max(both) for name, both in beats.items() if name not in own}


def _unit_cycles(work: Workload) -> dict[str, int]:
    c, k, a, f = work.config, work.layer, work.arch, work.formats
    pairs = -(-a.lanes // work.rows_per_cycle)

    def epilogue(rows: int, parts: int) -> int:
        return -(-rows // a.lanes) * parts * pairs

    sizes = work.sizes
    layer = {u.name: sizes[u.steps] for u in MACHINE.units if u.name not in UNCOUNTED}
    layer["lanes"] = work.in_beats + work.out_beats
    layer["epilogue"] = epilogue(k.in_rows, 1) + epilogue(c.d_model, k.out_groups)
    layer["hadamard"] += f.transform.size(sizes["group_dim"]) - 1
    layer["embed"] = layer["head"] = 0
    # Rows of x come in and leave one by one, however many a word of the state holds.
    layer["ssm"] = max(work.steps * layer["ssm"], k.out_dim)
    twice = a.head_twice * -(-c.vocab_size // a.lanes) * a.in_words
    once = {"residual": c.d_model, "embed": a.in_channels}
    if work.head:
        once |= {
            "lanes": work.head_beats(c.vocab_size) + twice,
            "epilogue": epilogue(c.vocab_size, 1),
            "quant_in": a.in_channels,
            "head": epilogue(c.vocab_size, 1),
        }
    return {name: c.n_layer * each + once.get(name, 0) for name, each in layer.items()}
