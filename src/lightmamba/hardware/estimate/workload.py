"""The work of a pass: the compiler's own numbers, as the performance model uses them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.graph import Graph
from lightmamba.arch.passes import Share
from lightmamba.arch.target import Target
from lightmamba.blocks import kind
from lightmamba.blocks.layer import Sizes, out_channels
from lightmamba.hardware.compiler.layout import beats
from lightmamba.hardware.compiler.memory import Memory
from lightmamba.hardware.compiler.plan import CONTEXT, plan
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.machine.spine import rows_per_cycle
from lightmamba.model.config import ModelConfig
from lightmamba.numerics.model_formats import Formats

__all__ = ["Workload", "carried_out", "modes"]


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
    context : int
        Positions of each sequence so far, where a machine keeps something of each.
    """

    config: ModelConfig
    formats: Formats
    target: Target
    arch: ArchConfig
    order: str
    slots: tuple[Share, ...] = (Share(1),)
    head: bool = True
    context: int = CONTEXT

    @staticmethod
    def of(
        config: ModelConfig, formats: Formats, target: Target, order: str,
        context: int | None = None,
    ) -> "Workload":  # fmt: skip
        """Plan it, for sequences of ``context`` positions where something grows with them.

        Raises
        ------
        InputError
            If the hardware of the target cannot run the model.
        """
        arch = plan(config, formats, target, order, context=context)
        return Workload(config, formats, target, arch, order, context=arch.context or CONTEXT)

    def of_mode(self, name: str) -> "Workload":
        """Workload with passes of one of :func:`modes`."""
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
    def graph(self) -> Graph:
        """The machine."""
        return machine(self.arch.kinds)

    @cached_property
    def memory(self) -> Memory:
        """Where everything lies, and how large it is."""
        return Memory(self.config, self.formats, self.arch, self.target)

    def sizes(self, layer: Sizes) -> dict[str, int]:
        """Sizes of the jobs of a layer by the names that the graph has for them."""
        c, a = self.config, self.arch
        return {
            "d_model": c.d_model, "in_channels": a.in_channels,
            "out_channels": out_channels(layer, self.formats),
            "embedding_words": self.memory.each("embedding"), "vocab_size": c.vocab_size,
            "in_rows": layer.block_rows, "lane_rows": -(-layer.block_rows // a.lanes), "one": 1,
            **kind(layer.kind).hardware.job_sizes(layer, a),
        }  # fmt: skip

    def words(self, client: str) -> int:
        """64-bit words of a client in a layer, which are as many in all that have it."""
        return self.memory.each(client)

    @property
    def positions(self) -> int:
        """Positions that a machine has kept of a sequence."""
        return min(self.context, self.arch.context)

    @property
    def rows_per_cycle(self) -> int:
        """Rows that the epilogue finishes in a cycle."""
        return rows_per_cycle(self.arch)

    @property
    def period(self) -> int:
        """Layers after which their pattern of kinds and sizes begins again."""
        layers = [
            (layer, *(self.formats.of(i, name) for name in ("in_proj", "out_proj")))
            for i, layer in enumerate(self.config.layers)
        ]
        return next(n for n in range(1, len(layers) + 1) if layers[n:] == layers[:-n])

    def first_job(self, layer: int) -> int:
        """Number of a layer's first instruction in a pass, of those of layers and head."""
        return sum(len(carried_out(each)) for each in self.config.layers[:layer])

    def head_beats(self, rows: int) -> int:
        """Beats of a number of rows of the LM head in each lane."""
        return beats(self.arch, rows, self.arch.in_channels, self.formats.head)


def carried_out(layer: Sizes) -> tuple[tuple[str, str], ...]:
    """Instructions of a layer in a token: the name of each, and of the lanes' matrix."""
    return kind(layer.kind).hardware.carried_out(layer)


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
