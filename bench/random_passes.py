"""Tokens of bundled models in passes of random composition, in the RTL of small machines.

    python -m bench.random_passes [TARGET ...] [--tokens 2000]
    python -m bench.random_passes tiny-hybrid --tokens 10000

Chunks, batches, drafts accepted in part, mixed and ragged passes of four sequences, some of which
start over, with memory that stalls at random; now and then the state of one is saved and becomes
that of another. Before each pass a damaged state is refused. A machine of one token per pass gets
tokens of the sequences in random order. A target of a hybrid runs the bundled hybrid. Every
observable of every token, every counter of losses of every token, logits in memory and arg-max are
compared with the engine, which runs each token by itself. The results file keeps the targets that
are not named.
"""

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from tests.sim.passes import damaged, random_passes

from bench.identity import simulated
from bench.stored import Row, keep
from lightmamba.arch.target import Target
from lightmamba.common.errors import InputError
from lightmamba.device.host.device_state import DeviceState
from lightmamba.device.sim import open_twin
from lightmamba.hardware.compiler import build
from lightmamba.model.data import demo_file, hybrid_file
from lightmamba.model.qmodel import load

SEQUENCES, STALLS, TARGETS = 4, 0.2, ("tiny", "tiny-t4")
HYBRID = "tiny-hybrid"
COPIES = 0.05  # probability that a state is copied behind a pass
# Of hybrids: sequences restart less often, so that they reach many pages of keys and values.
CONTEXT, RESTART = 192, 0.004


def identity(row: Row) -> str:
    """Hash of what a row measured."""
    hybrid = row["target"] == HYBRID
    return simulated(
        hybrid_file() if hybrid else demo_file(),
        Target.load(row["target"]),
        context=CONTEXT if hybrid else None,
        run=[row["seed"], row["passes"], STALLS, SEQUENCES, COPIES, RESTART],
    )


def run(target: str, tokens: int, seed: int) -> dict[str, Any]:
    """Feed at least ``tokens`` tokens to a target and count them; exit at the first difference."""
    seen, lost, cycles, start = Counter[str](), Counter[str](), 0, time.perf_counter()
    hybrid, rng, copied = target == HYBRID, np.random.default_rng(seed + 1), list[tuple[int, int]]()
    saved: DeviceState | None = None
    model = load(hybrid_file() if hybrid else demo_file())
    with tempfile.TemporaryDirectory() as folder:
        path = build(model, Target.load(target), Path(folder) / "build",
                     context=CONTEXT if hybrid else None).path  # fmt: skip
        opened = open_twin(path, stalls=STALLS, seed=seed, sequences=SEQUENCES)
        twin = opened.twin
        work = random_passes(
            np.random.default_rng(seed), tokens=twin.arch.tokens, sequences=SEQUENCES,
            undecided=twin.arch.undecided, vocab=model.valid_vocab, needs=opened.device.needs,
            copied=copied, restart=RESTART if hybrid else 0.05, context=CONTEXT,
        )  # fmt: skip
        while seen["tokens"] < tokens:
            if saved is not None:
                try:
                    wrong, _ = damaged(rng, saved)
                    opened.device.restore_state(wrong, int(rng.integers(SEQUENCES)))
                except InputError:
                    seen["states refused"] += 1
                else:
                    raise SystemExit(f"{target}, pass {seen['passes']}: a damaged state was taken")
            each = next(work)
            step = twin.step(each)
            if step.difference is not None:
                raise SystemExit(f"{target}, pass {seen['passes']}, {each}: {step.difference}")
            seen["passes"] += 1
            seen["tokens"] += each.tokens
            seen[f"of {len(each.slots)} sequences"] += 1
            for slot in each.slots:
                seen["begun"] += slot.fresh
                seen["left undecided"] += len(slot.tokens) - slot.committed
                seen[f"accepted {slot.replay}"] += slot.replay > 0
            lost.update(step.lost)
            seen["longest"] = max(seen["longest"], *(s.position for s in opened.device.sequences))
            if rng.random() < COPIES:
                one, other = map(int, rng.choice(sorted(twin.sequences), 2))
                saved = opened.device.save_state(one)
                opened.device.restore_state(saved, other)
                for place in (one, other):  # undecided tokens of both are given up
                    twin.sequences[place] = twin.sequences[one].fork()
                copied.append((one, other))
                seen["states copied"] += 1
            cycles += step.cycles
            if seen["passes"] % 50 == 0:
                print(
                    f"{target}: {seen['passes']} passes, {seen['tokens']:,} tokens equal",
                    flush=True,
                )
        opened.device.close()
    return {
        "target": target, "stalls": STALLS, "seed": seed, **seen, "lost": dict(lost),
        "cycles": cycles, "seconds": time.perf_counter() - start,
    }  # fmt: skip


def main() -> None:
    """Run the targets named, or both, and write what was run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("target", nargs="*", default=TARGETS)
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=14)
    args = parser.parse_args()
    for target in args.target:
        found = run(target, args.tokens, args.seed)
        print(found)
        keep("random_passes", found)


if __name__ == "__main__":
    main()
