"""The work of one token: the compiler's own numbers, as the performance model uses them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.machine import EPILOGUE_ROWS
from lightmamba.arch.program import Kind
from lightmamba.arch.target import Target
from lightmamba.compiler import plan
from lightmamba.compiler.layout import beats, row_order
from lightmamba.compiler.memory import Memory
from lightmamba.config import Mamba2Config
from lightmamba.qmodel import Formats

__all__ = ["Workload"]


@dataclass(frozen=True)
class Workload:
    """A model on a machine.

    Parameters
    ----------
    config, formats, target, arch, order
        As for the compiler.
    """

    config: Mamba2Config
    formats: Formats
    target: Target
    arch: ArchConfig
    order: str

    @staticmethod
    def of(config: Mamba2Config, formats: Formats, target: Target, order: str) -> "Workload":
        """Plan it.

        Raises
        ------
        InputError
            If the gates of the target cannot run the model.
        """
        return Workload(config, formats, target, plan(config, formats, target, order), order)

    @property
    def memory(self) -> Memory:
        """Where everything lies, and how large it is."""
        return Memory(self.config, self.arch, self.target)

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes of a job by the names that the graph has for them."""
        c, a, words = self.config, self.arch, self.memory.stream_words
        return {
            "d_model": c.d_model, "in_channels": a.in_channels, "d_inner": c.d_inner,
            "out_channels": a.out_channels, "conv_dim": c.conv_dim,
            "conv_words": words["conv_params"],
            "embedding_words": words["embedding"], "nheads": c.nheads,
            "bc_channels": 2 * c.ngroups * c.d_state, "ngroups": c.ngroups,
            "group_dim": c.group_dim, "headdim": c.headdim, "state_words": self.memory.state_words,
            "row_words": a.row_words, "head_words": c.headdim * a.row_words,
            "vocab_size": c.vocab_size, "in_rows": c.d_in_proj,
            "lane_rows": -(-c.d_in_proj // a.lanes), "one": 1,
        }  # fmt: skip

    @property
    def rows_per_cycle(self) -> int:
        """Rows that the epilogue finishes in a cycle."""
        return min(EPILOGUE_ROWS, self.arch.lanes)

    @property
    def in_beats(self) -> int:
        """Beats of in_proj in each lane, of scales too."""
        return beats(self.arch, self.config.d_in_proj, self.arch.in_channels)

    @property
    def out_beats(self) -> int:
        """Beats of out_proj in each lane."""
        return beats(self.arch, self.config.d_model, self.arch.out_channels)

    def head_beats(self, rows: int) -> int:
        """Beats of so many rows of the head in each lane."""
        return beats(self.arch, rows, self.arch.in_channels)

    def kinds(self) -> NDArray[np.int64]:
        """Kind of every row of in_proj, in the order in which they come."""
        rows, found = row_order(self.config, self.order), np.empty(self.config.d_in_proj, np.int64)
        for name, part in self.config.splits().items():
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
        for kind, run in ((Kind.X, self.config.headdim), (Kind.B, self.config.d_state),
                          (Kind.C, self.config.d_state)):  # fmt: skip
            mine = kinds == kind
            place = np.arange(mine.sum()) % run
            ends[mine] = (place == run - 1) | (place % self.formats.block == self.formats.block - 1)
        return ends
