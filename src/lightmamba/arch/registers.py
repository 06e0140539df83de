"""Register map of the host port, as data: name, access, meaning; 32 bits each, 4 bytes apart.

64-bit values take two registers, the lower word first. Offsets follow from the order.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.ports import STATIC

__all__ = ["INTERFACE", "MAGIC", "REGISTERS", "Register", "offsets", "table"]

LANES, MOST_TOKENS = 64, 8  # that there may be
MOST_STATE_PORTS = 4
LATER = MOST_TOKENS - 1  # vectors of a pass behind its first


@dataclass(frozen=True)
class Register:
    """One entry of the map; up to ``count`` of them stand side by side."""

    name: str
    access: str  # "rw", "ro", "wo"; "start" carries out what it says
    doc: str
    count: int = 1
    wide: bool = False  # 64 bits
    several: bool = False  # only of machines of several tokens
    port: int = 0  # of the state, that it is for

    def counted(self, config: ArchConfig) -> int:
        """How many of them a machine has."""
        if (self.several and config.tokens == 1) or self.port >= config.state_ports:
            return 0
        if self.count == LANES:
            return config.lanes
        spare = MOST_TOKENS - config.tokens
        return self.count - spare if self.several and self.count > 1 else self.count


STREAMS = (*STATIC, "embedding")  # one per consumer

MAGIC = 0x4C4D4231  # LMB1
INTERFACE = 2  # goes up when a register moves or changes its meaning

REGISTERS = (
    Register("magic", "ro", f"{MAGIC:#x}: LMB1"),
    Register("hash", "ro", "first 32 bits of the hash of the build parameters"),
    Register("version", "ro", f"{INTERFACE}: of this map; a host knows one of them"),
    Register("control", "rw", "bit 0 run: prefetch may begin; 0 drains and discards what was read"),
    Register("status", "ro", "bit 0 busy, 1 done, 2 drained, 3 bus error, 4 illegal instruction"),
    Register("interrupt", "rw", "bit 0 enable; writing bit 1 acknowledges done"),
    Register("token", "rw", "token id of the next start"),
    Register("start", "wo", "bit 0 fresh, bit 1 head wanted: runs one token"),
    Register("chain", "rw", "tokens that follow a start, each the last one's arg-max"),
    Register("position", "rw", "tokens seen before the next start, for the dither"),
    Register("next", "ro", "arg-max of the last logits"),
    Register("finished", "ro", "tokens finished since the last start"),
    Register("units", "ro", "bit n: unit n has work, in the order of the commands' table"),
    Register("program_index", "rw", "32-bit word of the program to write; counts up by itself"),
    Register("program_data", "wo", "that word"),
    Register("layers", "rw", "number of layers"),
    Register("lane_base", "rw", "address of a lane's weights", count=LANES, wide=True),
    Register("layers_beats", "rw", "weight beats of all layers, per lane"),
    Register("head_beats", "rw", "weight beats of the head, per lane"),
    *(Register(f"{name}_base", "rw", f"address of the {name} stream", wide=True)
      for name in STREAMS),
    *(Register(f"{name}_words", "rw", f"64-bit words of the {name} stream per token")
      for name in STREAMS),
    Register("embedding_stride", "rw", "bytes from one row of the embedding to the next"),
    Register("state_base", "rw", "address of the state, and of its other copy; where there is one "
             "only, both are the same", count=2, wide=True),
    Register("state_copy", "ro", "which of the two the next token reads; 0 after control was 0"),
    Register("state_stride", "rw", "bytes of a layer's state"),
    Register("state_beats", "rw", "beats of a layer's state"),
    Register("state_words", "rw", "words of S elements of a layer's state"),
    Register("conv_base", "rw", "address of the convolution's state", wide=True),
    Register("conv_stride", "rw", "bytes of a layer's convolution state"),
    Register("conv_state_words", "rw", "64-bit words of a layer's convolution state"),
    Register("logits_base", "rw", "address where logits are written", wide=True),
    Register("logits_words", "rw", "64-bit words of the logits"),
    Register("counter_index", "rw", "counter to read"),
    Register("counter_value", "ro", "that counter", wide=True),
    # Of machines of several tokens. What differs from pass to pass comes first.
    Register("vector", "rw", "vector of a pass: VECTOR of `arch/passes.py`",
             count=MOST_TOKENS, several=True),
    Register("later_row", "rw", "address of the embedding's row of each vector behind the first, "
             "whose id is `token`", count=LATER, wide=True, several=True),
    Register("later_next", "ro", "arg-max of the last logits of each of them", count=LATER,
             several=True),
    Register("slot", "rw", "slot of a pass: SLOT of `arch/passes.py`", count=MOST_TOKENS,
             several=True),
    Register("slot_read", "rw", "address of a slot's state; of a chain's next token that of "
             "`slot_write`, and so on by turns", count=MOST_TOKENS, wide=True, several=True),
    Register("slot_write", "rw", "address where a slot's new state goes", count=MOST_TOKENS,
             wide=True, several=True),
    Register("slot_conv", "rw", "address of a slot's convolution state", count=MOST_TOKENS,
             wide=True, several=True),
    Register("step_index", "rw", "step of the state-space unit to write; counts up by itself",
             several=True),
    Register("step_data", "wo", "that step: STEP of `arch/passes.py`", several=True),
    Register("last_step", "rw", "steps of a pass, less one", several=True),
    Register("record", "rw", "bit 0: the pass applies vectors of a record again; bit 1: it writes "
             "one", several=True),
    Register("record_read", "rw", "address of the record that is applied", wide=True,
             several=True),
    Register("record_write", "rw", "address of the record that is written", wide=True,
             several=True),
    Register("record_stride", "rw", "bytes of a layer's record", several=True),
    Register("record_count", "rw", "64-bit words of a layer's record", several=True),
    Register("state_heads", "rw", "heads of all layers", several=True),
    Register("head_stride", "rw", "bytes of a head's state", several=True),
    Register("state_head_beats", "rw", "beats of a head's state", several=True),
    Register("head_words", "rw", "words of S elements of a head's state", several=True),
    Register("logits_stride", "rw", "bytes from the logits of one vector to those of the next",
             several=True),
    Register("b_channels", "rw", "channels of B", several=True),
    Register("d_state", "rw", "channels of a group of B", several=True),
    *(Register(f"{name}{port}", "rw", f"`{name}` of port {port} of the state", count=MOST_TOKENS,
               wide=True, several=True, port=port)
      for port in range(1, MOST_STATE_PORTS) for name in ("slot_read", "slot_write")),
)  # fmt: skip


def offsets() -> dict[str, int]:
    """Byte offset of each register (of the first, where it counts several)."""
    found, at = {}, 0
    for register in REGISTERS:
        found[register.name] = at
        at += 4 * register.count * (1 + register.wide)
    return found


def table() -> Iterator[tuple[str, str, str, str]]:
    """Rows of the documentation: offset, name, access, meaning."""
    for register, at in zip(REGISTERS, offsets().values(), strict=True):
        name = register.name + (f"[{register.count}]" if register.count > 1 else "")
        yield f"{at:#05x}", name, register.access, register.doc
