"""What a token costs in bytes, beats, products and steps of each unit: counted, not simulated."""

from dataclasses import dataclass

from lightmamba.arch.contract import WORD_BITS
from lightmamba.arch.machine import MACHINE
from lightmamba.arch.ports import ports
from lightmamba.estimate.workload import Workload

__all__ = ["Quantities"]

UNCOUNTED = ("rms_in", "rms_out", "activations")  # a step or a few of each layer; read by the lanes


@dataclass(frozen=True)
class Quantities:
    """Counts of one token with its head.

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
                "projections": c.n_layer * in_out,
                "head": c.vocab_size * a.in_channels,
            },
            state_elements=c.n_layer * m.state_words * a.state_elements,
        )


def _port_beats(work: Workload) -> dict[str, tuple[int, int]]:
    c, a, m = work.config, work.arch, work.memory
    per_beat = a.aux_port_bits // WORD_BITS

    def whole(words: int) -> int:
        return -(-words // per_beat)

    lane = m.layers_beats + m.head_beats
    state = c.n_layer * m.state_beats
    words = dict(m.stream_words)
    read = whole(words.pop("embedding")) + c.n_layer * whole(m.conv_words)
    read += sum(whole(c.n_layer * count) for count in words.values())
    written = c.n_layer * whole(m.conv_words) + whole(m.logits_words)
    if a.shared_port:
        return {"memory": (a.lanes * lane + state + read, state + written)}
    lanes = {f"lane{n}": (lane, 0) for n in range(a.lanes)}
    return lanes | {"state_read": (state, 0), "state_write": (0, state), "aux": (read, written)}


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
    twice = a.head_twice * -(-c.vocab_size // a.lanes) * a.in_words
    once = {
        "lanes": work.head_beats(c.vocab_size) + twice,
        "epilogue": epilogue(c.vocab_size, 1),
        "residual": c.d_model,
        "quant_in": a.in_channels,
        "embed": a.in_channels,
        "head": epilogue(c.vocab_size, 1),
    }
    return {name: c.n_layer * each + once.get(name, 0) for name, each in layer.items()}
