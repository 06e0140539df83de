"""Register map of the host port, as data: name, access, meaning; 32 bits each, 4 bytes apart.

64-bit values take two registers, the lower word first. Offsets follow from the order.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from lightmamba.arch.ports import STATIC

__all__ = ["INTERFACE", "MAGIC", "REGISTERS", "Register", "offsets", "table"]


@dataclass(frozen=True)
class Register:
    """One entry of the map; ``count`` of them stand side by side."""

    name: str
    access: str  # "rw", "ro", "wo"; "start" carries out what it says
    doc: str
    count: int = 1
    wide: bool = False  # 64 bits


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
    Register("lane_base", "rw", "address of a lane's weights", count=64, wide=True),
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
