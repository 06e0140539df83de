"""Single-stream speed on hardware with n-gram guesses, by kind of text: counted, not simulated.

    python -m bench.passes_editing [ROW]

Texts are those of :mod:`bench.editing`, as the bundled model's tokenizer cuts them. A writer that
writes each continuation is guessed by n-grams, at most as many tokens as the hardware leaves
undecided; a guess costs the hardware nothing, so all are made. The passes that this takes are
counted, and each takes the cycles that :mod:`bench.passes` simulated: one of one token, or one that
checks guesses. With a smaller model as the drafter, on the same hardware, a pass of it is added for
each guess; how often it is right is a published number, so those rows are estimates.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from bench.common import bundled, commit, kept_rows, write_results
from bench.editing import KINDS, Case, cases
from lightmamba.arch.target import Target
from lightmamba.runtime import NgramDrafter
from lightmamba.tokenizer import Tokenizer

LARGE, SMALL = "mamba2-2.7b on u280-t4", "mamba2-130m on u280-t4"
TEXTS = 8  # of each kind
# Share of right guesses of a 130m drafter for a model of 2.8B with three guesses, as the repository
# itsdaniele/speculative_mamba publishes it for its demo; the others show what hangs on it.
ACCEPTANCES = (0.5, 0.68, 0.8)


def counted(some: Sequence[Case], tokenizer: Tokenizer, most: int) -> dict[str, int]:
    """Tokens, passes with and without guesses, and how guessing went."""
    found = dict.fromkeys(("tokens", "plain", "checked", "drafted", "accepted"), 0)
    for case in some:
        text = tokenizer.encode(case.continuation).tolist()
        ids, drafter, at = tokenizer.encode(case.prompt).tolist(), NgramDrafter(), 0
        ids.append(text[0])  # the prompt's own pass gives the first
        while at + 1 < len(text):
            guess = list(drafter.draft(ids, min(most, len(text) - at - 2), lambda: _no_trial))
            right = 0
            while right < len(guess) and guess[right] == text[at + 1 + right]:
                right += 1
            found["checked" if guess else "plain"] += 1
            found["drafted"] += len(guess)
            found["accepted"] += right
            found["tokens"] += right + 1
            ids += text[at + 1 : at + 2 + right]
            at += right + 1
    return found


def _no_trial(*_: Any) -> int:
    raise AssertionError("n-grams draw nothing")


def main() -> None:
    """Count, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("row", nargs="?", default=LARGE, help="of bench.passes")
    row = parser.parse_args().row
    passes = {r["name"]: r for r in kept_rows("passes")}
    decode, verify = (passes[f"{row}, {mode}"]["cycles"] for mode in ("decode", "verify"))
    target = Target.load(passes[f"{row}, verify"]["target"])
    data, clock = bundled().tokenizer, target.clock_mhz * 1e6
    assert data is not None
    tokenizer, most = Tokenizer.from_bytes(data), target.machine.undecided
    texts, rows = cases(TEXTS), []
    for kind in KINDS:
        found = counted([case for case in texts if case.kind == kind], tokenizer, most)
        cycles = found["plain"] * decode + found["checked"] * verify
        per_second = found["tokens"] * clock / cycles
        rows.append({"row": row, "kind": kind, **found, "tokens_per_second": per_second})
        print(rows[-1], flush=True)
    if (small := passes.get(f"{SMALL}, decode")) is not None:
        for right in ACCEPTANCES:
            tokens = sum(right**n for n in range(most + 1))
            cycles = verify + most * small["cycles"]
            rows.append({"row": row, "kind": f"130m drafter, {right:g} of its guesses right",
                         "tokens_per_pass": tokens,
                         "tokens_per_second": tokens * clock / cycles})  # fmt: skip
            print(rows[-1], flush=True)
    for each in rows:
        each["commit"] = commit()
    write_results("passes_editing", "python -m bench.passes_editing", rows)


if __name__ == "__main__":
    main()
