"""The work of one token: the compiler's own numbers, as the performance model uses them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.machine import EPILOGUE_ROWS
from lightmamba.arch.target import Target
from lightmamba.blocks import part
from lightmamba.compiler import plan
from lightmamba.compiler.layout import beats
from lightmamba.compiler.memory import Memory
from lightmamba.compiler.supported import the_layer
from lightmamba.config import ModelConfig
from lightmamba.formats import Formats

__all__ = ["Workload"]


@dataclass(frozen=True)
class Workload:
    """A model on a machine.

    Parameters
    ----------
    config, formats, target, arch, order
        As for the compiler.
    """

    config: ModelConfig
    formats: Formats
    target: Target
    arch: ArchConfig
    order: str

    @staticmethod
    def of(config: ModelConfig, formats: Formats, target: Target, order: str) -> "Workload":
        """Plan it.

        Raises
        ------
        InputError
            If the gates of the target cannot run the model.
        """
        return Workload(config, formats, target, plan(config, formats, target, order), order)

    @property
    def layer(self) -> Any:
        """Sizes of each layer."""
        return the_layer(self.config)

    @property
    def commands(self) -> Any:
        """What the accelerator is told about a layer."""
        return part(self.layer.kind, "commands")

    @property
    def memory(self) -> Memory:
        """Where everything lies, and how large it is."""
        return Memory(self.config, self.arch, self.target)

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes of a job by the names that the graph has for them."""
        c, a, m = self.config, self.arch, self.memory
        return {
            "d_model": c.d_model, "in_channels": a.in_channels, "out_channels": a.out_channels,
            "embedding_words": m.stream_words["embedding"], "state_words": m.state_words,
            "row_words": a.row_words, "vocab_size": c.vocab_size, "in_rows": self.layer.in_rows,
            "lane_rows": -(-self.layer.in_rows // a.lanes), "one": 1,
            **self.commands.job_sizes(self.layer, a.row_words),
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
        """Beats of so many rows of the head in each lane."""
        return beats(self.arch, rows, self.arch.in_channels)

    def kinds(self) -> NDArray[np.int64]:
        """Kind of every row of in_proj, in the order in which they come."""
        found: NDArray[np.int64] = self.commands.row_kinds(self.layer, self.order)
        return found
