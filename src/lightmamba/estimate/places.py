"""Where the numbers of a running model lie: records of units, queues and memory, by name.

Units and queues are those of the graph (``machine/kinds.py``), and a few that lie inside of its
units. Numbers of both are constants of the compiled loops.
"""

import numpy as np

from lightmamba.arch.hardware import MEMORY
from lightmamba.arch.ports import of_token
from lightmamba.estimate.older import MACHINE, RECORD, STATIC
from lightmamba.machine.counters import CYCLES
from lightmamba.machine.registers import LANES, MOST_STATE_PORTS, MOST_TOKENS

__all__ = [
    "CLIENT", "COMMAND_RING", "EMPTY", "FINE", "HELD", "INPUTS", "LANE", "MODEL", "NEVER", "NONE",
    "OUTPUTS", "QUEUES", "READERS", "REQUEST_RING", "SPECIAL", "SSM", "UNITS", "WRITERS",
]  # fmt: skip

NEVER = 1 << 60  # later than everything
FINE = 1024  # parts of a cycle in which a port keeps time
COMMAND_RING, REQUEST_RING = 128, 8192  # that may wait: of a reader, of a channel
# Items of an input that a step of a unit takes: 0 waits for one all the same, NONE does not. It
# gives an output up to two items, 0 wants room all the same; HELD + n: one that is held back, and
# lets the last n go; NONE: it does not look at the output; EMPTY: it waits until all is taken.
NONE, EMPTY, HELD = -1, -2, 3

SPECIAL = ("lanes", "epilogue", "residual", "activations")  # units without such a table


def _most(end: str) -> int:
    """Streams that a unit with a table has at this end, at most."""
    units = [getattr(s, end) for s in MACHINE.streams]
    return max(units.count(name) for name in units if name not in (*SPECIAL, MEMORY))


INPUTS, OUTPUTS = max(5, _most("taker")), max(4, _most("giver"))  # those of SSM below count, too


def _all(client: str) -> list[str]:
    """Clients that serve each token, slot or port as ``client`` serves the first."""
    most = MOST_STATE_PORTS if client == "state" else MOST_TOKENS
    return [of_token(client, n) for n in range(most)]


# Readers and writers of the tokens of a pass, and those of the state's ports, stand side by side. A
# unit takes from all of them in step, and gives to all of them.
READERS = (*_all("state"), *_all("embedding"), *STATIC, *_all("conv_state"), RECORD)
LANE = len(READERS)  # the first lane's reader
WRITERS = (*_all("state"), *_all("conv_state"), *_all("logits"), RECORD)
WRITTEN = ("state", "conv_state", "logits", RECORD)  # their units are the last ones of the graph
CLIENT = {name: first for first in ("embedding", *WRITTEN[:-1]) for name in _all(first)}
# Queues of the epilogue, of the activation buffer, and of a state-space unit that waits for whole
# heads, which is four units: they gather heads, or those of a record, work on them, and hand y on.
INSIDE = ("rows", "words_in", "words_out", "b", "gathered", "replayed", "again", "done", "ended",
          "recorded")  # fmt: skip
SSM = ("ssm_rows", "ssm_record", "ssm", "ssm_out")
FIRST = ("embed", "lanes", "epilogue")  # act before those that give to them a job later


# Queues that carry data; those of the readers' beats follow.
QUEUES = {name: n for n, name in enumerate([
    *(s.name for s in MACHINE.streams if s.giver != MEMORY),
    "state_ahead", *INSIDE,
])}  # fmt: skip
# In the order in which they act within a cycle: who gives before who takes. Channels of memory
# follow; then for each port a unit that reads, and one that writes.
UNITS = {name: n for n, name in enumerate([
    "sequencer", "unpacker", *FIRST, "router",
    *(part for u in MACHINE.units if u.name not in (*FIRST, "activations")
      for part in (SSM if u.name == "ssm" else (u.name,))),
    "words_in", "words_out", *(f"write_{name}" for name in WRITTEN),
])}  # fmt: skip


def _record(names: str) -> np.dtype[np.void]:
    return np.dtype((np.record, [(name, np.int64) for name in names.split()]))


# When it acts next; its job of the token, its table of steps; the places of lanes and epilogue.
UNIT = _record(
    "wake job at step steps hold working taking slot part word pair period second passed"
)
QUEUE = _record("ring mask head count room source target latency")
READER = _record("port free burst left ready commands first credit have per_beat words count delay "
                 "segment bank ring each begun")  # fmt: skip
# A port's channel and that of the state's other copy; of reading, then of writing.
PORT = _record("channel other bytes step last turn ask open most origin writer beats finish "
               "write_turn into clients count")  # fmt: skip
# Credit as in sim/memory.hpp.
CHANNEL = _record("rate cost latency every pause phase credit limit time ring head count turn "
                  "writing turned")  # fmt: skip
WRITER = _record("port stored whole depth burst left command open done reader per_beat part words "
                 "count due most layer bank each wide unit")  # fmt: skip
JOB = _record("rows slots parts words twice vector norms")  # in_proj, out_proj and the LM head
SIZE = _record("layers passes vectors lanes lane_readers per_cycle period d_model vocab "
               "state_words word_beats beat_words state_fifo state_ports head_beats "
               "read write end targets heads chains records")  # fmt: skip
TOKEN = _record("number begun headed running early bank reason since")
PACKING = _record("have period part words begin parts filled beats grouped held sending sent "
                  "next")  # fmt: skip


MOST = LANES + LANE  # readers, ports or channels of a machine
ACTING, CARRYING = len(UNITS) + 3 * MOST, len(QUEUES) + MOST
# All of a running model but its lists: `inputs` and `outputs` are the queues of a unit, `wide` how
# many stand side by side where an input is named, `stalls` cycles by what the lanes did.
MODEL = np.dtype((np.record, [
    ("units", UNIT, (ACTING,)), ("inputs", np.int64, (ACTING, INPUTS)),
    ("wide", np.int64, (ACTING, INPUTS)),
    ("outputs", np.int64, (ACTING, OUTPUTS)), ("queues", QUEUE, (CARRYING,)),
    ("readers", READER, (MOST,)), ("ports", PORT, (MOST,)), ("channels", CHANNEL, (MOST,)),
    ("writers", WRITER, (len(WRITERS),)), ("jobs", JOB, (3,)), ("sizes", SIZE),
    ("token", TOKEN), ("packing", PACKING), ("stalls", np.int64, (len(CYCLES),)),
]))  # fmt: skip
