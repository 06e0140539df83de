"""The memory map: regions, and the register values that pass their addresses to the hardware."""

from collections import defaultdict
from dataclasses import dataclass

from lightmamba.arch.artifact import Region
from lightmamba.arch.config import GROUP, ArchConfig
from lightmamba.arch.ports import ADDRESS_BITS
from lightmamba.arch.registers import REGISTERS
from lightmamba.arch.target import Target
from lightmamba.compiler.layout import HEADER, WORD, beats
from lightmamba.config import Mamba2Config
from lightmamba.errors import InputError

__all__ = ["Memory", "image"]

PAGE = 4096  # regions begin at its multiples
EXPONENT_RUN = 32  # beats of state elements after each beat of their exponents


def image(name: str) -> str:
    """File of a region."""
    return f"images/{name}.bin"


@dataclass(frozen=True)
class Memory:
    """Sizes and places of the memory of one model on one machine."""

    config: Mamba2Config
    arch: ArchConfig
    target: Target

    @property
    def aux_beat(self) -> int:
        """Bytes of a beat of the port for everything small."""
        return self.arch.aux_port_bits // 8

    @property
    def state_beat(self) -> int:
        """Bytes of a beat of the state's ports."""
        return self.arch.state_port_bits // 8

    @property
    def layers_beats(self) -> int:
        """Beats of all layers in each lane."""
        c, a = self.config, self.arch
        per_layer = beats(a, c.d_in_proj, a.in_channels) + beats(a, c.d_model, a.out_channels)
        return c.n_layer * per_layer

    @property
    def head_beats(self) -> int:
        """Beats of the head in each lane."""
        return beats(self.arch, self.config.vocab_size, self.arch.in_channels)

    @property
    def stream_words(self) -> dict[str, int]:
        """64-bit words of each stream of parameters, per layer; of a row of the embedding."""
        c = self.config
        return {
            "conv_params": c.conv_dim + -(-c.conv_dim // HEADER),
            "head_params": c.nheads,
            "gate_params": -(-c.d_inner // 4),
            "embedding": self.arch.in_channels // GROUP * (1 + GROUP // WORD),
        }

    @property
    def embedding_stride(self) -> int:
        """Bytes from one row of the embedding to the next."""
        return _whole(self.stream_words["embedding"] * WORD, self.aux_beat)

    @property
    def state_words(self) -> int:
        """Words of S elements of a layer's state."""
        return self.config.d_inner * self.arch.row_words

    @property
    def state_beats(self) -> int:
        """Beats of a layer's state, those of the exponents included."""
        elements = -(-self.config.d_inner * self.arch.padded_state // self.state_beat)
        return elements + -(-elements // EXPONENT_RUN)

    @property
    def conv_words(self) -> int:
        """64-bit words of a layer's convolution state, two channels each."""
        return -(-self.config.conv_dim // 2)

    @property
    def conv_stride(self) -> int:
        """Bytes of a layer's convolution state."""
        return _whole(self.conv_words * WORD, self.aux_beat)

    @property
    def logits_words(self) -> int:
        """64-bit words of the logits, two each."""
        return -(-self.config.vocab_size // 2)

    def regions(self) -> tuple[Region, ...]:
        """Place everything: on each channel one after the other, from address 0."""
        c, a = self.config, self.arch
        lane = (self.layers_beats + self.head_beats) * (a.port_bits // 8)
        params = {
            name: _whole(c.n_layer * words * WORD, self.aux_beat)
            for name, words in self.stream_words.items()
            if name != "embedding"
        }
        wanted = [
            *((f"lane{n}", f"lane{n}", lane, True) for n in range(a.lanes)),
            ("state", "state_read", c.n_layer * self.state_beats * self.state_beat, False),
            *((name, "aux", size, True) for name, size in params.items()),
            ("embedding", "aux", c.vocab_size * self.embedding_stride, True),
            ("conv_state", "aux", c.n_layer * self.conv_stride, False),
            ("logits", "aux", _whole(self.logits_words * WORD, self.aux_beat), False),
        ]
        free: dict[str, int] = defaultdict(int)
        regions = []
        for name, port, size, kept in wanted:
            channel = self.target.channel_of("memory" if a.shared_port else port).name
            file = image(name) if kept else None
            regions.append(Region(name, channel, free[channel], size, file))
            free[channel] = _whole(free[channel] + size, PAGE)
        return tuple(regions)

    def registers(self, regions: tuple[Region, ...]) -> dict[str, int | list[int]]:
        """What the host writes before the first token.

        Raises
        ------
        InputError
            If a register cannot hold its value.
        """
        base = {region.name: region.address for region in regions}
        layers, words = self.config.n_layer, self.stream_words
        streams = {name: n * (1 if name == "embedding" else layers) for name, n in words.items()}
        found: dict[str, int | list[int]] = {
            "layers": layers,
            "lane_base": [base[f"lane{n}"] for n in range(self.arch.lanes)],
            "layers_beats": self.layers_beats,
            "head_beats": self.head_beats,
            **{f"{name}_base": base[name] for name in words},
            **{f"{name}_words": count for name, count in streams.items()},
            "embedding_stride": self.embedding_stride,
            "state_base": base["state"],
            "state_stride": self.state_beats * self.state_beat,
            "state_beats": self.state_beats,
            "state_words": self.state_words,
            "conv_base": base["conv_state"],
            "conv_stride": self.conv_stride,
            "conv_state_words": self.conv_words,
            "logits_base": base["logits"],
            "logits_words": self.logits_words,
        }
        for register in REGISTERS:
            bits = ADDRESS_BITS if register.wide else 32
            value = found.get(register.name, 0)
            if (most := max(value) if isinstance(value, list) else value) >> bits:
                raise InputError(
                    f"register {register.name} would hold {most}, but has {bits} bits; "
                    f"take a smaller model, or a target with more lanes than {self.arch.lanes}"
                )
        return found


def _whole(size: int, unit: int) -> int:
    return -(-size // unit) * unit
