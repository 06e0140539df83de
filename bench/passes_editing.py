"""Single-stream speed on hardware with n-gram drafts, by kind of text: counted, not simulated.

    python -m bench.passes_editing [ROW]

Texts are those of :mod:`bench.editing`, as the bundled model's tokenizer cuts them. A writer that
writes each continuation is drafted by n-grams, at most as many tokens as the hardware leaves
undecided; drafting costs the hardware nothing, so all are drafted. The passes that this takes are
counted with the descriptions that the host would write, and each takes the cycles that
:mod:`bench.full` simulated: one token alone, verification, or either with three updates done
again, if any are. With a smaller model as the drafter, on the same hardware, a pass of it is added
for each drafted token; its acceptance is a published number, so those rows are estimates.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bench.common import bundled
from bench.editing import KINDS, cases
from bench.full import AGAIN, DECODE, REPAIR, VERIFY
from bench.full import identity as identity_of_pass
from bench.identity import combined
from bench.stored import keep, rows
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.place import Region
from lightmamba.arch.target import Target
from lightmamba.common.passes import Pass, Slot
from lightmamba.device.host.resident import Resident
from lightmamba.device.host.staging import Staging
from lightmamba.hardware.compiler.memory import Memory
from lightmamba.model.config import SHAPES
from lightmamba.model.tokenizer import Tokenizer
from lightmamba.numerics.model_formats import Formats
from lightmamba.text import NgramDrafter

LARGE, SMALL = "mamba2-2.7b on u280-t4", "mamba2-130m on u280-t4"
PASSES = (DECODE, VERIFY, REPAIR, AGAIN)
COUNTED = ("tokens", *PASSES, "drafted", "accepted")
Draft = Callable[[Sequence[int], int, Sequence[int]], list[int]]
TEXTS = 8  # of each kind
# Acceptance of a 130m drafter for a model of 2.8B with drafts of three tokens, as the repository
# itsdaniele/speculative_mamba publishes it for its demo; the others show how much depends on it.
PUBLISHED = 0.68
ACCEPTANCES = (0.5, PUBLISHED, 0.8)


def identity(row: Mapping[str, Any]) -> str:
    """Hash of the passes that a row counts."""
    each = [{"name": f"{row['row']}, {mode}", "mode": mode} for mode in PASSES]
    counts = [row[name] for name in COUNTED]
    return combined([identity_of_pass(one) for one in each], counts)


class Counted:
    """One text after the other on hardware that gets the description of every pass, and runs none.

    Attributes
    ----------
    counts : {name: int}
        Passes of each kind, tokens, and drafted and accepted tokens.
    """

    def __init__(self, arch: ArchConfig, copies: int) -> None:
        self.most, self.counts = arch.undecided, dict.fromkeys(COUNTED, 0)
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

    def text(self, ids: list[int], text: Sequence[int], draft: Draft) -> None:
        """Write a text after a prompt; ``draft(ids, most, next tokens)`` proposes tokens."""
        self.mine.begin()
        ids = [*ids, text[0]]  # the prompt's own pass gives the first
        at = right = 0
        while at + 1 < len(text):
            drafted = draft(ids, min(self.most, len(text) - at - 2), text[at + 1 :])
            self.run(1 + len(drafted), right)
            right = 0
            while right < len(drafted) and drafted[right] == text[at + 1 + right]:
                right += 1
            self.counts["drafted"] += len(drafted)
            self.counts["accepted"] += right
            self.counts["tokens"] += right + 1
            ids += text[at + 1 : at + 2 + right]
            at += right + 1

    def cycles(self, takes: Mapping[str, int]) -> int:
        """Cycles of all passes, by kind."""
        return sum(self.counts[kind] * each for kind, each in takes.items())


def ngrams() -> Draft:
    """Drafts by n-grams, for one text."""
    drafter = NgramDrafter()
    return lambda ids, most, _: list(drafter.draft(ids, most, lambda: _no_trial))


def as_often(right: float, rng: np.random.Generator) -> Draft:
    """Drafts of which each token is accepted with a given probability."""
    return lambda ids, most, text: [token if rng.random() < right else -1 for token in text[:most]]


def _no_trial(*_: Any) -> int:
    raise AssertionError("n-grams draw nothing")


def main() -> None:
    """Count, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("row", nargs="?", default=LARGE, help="of bench.full")
    row = parser.parse_args().row
    passes = {r["name"]: r for r in rows("passes")}
    takes = {mode: passes[f"{row}, {mode}"]["cycles"] for mode in PASSES}
    target = Target.load(passes[f"{row}, verify"]["target"])
    data, clock = bundled().tokenizer, target.clock_mhz * 1e6
    assert data is not None
    tokenizer = Tokenizer.from_bytes(data)
    shape = SHAPES[passes[f"{row}, verify"]["shape"]]
    copies = len(Memory(shape, Formats(), target.machine, target).states)
    texts, found = cases(TEXTS), list[dict[str, Any]]()

    def add(kind: str, hardware: Counted, cycles: int) -> None:
        per_second = hardware.counts["tokens"] * clock / cycles
        found.append({"row": row, "kind": kind, **hardware.counts, "tokens_per_second": per_second})
        print(found[-1], flush=True)

    def encoded(text: str) -> list[int]:
        found: list[int] = tokenizer.encode(text).tolist()
        return found

    for kind in KINDS:
        hardware = Counted(target.machine, copies)
        for case in texts:
            if case.kind == kind:
                hardware.text(encoded(case.prompt), encoded(case.continuation), ngrams())
        add(kind, hardware, hardware.cycles(takes))
    if (small := passes.get(f"{SMALL}, decode")) is not None:
        for right in ACCEPTANCES:
            hardware = Counted(target.machine, copies)
            draft = as_often(right, np.random.default_rng(14))
            for case in texts:
                hardware.text([], encoded(case.continuation), draft)
            drafting = hardware.counts["drafted"] * small["cycles"]
            what = f"130m drafter, {100 * right:.0f} % of drafted tokens accepted"
            add(what, hardware, hardware.cycles(takes) + drafting)
            found[-1] |= {"how": "estimated", "published": right == PUBLISHED}
    keep("passes_editing", *found, stay=lambda old: old["row"] != row)


if __name__ == "__main__":
    main()
