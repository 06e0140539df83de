"""The work of a pass: the compiler's own numbers, as the performance model uses them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.passes import Share
from lightmamba.arch.target import Target
from lightmamba.blocks import part
from lightmamba.compiler import plan
from lightmamba.compiler.layout import beats
from lightmamba.config import ModelConfig
from lightmamba.estimate.older import OlderMemory as Memory
from lightmamba.formats import Formats
from lightmamba.machine.spine import EPILOGUE_ROWS

__all__ = ["Workload", "modes"]


@dataclass(frozen=True)
class Workload:
    """A model on a machine, and what its passes hold; they come one like the other.

    Parameters
    ----------
    config, formats, target, arch, order
        As for the compiler.
    slots : tuple of Share
        Sequences with a part in the pass. Positions and what is fresh do not matter.
    head : bool
        Whether logits of any token are wanted.
    """

    config: ModelConfig
    formats: Formats
    target: Target
    arch: ArchConfig
    order: str
    slots: tuple[Share, ...] = (Share(1),)
    head: bool = True

    @staticmethod
    def of(config: ModelConfig, formats: Formats, target: Target, order: str) -> "Workload":
        """Plan it.

        Raises
        ------
        InputError
            If the hardware of the target cannot run the model.
        """
        return Workload(config, formats, target, plan(config, formats, target, order), order)

    def of_mode(self, name: str) -> "Workload":
        """The same with passes of one of :func:`modes`."""
        slots, head = modes(self.arch, len(self.memory.states))[name]
        return replace(self, slots=slots, head=head)

    @property
    def tokens(self) -> int:
        """Tokens of a pass."""
        return sum(slot.tokens for slot in self.slots)

    @property
    def chained(self) -> bool:
        """Whether passes follow each other without the host: greedy decoding of a sequence."""
        return self.head and self.slots == (Share(1),)

    @property
    def replays(self) -> bool:
        """Whether a pass applies tokens of a record again."""
        return any(slot.redone for slot in self.slots)

    @property
    def records(self) -> bool:
        """Whether a pass leaves tokens undecided, and writes a record of its own."""
        return any(slot.tokens > slot.commit for slot in self.slots)

    @property
    def stores(self) -> int:
        """Slots whose state changes for good."""
        return sum(slot.stored > 0 for slot in self.slots)

    @property
    def steps(self) -> int:
        """Updates of each state, replayed ones too."""
        return sum(slot.steps for slot in self.slots)

    @property
    def layer(self) -> Any:
        """Sizes of each layer."""
        return self.config.layers[0]

    @property
    def commands(self) -> Any:
        """Commands of a layer."""
        return part(self.layer.kind, "commands")

    @property
    def memory(self) -> Memory:
        """Where everything lies, and how large it is."""
        return Memory(self.config, self.formats, self.arch, self.target)

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes of a job by the names that the graph has for them."""
        c, a, m = self.config, self.arch, self.memory
        return {
            "d_model": c.d_model, "in_channels": a.in_channels, "out_channels": a.out_channels,
            "embedding_words": m.stream_words["embedding"], "state_words": m.state_words,
            "row_words": a.row_words, "vocab_size": c.vocab_size, "in_rows": self.layer.in_rows,
            "lane_rows": -(-self.layer.in_rows // a.lanes), "one": 1,
            **self.commands.job_sizes(self.layer, a.row_words, a.word_rows),
        }  # fmt: skip

    @property
    def rows_per_cycle(self) -> int:
        """Rows that the epilogue finishes in a cycle."""
        return min(EPILOGUE_ROWS, self.arch.lanes)

    @property
    def in_beats(self) -> int:
        """Beats of in_proj in each lane, of scales too."""
        return beats(self.arch, self.layer.in_rows, self.arch.in_channels)

    @property
    def out_beats(self) -> int:
        """Beats of out_proj in each lane."""
        return beats(self.arch, self.config.d_model, self.arch.out_channels)

    def head_beats(self, rows: int) -> int:
        """Beats of a number of rows of the LM head in each lane."""
        return beats(self.arch, rows, self.arch.in_channels)

    def kinds(self) -> NDArray[np.int64]:
        """Kind of every row of in_proj, in the order in which they come."""
        found: NDArray[np.int64] = self.commands.row_kinds(self.layer, self.order)
        return found


def modes(arch: ArchConfig, copies: int = 1) -> Mapping[str, tuple[tuple[Share, ...], bool]]:
    """Kinds of passes: their slots, and whether logits are wanted.

    ``decode``: one token of one sequence. ``prefill``: as many tokens of a prompt as fit.
    ``batch``: one token of each of as many sequences. ``verify``: a token and as many drafts as
    may be undecided, all drafts of the last pass accepted; with one copy of the state they are
    applied to it again.
    """
    drafts, again = arch.undecided, arch.undecided if copies == 1 else 0
    checked = Share(1)
    if drafts:
        checked = Share(1 + drafts, replay=drafts, commit=1, redo=again, ahead=copies > 1)
    return {
        "decode": ((Share(1),), True),
        "prefill": ((Share(arch.tokens, commit=arch.tokens),), False),
        "batch": ((Share(1),) * arch.tokens, True),
        "verify": ((checked,), True),
    }
