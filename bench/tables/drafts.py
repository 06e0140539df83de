"""Table of single-stream speed on hardware with drafts, by kind of text: counted, not simulated.

Texts are those of :mod:`bench.editing`, as the bundled model's tokenizer cuts them. A writer that
writes each continuation is drafted by n-grams, at most as many tokens as the hardware leaves
undecided; drafting costs the hardware nothing, so all are drafted. The passes that this takes are
counted with the descriptions that the host would write, and each takes the cycles that
:mod:`bench.full` simulated: one token alone, verification, or either with three updates done
again, if any are.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.editing import KINDS, cases
from bench.full import AGAIN, DECODE, REPAIR, VERIFY
from bench.tables.printer import Table, Tables, load
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.place import Region
from lightmamba.arch.target import Target
from lightmamba.common.passes import Pass, Slot
from lightmamba.device.host.resident import Resident
from lightmamba.device.host.staging import Staging
from lightmamba.hardware.compiler.memory import Memory
from lightmamba.model import qmodel
from lightmamba.model.config import SHAPES
from lightmamba.model.data import demo_file
from lightmamba.model.tokenizer import Tokenizer
from lightmamba.numerics.model_formats import Formats
from lightmamba.text import NgramDrafter

__all__ = ["DRAFTS", "Counted"]

SHAPE, TARGET = "mamba2-2.7b", "u280-t4"
PASSES = (DECODE, VERIFY, REPAIR, AGAIN)
TEXTS = 8  # of each kind


class Counted:
    """One text after the other on hardware that gets the description of every pass, and runs none.

    Attributes
    ----------
    counts : {name: int}
        Passes of each kind, tokens, and drafted and accepted tokens.
    """

    def __init__(self, arch: ArchConfig, copies: int) -> None:
        self.most, self.counts = arch.undecided, Counter[str]()
        states = tuple(Region(f"state{n}", "", n, 1) for n in range(copies))
        self.mine = Resident((states,), {})
        records = [Region(f"record{n}", "", n, 1) for n in range(2)]
        self.staging = Staging(arch, [self.mine], records)

    def run(self, count: int, replay: int) -> None:
        """A pass of a certain token and drafted ones, ``count`` in all."""
        work = Pass((Slot(0, np.zeros(count, np.int64), count, replay=replay, commit=1),))
        staged = self.staging.stage(work)
        self.staging.done(work, staged, 1)
        again = staged.shares[0].redone > 0
        kinds = (REPAIR if again else DECODE), (AGAIN if again else VERIFY)
        self.counts[kinds[count > 1]] += 1

    def text(self, ids: list[int], text: Sequence[int]) -> None:
        """Write a text after a prompt, drafted by n-grams."""
        drafter = NgramDrafter()
        self.mine.begin()
        ids = [*ids, text[0]]  # the prompt's own pass gives the first
        at = right = 0
        while at + 1 < len(text):
            most = min(self.most, len(text) - at - 2)
            drafted = list(drafter.draft(ids, most, lambda: _no_trial))
            self.run(1 + len(drafted), right)
            right = 0
            while right < len(drafted) and drafted[right] == text[at + 1 + right]:
                right += 1
            self.counts += Counter(drafted=len(drafted), accepted=right, tokens=right + 1)
            ids += text[at + 1 : at + 2 + right]
            at += right + 1


def _no_trial(*_: Any) -> int:
    raise AssertionError("n-grams draw nothing")


def drafts() -> Table:
    """Tokens per second of one text, by its kind."""
    used = [load("passes", shape=SHAPE, target=TARGET, mode=mode)[0] for mode in PASSES]
    target, data = Target.load(TARGET), qmodel.load(demo_file()).tokenizer
    assert data is not None
    copies = len(Memory(SHAPES[SHAPE], Formats(), target.machine, target).states)
    encode, texts, body = Tokenizer.from_bytes(data).encode, cases(TEXTS), list[list[str]]()
    for kind in KINDS:
        hardware = Counted(target.machine, copies)
        for case in texts:
            if case.kind == kind:
                hardware.text(encode(case.prompt).tolist(), encode(case.continuation).tolist())
        counts = hardware.counts
        cycles = sum(counts[row["mode"]] * row["cycles"] for row in used)
        passes, tokens = sum(counts[mode] for mode in PASSES), counts["tokens"]
        accepted = f"{counts['accepted'] / counts['drafted']:.0%} of {counts['drafted']:,}"
        rate = f"**{tokens * target.clock_mhz * 1e6 / cycles:,.0f}**"
        body.append([kind, f"{tokens:,}", f"{tokens / passes:.2f}", accepted, rate])
    header = [f"one text, Mamba2-2.7B on `{TARGET}` (counted, simulated passes)", "tokens"]
    return Table([*header, "tokens per pass", "accepted drafts", "tokens per second"], body, used)


DRAFTS: Tables = {"passes-editing": drafts}
