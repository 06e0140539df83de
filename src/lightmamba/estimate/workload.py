"""The work of one token: the compiler's own numbers, as the performance model uses them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.machine import EPILOGUE_ROWS
from lightmamba.arch.program import Kind
from lightmamba.arch.target import Target
from lightmamba.blocks.mamba2.layout import row_order
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
    def memory(self) -> Memory:
        """Where everything lies, and how large it is."""
        return Memory(self.config, self.arch, self.target)

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes of a job by the names that the graph has for them."""
        c, k, a, words = self.config, self.layer, self.arch, self.memory.stream_words
        return {
            "d_model": c.d_model, "in_channels": a.in_channels, "d_inner": k.d_inner,
            "out_channels": a.out_channels, "conv_dim": k.conv_dim,
            "conv_words": words["conv_params"],
            "embedding_words": words["embedding"], "nheads": k.nheads,
            "bc_channels": 2 * k.ngroups * k.d_state, "ngroups": k.ngroups,
            "group_dim": k.group_dim, "headdim": k.headdim, "state_words": self.memory.state_words,
            "row_words": a.row_words, "head_words": k.headdim * a.row_words,
            "vocab_size": c.vocab_size, "in_rows": k.in_rows,
            "lane_rows": -(-k.in_rows // a.lanes), "one": 1,
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
        rows, found = row_order(self.layer, self.order), np.empty(self.layer.in_rows, np.int64)
        for name, part in self.layer.sections().items():
            found[part] = Kind[name.upper()]
        return found[rows]

    def conv_kinds(self) -> NDArray[np.int64]:
        """Kind of every channel of the convolution, in their order."""
        kinds = self.kinds()
        return kinds[np.isin(kinds, (Kind.X, Kind.B, Kind.C))]

    def block_ends(self) -> NDArray[np.bool_]:
        """Whether a channel of the convolution is the last of its block."""
        kinds = self.conv_kinds()
        ends = np.empty(len(kinds), np.bool_)
        for kind, run in ((Kind.X, self.layer.headdim), (Kind.B, self.layer.d_state),
                          (Kind.C, self.layer.d_state)):  # fmt: skip
            mine = kinds == kind
            place = np.arange(mine.sum()) % run
            ends[mine] = (place == run - 1) | (place % self.formats.block == self.formats.block - 1)
        return ends
