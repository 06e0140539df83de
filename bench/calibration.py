"""Accuracy of the bundled model by number of calibration tokens, on the whole unseen text.

python -m bench.calibration                     # w4a4 with 4 k, 16 k and 82 k tokens
python -m bench.calibration --only w4a8 --sequences 32
"""

import argparse
import time
from typing import Any

import torch

from bench.accuracy import compared
from bench.common import bundled
from bench.stored import keep
from lightmamba.quantization import Calibration, Recipe, quantize_checkpoint

SEQUENCES = (8, 32, 160)  # of 512 tokens


def measure(width: str, sequences: int, tokens: int | None, threads: int) -> dict[str, Any]:
    """Quantize with a number of sequences and compare with the float model."""
    start = time.perf_counter()
    quantized = quantize_checkpoint(
        bundled(), Recipe.load(width), Calibration(sequences=sequences), threads=threads
    )
    seconds = time.perf_counter() - start
    return {
        "model": "bundled", "width": width, "sequences": sequences,
        "calibration_tokens": sequences * 512, **compared(quantized, tokens, threads),
        "seconds_to_quantize": seconds,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="what calibration tokens buy")
    parser.add_argument("--only", nargs="*", default=("w4a4",), help="recipes")
    parser.add_argument("--sequences", nargs="*", type=int, default=SEQUENCES)
    parser.add_argument("--tokens", type=int, help="of the unseen text (all)")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for width in args.only:
        for sequences in args.sequences:
            row = measure(width, sequences, args.tokens, args.threads)
            print(
                f"{width} {row['calibration_tokens']:6} tokens  {row['ratio']:.4f} x ± "
                f"{row['ratio_standard_error']:.4f}  KL {row['kl']:.4f} ± "
                f"{row['kl_standard_error']:.4f}  {row['seconds_to_quantize']:.0f} s",
                flush=True,
            )
            keep("calibration", row)


if __name__ == "__main__":
    main()
