"""Quantize a checkpoint: choose the calibration, run the recipe, write down where it came from."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightmamba.checkpoint import Checkpoint
from lightmamba.data import austen
from lightmamba.errors import InputError
from lightmamba.inputs import read_ids, read_text
from lightmamba.numerics.windows import window_hashes
from lightmamba.qmodel import QuantizedModel
from lightmamba.quantize.calibrate import sample_sequences
from lightmamba.quantize.driver import lower_model
from lightmamba.quantize.recipe import Recipe
from lightmamba.quantize.work import Work
from lightmamba.tokenizer import Tokenizer

__all__ = ["Calibration", "quantize_checkpoint"]

SHORTEST = 1024  # tokens
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Calibration:
    """What the ranges and the rounding are measured on.

    At most one of ``text`` and ``ids`` is given. With neither, the shipped novels are taken, or,
    for a model without a tokenizer, sequences sampled from the model itself.
    """

    text: Path | None = None
    ids: Path | None = None  # whitespace-separated numbers
    sequences: int = 160
    seqlen: int = 512

    def __post_init__(self) -> None:
        if self.text is not None and self.ids is not None:
            raise InputError("give calibration text or calibration ids, not both")
        if self.sequences < 1 or self.seqlen < 32:
            raise InputError("calibration needs at least 1 sequence of at least 32 tokens")

    def tokens(self, checkpoint: Checkpoint, seed: int) -> tuple[NDArray[np.int64], str]:
        """(sequences, seqlen) ids, and a word for the file about where they come from.

        Raises
        ------
        InputError
            If the text needs a tokenizer that is not there, or is too short.
        """
        if self.ids is not None:
            return self._cut(read_ids(self.ids, checkpoint.valid_vocab), str(self.ids)), "ids"
        if checkpoint.tokenizer is None:
            if self.text is not None:
                raise InputError(
                    "this checkpoint has no tokenizer; give one with --tokenizer FILE, or ids with "
                    "--calibration-ids FILE"
                )
            sampled = sample_sequences(
                checkpoint.model, checkpoint.valid_vocab,
                sequences=self.sequences, seqlen=self.seqlen, seed=seed,
            )  # fmt: skip
            return sampled, "sampled from the model"
        text = austen()[0] if self.text is None else read_text(self.text)
        # Short texts are encoded whole, long ones in as many parts as there are sequences.
        tokenizer = Tokenizer.from_bytes(checkpoint.tokenizer)
        wanted = self.sequences * self.seqlen * 16
        if len(text) > 2 * wanted:
            step, part = len(text) // self.sequences, self.seqlen * 16
            pieces = [text[i * step : i * step + part] for i in range(self.sequences)]
            rows = [tokenizer.encode(piece)[: self.seqlen] for piece in pieces]
            if all(len(row) == self.seqlen for row in rows):
                return np.stack(rows), "text"
        where = "the shipped text" if self.text is None else str(self.text)
        return self._cut(tokenizer.encode(text), where), "text"

    def _cut(self, ids: NDArray[np.int64], where: str) -> NDArray[np.int64]:
        """Sequences spread evenly over a text."""
        if len(ids) < SHORTEST:
            raise InputError(
                f"{where} gives {len(ids)} tokens; calibration needs at least {SHORTEST}"
            )
        seqlen = min(self.seqlen, len(ids) // 2)
        count = min(self.sequences, len(ids) // seqlen)
        starts = np.linspace(0, len(ids) - seqlen, count).astype(np.int64)
        return np.stack([ids[s : s + seqlen] for s in starts])


def quantize_checkpoint(
    checkpoint: Checkpoint,
    recipe: Recipe,
    calibration: Calibration | None = None,
    *,
    seed: int = 0,
    threads: int = 1,
    progress: Progress | None = None,
) -> QuantizedModel:
    """Quantize ``checkpoint``, whose model is rewritten in place, by ``recipe``.

    Same input, seed and threads: same integers.

    Raises
    ------
    InputError
        For unusable calibration.
    """
    ids, kind = (calibration or Calibration()).tokens(checkpoint, seed)
    work = Work(checkpoint.weights, ids, seed)
    if progress is not None:
        work.progress = progress
    model = lower_model(work, recipe, valid_vocab=checkpoint.valid_vocab, threads=threads)
    origin = {
        "recipe": recipe.to_toml(),
        "seed": seed,
        "source": asdict(checkpoint.source),
        "calibration": {"kind": kind, "sequences": len(ids), "seqlen": ids.shape[1]},
        **model.origin,
    }
    return replace(
        model,
        origin=origin,
        tokenizer=checkpoint.tokenizer,
        chat_template=checkpoint.chat_template,
        generation_config=checkpoint.generation_config,
        special_ids=checkpoint.special_ids,
        calibration_windows=window_hashes(ids),
    )
