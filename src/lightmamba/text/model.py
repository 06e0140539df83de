"""A quantized model with what its checkpoint came with, and what runs it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import InputError
from lightmamba.common.speed import Speed
from lightmamba.device.host.devices import check_speculation
from lightmamba.engine import Engine
from lightmamba.hardware.compiler import open_model, read_build
from lightmamba.hardware.machine.artifact import MANIFEST, Artifact
from lightmamba.model.data import bundled_file
from lightmamba.model.qmodel import QuantizedModel, load, save
from lightmamba.model.tokenizer import Tokenizer, check_vocab
from lightmamba.text.chat import render_chat, special_ids, special_words
from lightmamba.text.continuation import Decoder, Step
from lightmamba.text.defaults import OPTIONS, sampling_options
from lightmamba.text.drafting import PiecewiseDrafter, drafter_of
from lightmamba.text.generation import generate
from lightmamba.text.greedy import speed_of

__all__ = ["Model"]


@dataclass(frozen=True)
class Model:
    """A quantized model that generates text on the CPU, in exact integers.

    Parameters
    ----------
    quantized : QuantizedModel
        Integers and tables, as in its file.
    threads : int
        CPU threads of the engine.
    source : Path or None
        Its file, if it has one.
    artifact : Artifact or None
        The build that it was read from, which a device can run.
    name : str
        What errors call it.
    """

    quantized: QuantizedModel = field(repr=False)
    threads: int = 1
    source: Path | None = None
    artifact: Artifact | None = field(default=None, repr=False)
    name: str = "the model"

    @staticmethod
    def read(path: Path, device: str = "engine", *, threads: int = 1, name: str = "") -> "Model":
        """Open a quantized file or a build.

        Parameters
        ----------
        path
            The file, or the folder of the build.
        device
            What is to run it; all but the engine need a build.
        threads, name
            As above; by default it is called by its path.

        Raises
        ------
        InputError
            If it is neither, is damaged, or is a file where a device needs a build.
        """
        if device != "engine" or (path / MANIFEST).is_file():
            artifact = read_build(path)
            file = artifact.model.get("file")
            source = None if file is None else path / str(file)
            return Model(open_model(artifact), threads, source, artifact, name or str(path))
        if path.is_dir():
            raise InputError(
                f"{path} is a folder, not a quantized file; "
                f"make one with: lightmamba quantize {path} -o m.safetensors"
            )
        return Model(load(path), threads, path, None, name or str(path))

    @cached_property
    def engine(self) -> Engine:
        """The integer engine that runs the model."""
        return Engine(self.quantized, threads=self.threads)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of its checkpoint.

        Raises
        ------
        InputError
            If there is none, or it is of another vocabulary.
        """
        if self.artifact is not None and self.artifact.model.get("kind") == "random":
            raise InputError(
                f"{self.name} was compiled from a shape, so it has random weights and no "
                f"tokenizer; give a build of a quantized file, or try: lightmamba simulate "
                f'{self.name} --prompt-ids "1 2 3"'
            )
        if self.quantized.tokenizer is None:
            then = "" if self.artifact is None else ", and compile that"
            raise InputError(
                f"{self.name} has no tokenizer, so text cannot be read; quantize its checkpoint "
                f"again with --tokenizer FILE, a tokenizer.json{then}"
            )
        tokenizer = Tokenizer.from_bytes(self.quantized.tokenizer)
        check_vocab(tokenizer, self.quantized.valid_vocab)
        return tokenizer

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """End-of-text ids that the model can sample."""
        ends = special_ids(self.quantized.special_ids, "eos")
        return tuple(token for token in ends if token < self.quantized.valid_vocab)

    def chat_text(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Text of a chat, up to where the model's answer begins.

        Raises
        ------
        InputError
            If the model has no chat template, or the template refuses the messages.
        """
        template = self.quantized.chat_template
        if template is None:
            raise InputError(
                f"{self.name} has no chat template, so it is not a chat model; "
                f"try: lightmamba generate {self.name} --prompt TEXT"
            )
        words = special_words(self.quantized.special_ids, self.tokenizer)
        return render_chat(template, messages, special_tokens=words)

    def chat_ids(self, messages: Sequence[Mapping[str, str]]) -> NDArray[np.int64]:
        """Ids of a chat's text, whose special words are one id each."""
        return self.tokenizer.encode(self.chat_text(messages), add_special_tokens=False)

    def drafter(
        self, name: str | None, device: str = "engine"
    ) -> Callable[[], PiecewiseDrafter] | None:
        """Factory of drafters for texts of this model; None without a name.

        Parameters
        ----------
        name
            "ngram", or a smaller model's file.
        device
            What runs the model.

        Raises
        ------
        InputError
            If the device takes one token in a pass, or the smaller model does not fit.
        """
        if name is None:
            return None
        if self.artifact is not None:
            check_speculation(device, self.artifact)
        return drafter_of(bundled_file(name), self.quantized, self.threads)

    def steps(
        self,
        ids: Sequence[int] | NDArray[np.int64],
        decoder: Decoder | None = None,
        **options: Any,
    ) -> Iterator[Step]:
        """Tokens after a prompt, with their text; ``options`` as of ``lightmamba.text.generate``.

        ``decoder`` is a device that runs the model; by default the engine does.
        """
        return generate(
            decoder or self.engine, ids, stop_ids=self.stop_ids, tokenizer=self.tokenizer, **options
        )

    def stream(
        self, prompt: str | Sequence[int], *, max_tokens: int = 100, stop: tuple[str, ...] = (),
        seed: int = 0, **sampling: Any,
    ) -> Iterator[str]:  # fmt: skip
        """Pieces of text as they are generated; arguments as of ``lightmamba.generate``."""
        if unknown := sorted(set(sampling) - set(OPTIONS)):
            raise TypeError(f"there is no option {unknown[0]}; sampling has {', '.join(OPTIONS)}")
        ids = self.tokenizer.encode(prompt) if isinstance(prompt, str) else np.asarray(prompt)
        options, _ = sampling_options(self.quantized.generation_config, seed=seed, **sampling)
        for step in self.steps(ids, max_tokens=max_tokens, sampling=options, stop_strings=stop):
            yield step.text

    def speed(self, *, prompt: int = 512, tokens: int = 128, repeats: int = 5) -> Speed:
        """Tokens per second of a prompt and of generation, as ``lightmamba bench`` measures them.

        Parameters
        ----------
        prompt, tokens
            Tokens of the prompt, and tokens to generate.
        repeats
            Measurements, after one that does not count.

        Raises
        ------
        InputError
            If one of them is below 1.
        """
        return speed_of(self.engine, prompt=prompt, tokens=tokens, repeats=repeats)

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the model to a file.

        Raises
        ------
        InputError
            If the file exists and ``force`` is not given, or cannot be written.
        """
        save(self.quantized, Path(path), force=force)
