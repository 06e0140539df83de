"""Quantize a checkpoint: choose the calibration, run the recipe, write down where it came from."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightmamba.common.errors import InputError
from lightmamba.model.causal_lm import CausalLM
from lightmamba.model.checkpoint import Checkpoint, OpenCheckpoint
from lightmamba.model.data import austen
from lightmamba.model.inputs import read_ids, read_text
from lightmamba.model.qmodel import QuantizedModel, save
from lightmamba.model.tokenizer import Tokenizer
from lightmamba.numerics.windows import window_hashes
from lightmamba.quantization.calibrate import sample_sequences
from lightmamba.quantization.driver import lower_model
from lightmamba.quantization.journal import Journal, begun
from lightmamba.quantization.plan import Plan, available_memory, choose_device, sampling_memory
from lightmamba.quantization.recipe import Recipe
from lightmamba.quantization.work import Work

__all__ = ["Calibration", "FileRun", "quantize_checkpoint"]

SHORTEST = 1024  # tokens
Progress = Callable[[float, float], None]
Origin = dict[str, Any]


@dataclass(frozen=True)
class Calibration:
    """Tokens on which ranges and rounding are measured.

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

    def tokens(
        self, checkpoint: Checkpoint | OpenCheckpoint, seed: int
    ) -> tuple[NDArray[np.int64], str]:
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
                _whole_model(checkpoint, self.sequences, self.seqlen), checkpoint.valid_vocab,
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
    checkpoint: Checkpoint | OpenCheckpoint,
    recipe: Recipe,
    calibration: Calibration | None = None,
    *,
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    progress: Progress | None = None,
) -> QuantizedModel:
    """Quantize ``checkpoint``, which is left as it is, by ``recipe``, in memory.

    Same input, seed, threads and device: same integers.

    Raises
    ------
    InputError
        For unusable calibration, or a device that is not there.
    """
    ids, kind = (calibration or Calibration()).tokens(checkpoint, seed)
    work = _work(checkpoint, ids, seed, device, progress)
    model = lower_model(work, recipe, valid_vocab=checkpoint.valid_vocab, threads=threads)
    return _finished(model, checkpoint, recipe, ids, kind, seed)


def _whole_model(checkpoint: Checkpoint | OpenCheckpoint, sequences: int, seqlen: int) -> CausalLM:
    """The float model in memory, which sampling needs: every token goes through all of it.

    Raises
    ------
    InputError
        If there is not enough memory.
    """
    if isinstance(checkpoint, Checkpoint):
        return checkpoint.model
    need = sampling_memory(checkpoint.config, sequences, seqlen)
    if need > (have := available_memory()):
        raise InputError(
            f"to sample calibration from a model without a tokenizer takes {need / 1e9:.1f} GB of "
            f"memory and {have / 1e9:.1f} GB are free; give --tokenizer FILE or "
            f"--calibration-ids FILE, or lower --sequences"
        )
    return checkpoint.load().model


@dataclass(frozen=True)
class FileRun:
    """Quantization of a checkpoint to a file, with a journal next to it.

    Parameters
    ----------
    checkpoint, recipe, seed, threads, device
        As of :func:`quantize_checkpoint`.
    ids, kind
        What :meth:`Calibration.tokens` gave.
    output
        The file; the journal is the folder ``output.journal``.
    also
        What else the journal must be of, as JSON.
    restart
        Empty a journal of another run, or a damaged one, instead of refusing it.

    Raises
    ------
    InputError
        As :meth:`Recipe.check`.
    """

    checkpoint: Checkpoint | OpenCheckpoint
    recipe: Recipe
    ids: NDArray[np.int64]
    kind: str
    output: Path
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    least: float = 10.0  # seconds of work that are worth writing down
    also: Mapping[str, Any] = field(default_factory=dict)
    restart: bool = False

    def __post_init__(self) -> None:
        self.recipe.check(self.checkpoint.config)

    @property
    def plan(self) -> Plan:
        """Memory, disk and time that the run needs."""
        shape = self.ids.shape[0], self.ids.shape[1]
        return Plan.of(self.checkpoint.config, self.recipe, shape)

    @property
    def folder(self) -> Path:
        """The journal."""
        return self.output.with_name(f"{self.output.name}.journal")

    @property
    def resumed(self) -> bool:
        """Whether the journal has parts of this run.

        Raises
        ------
        InputError
            If the journal is of another run: names what differs.
        """
        return begun(self.folder, self._manifest(choose_device(self.device)))

    def run(self, *, force: bool = False, progress: Progress | None = None) -> Origin:
        """Quantize, write the file, remove the journal; return what the file says of its origin.

        Killed and started again it goes on, and gives the same bytes.

        Raises
        ------
        InputError
            If memory or disk does not suffice, the journal is of another run, a file of the
            checkpoint is gone, or the output cannot be written.
        """
        self.plan.check(self.folder)
        (work, journal), done = self.begin(progress), False
        try:
            model = lower_model(
                work, self.recipe, valid_vocab=self.checkpoint.valid_vocab, threads=self.threads,
                store=journal,
            )  # fmt: skip
            model = _finished(model, self.checkpoint, self.recipe, self.ids, self.kind, self.seed)
            save(model, self.output, force=force)
            done = True
        finally:
            journal.close(remove=done)
        return model.origin

    def begin(self, progress: Progress | None = None) -> tuple[Work, Journal]:
        """The run's state, and its journal, which the caller closes.

        Raises
        ------
        InputError
            As :class:`Journal`.
        """
        work = _work(self.checkpoint, self.ids, self.seed, self.device, progress)
        manifest = self._manifest(work.device)
        return work, Journal(self.folder, manifest, self.least, restart=self.restart)

    def _manifest(self, device: torch.device) -> dict[str, Any]:
        """All that the bytes depend on; a journal with another manifest is refused."""
        return {
            "checkpoint": self.checkpoint.source.hashes,
            "recipe": self.recipe.to_toml(),
            "number of calibration sequences": self.ids.shape[0],
            "length of calibration sequences": self.ids.shape[1],
            "calibration text": hashlib.sha256(self.ids.tobytes()).hexdigest(),
            "tokenizer": hashlib.sha256(self.checkpoint.tokenizer or b"").hexdigest(),
            "seed": self.seed,
            "number of threads": self.threads,
            "torch device": str(device),
            "version of lightmamba": metadata.version("lightmamba"),
            "version of torch": str(torch.__version__),  # a text of its own kind
            "version of numpy": np.__version__,
            **self.also,
        }


def _work(
    checkpoint: Checkpoint | OpenCheckpoint, ids: NDArray[np.int64], seed: int, device: str,
    progress: Progress | None,
) -> Work:  # fmt: skip
    work = Work(checkpoint.weights, ids, seed, device=choose_device(device))
    if progress is not None:
        work.progress = progress
    return work


def _finished(
    model: QuantizedModel, checkpoint: Checkpoint | OpenCheckpoint, recipe: Recipe,
    ids: NDArray[np.int64], kind: str, seed: int,
) -> QuantizedModel:  # fmt: skip
    """The model with its origin, tokenizer and generation config."""
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
