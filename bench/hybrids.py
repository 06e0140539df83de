"""Hybrids of published sizes on the targets, by the performance model.

    python -m bench.hybrids

W4A4, the LM head included, behind 1,024 and 8,192 positions; of targets of several tokens, a prompt
behind 4,096 positions, and a batch behind 1,024. Whole simulated tokens are rows of `bench.full`.
"""

import time
from typing import Any

from bench.stored import keep
from lightmamba.arch.target import Target
from lightmamba.common.errors import InputError
from lightmamba.hardware.estimate import estimate
from lightmamba.model.config import HYBRIDS
from lightmamba.numerics.model_formats import Formats

DECODE, PROMPT, BATCH = (1024, 8192), 4096, 1024  # positions
ONE = ("u280-hybrid", "u280", "u55c", "vck190", "kv260")
SEVERAL = {"u280-t4": "prefill", "u280-batch4": "batch", "kv260-t4": "prefill"}


def cases() -> list[tuple[str, str, str, int]]:
    """Shape, target, kind of pass, positions."""
    found = [(shape, target, "decode", n) for shape in HYBRIDS for target in ONE for n in DECODE]
    at = {"prefill": PROMPT, "batch": BATCH}
    found += [(s, target, mode, at[mode]) for s in HYBRIDS for target, mode in SEVERAL.items()]
    return found


def measure(shape: str, target: str, mode: str, context: int) -> dict[str, Any]:
    """One row; where the target does not hold the model, why."""
    row: dict[str, Any] = {"shape": shape, "target": target, "pass": mode, "context": context}
    start = time.perf_counter()
    try:
        found = estimate(HYBRIDS[shape], Formats(), Target.load(target), context=context)
    except InputError as error:
        return row | {"refused": str(error)}
    one = found.mode(mode)
    return row | {
        "tokens_per_second": one.tokens_per_second, "cycles": one.cycles, "bound": one.bound,
        "bound_cycles": one.bound_cycles, "attention_cycles": one.unit_cycles["attention"],
        "stalls": dict(one.stalls), "lut": one.total.lut, "dsp": one.total.dsp,
        "seconds": time.perf_counter() - start,
    }  # fmt: skip


def main() -> None:
    keep("hybrids", *(measure(*case) for case in cases()), stay=lambda _: False)


if __name__ == "__main__":
    main()
