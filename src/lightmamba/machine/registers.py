"""Register map of the host port, as data: name, access, meaning; 32 bits each, 4 bytes apart.

64-bit values take two registers, the lower word first. Offsets follow from the order.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.ports import STATIC, of_token

__all__ = ["INTERFACE", "MAGIC", "REGISTERS", "Register", "offsets", "table"]

LANES, MOST_TOKENS, MOST_STATE_PORTS = 64, 8, 4  # that there may be
Count = Callable[[ArchConfig], int]


def _one(config: ArchConfig) -> int:
    return 1


def _tokens(config: ArchConfig) -> int:
    return config.tokens


def _chosen(config: ArchConfig) -> int:
    """Nothing of a pass is left to choose where it is one token."""
    return config.tokens if config.tokens > 1 else 0


def _later(config: ArchConfig) -> int:
    return config.tokens - 1


def _listed(config: ArchConfig) -> int:
    return int(config.steps > 1)


def _recorded(config: ArchConfig) -> int:
    return int(config.undecided > 0)


def _of_port(port: int) -> Count:
    return lambda config: config.tokens if port < config.state_ports else 0


@dataclass(frozen=True)
class Register:
    """One entry of the map, of up to ``count`` registers; ``counted`` says how many there are."""

    name: str
    access: str  # "rw", "ro", "wo"; "start" carries out what it says
    doc: str
    count: int = 1
    counted: Count = _one
    wide: bool = False  # 64 bits


STREAMS = (*STATIC, "embedding")  # one per consumer

MAGIC = 0x4C4D4231  # LMB1
INTERFACE = 3  # goes up when a register moves or changes its meaning

REGISTERS = (
    Register("magic", "ro", f"{MAGIC:#x}: LMB1"),
    Register("hash", "ro", "first 32 bits of the hash of the build parameters"),
    Register("version", "ro", f"{INTERFACE}: of this map; a host knows one of them"),
    Register("control", "rw", "bit 0 run: prefetch may begin; 0 drains and discards what was read"),
    Register("status", "ro", "bit 0 busy, 1 done, 2 drained, 3 bus error, 4 illegal instruction"),
    Register("interrupt", "rw", "bit 0 enable; writing bit 1 acknowledges done"),
    Register("token", "rw", "token id of the next start"),
    Register("start", "wo", "bit 0 fresh, bit 1 logits wanted: runs one pass"),
    Register("chain", "rw", "tokens that follow a start, each the last one's arg-max"),
    Register("position", "rw", "tokens that the first slot's state has seen before the next start, "
             "for the dither"),
    Register("next", "ro", "arg-max of the last logits"),
    Register("finished", "ro", "tokens finished since the last start"),
    Register("units", "ro", "bit n: unit n has work, in the order of the commands' table"),
    Register("program_index", "rw", "32-bit word of the program to write; counts up by itself"),
    Register("program_data", "wo", "that word"),
    Register("layers", "rw", "number of layers"),
    Register("lane_base", "rw", "address of a lane's weights", count=LANES,
             counted=lambda config: config.lanes, wide=True),
    Register("layers_beats", "rw", "weight beats of all layers, per lane"),
    Register("head_beats", "rw", "weight beats of the head, per lane"),
    *(Register(f"{name}_base", "rw", f"address of the {name} stream", wide=True)
      for name in STREAMS),
    *(Register(f"{name}_words", "rw", f"64-bit words of the {name} stream per token")
      for name in STREAMS),
    Register("embedding_stride", "rw", "bytes from one row of the embedding to the next"),
    Register("state_heads", "rw", "heads of all layers"),
    Register("head_stride", "rw", "bytes of a head's state"),
    Register("state_head_beats", "rw", "beats of a head's state"),
    Register("head_words", "rw", "words of S elements of a head's state"),
    Register("conv_stride", "rw", "bytes of a layer's convolution state"),
    Register("conv_state_words", "rw", "64-bit words of a layer's convolution state"),
    Register("logits_base", "rw", "address where logits are written", wide=True),
    Register("logits_words", "rw", "64-bit words of the logits"),
    Register("counter_index", "rw", "counter to read"),
    Register("counter_value", "ro", "that counter", wide=True),
    # Contents of a pass, each register only where hardware has a choice.
    Register("slot_conv", "rw", "address of a slot's convolution state", count=MOST_TOKENS,
             counted=_tokens, wide=True),
    *(Register(of_token(name, port), "rw", doc if not port else
               f"`{name}` of port {port} of the state", count=MOST_TOKENS, counted=_of_port(port),
               wide=True)
      for port in range(MOST_STATE_PORTS)
      for name, doc in (
          ("slot_read", "address of a slot's state; a chain swaps it with `slot_write`"),
          ("slot_write", "address where a slot's new state goes"))),
    Register("vector", "rw", "vector of a pass: VECTOR of `arch/passes.py`", count=MOST_TOKENS,
             counted=_chosen),
    Register("later_row", "rw", "address of the embedding's row of each vector behind the first, "
             "whose id is `token`", count=MOST_TOKENS - 1, counted=_later, wide=True),
    Register("later_next", "ro", "arg-max of the last logits of each of them",
             count=MOST_TOKENS - 1, counted=_later),
    Register("slot", "rw", "slot of a pass: SLOT of `arch/passes.py`", count=MOST_TOKENS,
             counted=_chosen),
    Register("step_index", "rw", "step of the state-space unit to write; counts up by itself",
             counted=_listed),
    Register("step_data", "wo", "that step: STEP of `arch/passes.py`", counted=_listed),
    Register("last_step", "rw", "steps of a pass, less one", counted=_listed),
    Register("record", "rw", "bit 0: the pass applies vectors of a record again; bit 1: it writes "
             "one", counted=_recorded),
    Register("record_read", "rw", "address of the record that is applied", counted=_recorded,
             wide=True),
    Register("record_write", "rw", "address of the record that is written", counted=_recorded,
             wide=True),
    Register("record_stride", "rw", "bytes of a layer's record", counted=_recorded),
    Register("record_count", "rw", "64-bit words of a layer's record", counted=_recorded),
    Register("b_channels", "rw", "channels of B", counted=_recorded),
    Register("d_state", "rw", "channels of a group of B", counted=_recorded),
    Register("logits_stride", "rw", "bytes from the logits of one vector to those of the next",
             counted=lambda config: min(1, _later(config))),
)  # fmt: skip


def offsets() -> dict[str, int]:
    """Byte offset of each register (of the first, where there may be several)."""
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
