"""Build parameters of an accelerator: widths, depths and capacities, validated once."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lightmamba.arch.check import check
from lightmamba.arch.contract import (
    BLOCK,
    GROUP,
    RECORD_BITS,
    SCALE_PERIOD,
    TAPS,
    WORD_BITS,
    exponents,
)
from lightmamba.common.plain import build
from lightmamba.numerics.blocks import BlockQuant
from lightmamba.numerics.formats import NIBBLES
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.ssm import SsmStep

__all__ = ["ArchConfig", "build_hash"]

# Parameters that mean something to attention layers only.
ATTENTION = (
    "attention_channels", "attention_rows", "row_fifo", "segment", "kv_heads", "per_group",
    "head_dim", "dsp48e2",
)  # fmt: skip
WIDE = ("wide_weight_bits", "wide_act_bits")  # and those only where projections differ
MOST_POSITIONS = 4  # of a word of keys and values


@dataclass(frozen=True)
class ArchConfig:
    """Every build parameter of the hardware.

    The first part is the target's choice, the second what the shape of the model needs; any model
    that needs no more runs on the same hardware.

    Raises
    ------
    ValueError
        One sentence that names the parameter, its value and what would be right.
    """

    lanes: int = 4
    port_bits: int = 128  # read port of a lane: 32 to 512
    multiplier_bits: int = 4  # activation width of the multipliers, 4 or 8
    state_elements: int = 64  # S: state elements per cycle, 4 to 512
    state_port_bits: int = 256
    aux_port_bits: int = 128  # parameters, embedding, conv state, logits
    shared_port: bool = False  # one memory port for everything, as wide as a lane's
    burst_beats: int = 16  # beats of a whole burst, at most 4 KiB
    weight_fifo: int = 256  # beats per lane
    state_fifo: int = 64  # words of S elements that wait, each way
    aux_fifo: int = 128  # words of 64 bits per consumer
    x_queue: int = 256  # rows of x before the SSM
    z_queue: int = 512  # rows of z before the gate
    tokens: int = 1  # T: vectors that meet each weight in a pass, 1, 2, 4 or 8
    state_ports: int = 1  # each way, next to each other: 1, 2 or 4
    packed: bool = False  # one DSP multiplies the weights of two lanes with two tokens
    counters: bool = True  # of losses, traffic, and what each cycle went to
    attention_channels: int = 32  # W: of keys and of values, per cycle, 32 to 256
    attention_rows: int = 4  # R: queries that they meet, per cycle
    row_fifo: int = 64  # beats per lane of what grows with its sequences
    segment: int = 4096  # positions by which its memory grows
    dsp48e2: bool = False  # its multipliers are DSP48E2 of UltraScale+, which adds as well
    weight_bits: int = 4
    act_bits: int = 4
    head_act_bits: int = 8
    head_qmax: int = NIBBLES
    wide_weight_bits: int = 4  # of the projection that has the most
    wide_act_bits: int = 4

    kinds: tuple[str, ...] = ("mamba2",)  # of layers
    in_channels: int = 256  # d_model, padded to whole groups
    out_channels: int = 512  # d_inner, every norm group padded to whole groups
    heads: int = 8
    groups: int = 1
    padded_state: int = 128  # d_state, padded to whole blocks
    head_rows: int = 64  # headdim, where whole heads wait (`whole_heads`)
    program: int = 16  # instructions
    context: int = 0  # positions of what grows with a sequence; 0 where nothing does
    kv_heads: int = 1  # heads of keys and values
    per_group: int = 1  # queries for each of them
    head_dim: int = 32  # channels of a head of attention
    added_channels: int = 0  # inputs of out_proj whose sums are added before they are rounded

    def __post_init__(self) -> None:
        check(self)

    @property
    def attention_positions(self) -> int:
        """M: positions of which W/M channels each meet in a cycle, as many as W holds heads.

        At most four: the sums of a page are added while the next one comes, in 32/M cycles.
        """
        channels = 1 << (max(BLOCK, self.head_dim) - 1).bit_length()
        return min(MOST_POSITIONS, max(1, self.attention_channels // channels))

    @property
    def position_channels(self) -> int:
        """Channels of a key, or of a value, that meet queries in a cycle."""
        return self.attention_channels // self.attention_positions

    @property
    def products(self) -> int:
        """Weights per beat; a lane has as many multipliers for each of its tokens."""
        return self.port_bits // self.weight_bits

    @property
    def row_lanes(self) -> int:
        """Lanes whose channels hold what grows with its sequences: the most, of a power of two."""
        return 1 << (self.lanes.bit_length() - 1)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of it: a beat of each of these lanes."""
        return self.row_lanes * self.port_bits // 8

    @property
    def segments(self) -> int:
        """Segments of a sequence that is as long as it may be."""
        return max(1, -(-self.context // self.segment))

    @property
    def head_twice(self) -> bool:
        """Whether the head's 8-bit activations need two passes of the multipliers."""
        return self.head_act_bits > self.multiplier_bits

    @property
    def split(self) -> bool:
        """Whether weights of some projections are two beats, of upper and of lower halves."""
        return self.wide_weight_bits > self.weight_bits

    @property
    def out_bits(self) -> int:
        """Bits of an input of out_proj, at most."""
        return max(self.act_bits, self.wide_act_bits)

    @property
    def wide(self) -> bool:
        """Whether matrices differ in their widths, of which a router's are always wide."""
        return self.split or self.out_bits > self.act_bits or self.added_channels > 0

    @property
    def halves(self) -> int:
        """Factors of a product that come in two halves, at most."""
        return self.split + self.head_twice

    def beats(self, op: Projection) -> int:
        """Beats of a word of weights of a projection."""
        return op.bits // self.weight_bits

    def twice(self, op: Projection) -> bool:
        """Whether each beat of it meets the upper and then the lower half of its activations."""
        return op.act.bits > self.multiplier_bits

    @property
    def scale_period(self) -> int:
        """Words of weights after each scale beat."""
        return SCALE_PERIOD[self.weight_bits]

    @property
    def codes(self) -> int:
        """Activation scales per beat."""
        return max(1, self.products // BLOCK)

    @property
    def in_words(self) -> int:
        """Beats of a row of in_proj or the head."""
        return self.in_channels // self.products

    @property
    def out_words(self) -> int:
        """Beats of a row of out_proj."""
        return self.out_channels // self.products

    @property
    def row_words(self) -> int:
        """Words of S elements of a row of the state, where a row fills one or more."""
        return max(1, self.padded_state // self.state_elements)

    @property
    def word_rows(self) -> int:
        """Rows of the state in a word of S elements, where it holds one or more."""
        return max(1, self.state_elements // self.padded_state)

    @property
    def bc_elements(self) -> int:
        """Elements of a word of B, and of C: all rows of a word of the state share it."""
        return min(self.state_elements, self.padded_state)

    @property
    def bc_blocks(self) -> int:
        """Exponents of a word of B, and of C: its blocks, or that of which it is a part."""
        return exponents(self.bc_elements)

    @property
    def block_words(self) -> int:
        """Words of S elements of a block of the state, where a block fills one or more."""
        return max(1, BLOCK // self.state_elements)

    @property
    def block_elements(self) -> int:
        """Elements of a block in a word."""
        return min(BLOCK, self.state_elements)

    @property
    def bc_words(self) -> int:
        """Words of B, and of C."""
        return self.groups * self.row_words

    @property
    def port_elements(self) -> int:
        """Elements of a word of the state that go through each of its ports."""
        return self.state_elements // self.state_ports

    @property
    def window(self) -> int:
        """Bytes of a channel of the convolution's state: last inputs, those undecided behind."""
        return TAPS if self.tokens <= 2 else 2 * TAPS

    @property
    def undecided(self) -> int:
        """Tokens of a sequence that a pass may leave undecided, at most."""
        return min(self.tokens - 1, self.window - (TAPS - 1))

    @property
    def record_words(self) -> int:
        """64-bit words of a row of x or B in the record of a pass: all tokens side by side."""
        return -(-self.tokens * RECORD_BITS // WORD_BITS)

    @property
    def steps(self) -> int:
        """Steps of the state-space unit for each head, at most: tokens, and replayed ones."""
        return self.tokens * (1 + self.undecided)

    @property
    def whole_heads(self) -> bool:
        """Whether the state-space unit waits for all rows of a head.

        It does where it reads them once for each step, or several in one word of the state.
        """
        return self.steps > 1 or self.word_rows > 1

    @property
    def projection(self) -> Projection:
        """Arithmetic of in_proj and out_proj."""
        return Projection(BlockQuant(self.act_bits, BLOCK), self.weight_bits, GROUP)

    @property
    def widest(self) -> Projection:
        """Arithmetic of a projection whose weights and activations are as wide as any."""
        if not self.wide:
            return self.projection
        bits, acts = max(self.weight_bits, self.wide_weight_bits), self.out_bits
        return Projection(
            BlockQuant(acts, BLOCK, NIBBLES if acts > self.act_bits else 0), bits, GROUP,
            weight_qmax=NIBBLES if self.split else 0,
        )  # fmt: skip

    @property
    def head(self) -> Projection:
        """Arithmetic of the head."""
        act = BlockQuant(self.head_act_bits, BLOCK, self.head_qmax)
        return Projection(act, self.weight_bits, GROUP)

    @property
    def ssm(self) -> SsmStep:
        """Arithmetic of the state; a command may ask for half up instead of dither."""
        return SsmStep(8, BLOCK)

    @property
    def acc_bits(self) -> int:
        """Width of a row's sum in a lane, of either projection."""
        widest = max(self.in_channels, self.out_channels, self.added_channels)
        return max(
            self.widest.accumulator_bits(widest), self.head.accumulator_bits(self.in_channels)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        return asdict(self) | {"kinds": list(self.kinds)}

    def to_json(self) -> str:
        """One line of JSON, for the hash of the build: what it has no use for is left out."""
        left_out = {name for names, used in (
            (ATTENTION, "attention" in self.kinds), (WIDE, self.wide),
            (("added_channels",), self.added_channels > 0),
        ) if not used for name in names}  # fmt: skip
        values = {name: each for name, each in self.to_dict().items() if name not in left_out}
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ArchConfig":
        """Invert :meth:`to_dict`; unknown keys and other types are refused."""
        return build(cls, values, "arch")


def build_hash(config: ArchConfig) -> int:
    """First 32 bits of the hash of the build parameters: what the register ``hash`` reads."""
    return int(hashlib.sha256(config.to_json().encode()).hexdigest()[:8], 16)
