"""Subjects of the fuzzer: where good input comes from, how it is damaged, and how it is opened."""

import hashlib
import json
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from importlib import resources
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np

from lightmamba.arch.target import Target, target_names
from lightmamba.common.errors import InputError, shown
from lightmamba.device.sim.simulator import from_target
from lightmamba.engine import Engine
from lightmamba.hardware.compiler import build, open_model, plan, read_build
from lightmamba.hardware.compiler.memory import Memory
from lightmamba.hardware.machine.artifact import MANIFEST, MODEL
from lightmamba.hardware.machine.manifest import seal
from lightmamba.model.checkpoint import load_checkpoint
from lightmamba.model.config import SHAPES
from lightmamba.model.qmodel import load, load_sizes, to_bytes
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.sampling import Sampler
from lightmamba.numerics.sampling_options import SamplingOptions
from lightmamba.quantization import Recipe, recipe_names
from lightmamba.text import render_chat
from tests.fuzz.mutate import (
    MISSING,
    damage,
    json_text,
    mutate_bytes,
    mutate_text,
    mutate_tree,
    single_faults,
    with_fault,
)
from tests.golden.tiny import FILE
from tests.qmodel.surgery import sealed
from tests.support.builders import made_up, random_model, sizes
from tests.support.chats import CHATS, TEMPLATES
from tests.support.checkpoints import WORDED, write_state_spaces

__all__ = ["SUBJECTS", "Subject", "attempt", "mutant"]

DTYPES = ("BF16", "F16", "U16", "I8", "F8_E5M2", "F8_E4M3", "BOOL")
SMALL = sizes(n_layer=1, vocab_size=19)


class Subject(ABC):
    """One kind of input, in a folder of its own.

    ``faults`` are known single ones, tried one after the other by every second mutant; the others
    are damaged at random.
    """

    name: ClassVar[str]
    path: Path

    def __init__(self, folder: Path) -> None:
        self.folder = folder / self.name
        self.folder.mkdir()
        self.faults: list[Any] = []
        self.orders: dict[int, list[int]] = {}  # of the faults, by seed

    def fault(self, seed: int, index: int) -> Any:
        """The fault of this number; every seed has an order of its own."""
        if seed not in self.orders:
            count = len(self.faults)
            self.orders[seed] = Random(f"{seed}/{self.name}").sample(range(count), count)
        return self.faults[self.orders[seed][index % len(self.faults)]]

    def names(self, fault: Any, sentence: str) -> bool:
        """Whether a sentence that refuses this fault names the field and the value, if it can."""
        return True

    def plant(self, fault: Any) -> None:
        """Write the mutant with this fault in place of the last one."""
        raise NotImplementedError  # of those without faults

    @abstractmethod
    def damage(self, rng: Random) -> None:
        """Write a mutant in place of the last one."""

    @abstractmethod
    def open(self) -> None:
        """Open what is there, as the command line would, and look at all of it."""


class Model(Subject):
    """A quantized model file: bytes, the header of safetensors, and the metadata in it."""

    name = "models"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.data, self.path = FILE.read_bytes(), self.folder / "m.safetensors"
        (length,) = struct.unpack("<Q", self.data[:8])
        self.header, self.body = json.loads(self.data[8 : 8 + length]), self.data[8 + length :]
        self.metadata = json.loads(self.header["__metadata__"]["lightmamba"])
        self.own = self.metadata["sha256"]
        names = [name for name in self.header if name != "__metadata__"]
        self.faults = [(None, fault) for fault in single_faults(self.metadata)]
        self.faults += [(name, dtype) for name in names for dtype in DTYPES]

    def plant(self, fault: Any) -> None:
        header: Any = dict(self.header)
        match fault:
            case (None, (path, value)):
                text = json.dumps(with_fault(self.metadata, path, value))
                header["__metadata__"] = {"lightmamba": text}
            case (name, dtype):
                header[name] = header[name] | {"dtype": dtype}
        self._write(header)

    def names(self, fault: Any, sentence: str) -> bool:
        match fault:
            case (None, (path, value)):
                field = next(key for key in reversed(path) if isinstance(key, str))
                if value != value:
                    return "NaN is no number" in sentence
                if field in sentence:
                    return any(text in sentence for text in _texts(value))
                last = field.rpartition("_")[2].removesuffix("s")  # activation bits, a layer
                return any(x in sentence for x in (last, "hash of its contents", ", expected "))
        return fault[0] in sentence or "damaged" in sentence

    def _write(self, header: Any) -> None:
        text = json_text(header)
        whole = struct.pack("<Q", len(text)) + text + self.body
        self.path.write_bytes(sealed(whole, self.own))  # or its hash alone would refuse it

    def damage(self, rng: Random) -> None:
        kind = rng.randrange(10)
        if kind == 0:
            data = mutate_bytes(rng, self.data)
            self.path.write_bytes(sealed(data, self.own) if rng.random() < 0.8 else data)
            return
        header: Any = dict(self.header)
        if kind < 7:
            metadata: Any = self.metadata
            for _ in range(rng.choice((1, 1, 1, 2, 4))):
                metadata = mutate_tree(rng, metadata)
            header["__metadata__"] = {"lightmamba": json.dumps(metadata)}
        else:
            header = mutate_tree(rng, header)
        self._write(header)

    def open(self) -> None:
        load_sizes(self.path)
        model = load(self.path)
        to_bytes(model)
        Sampler(SamplingOptions(), model.logit_exp, model.valid_vocab)
        ids = np.arange(4)[None] % model.config.vocab_size
        fast, plain = (Engine(model, compiled=each) for each in (True, False))
        found, wanted = (e.forward(ids, e.empty_state(1))[0] for e in (fast, plain))
        assert np.array_equal(found, wanted), "the kernels write other logits than numpy"


def _texts(value: Any) -> Iterator[str]:
    """Ways in which a sentence may show a value; of what is missing, or of a table, any way."""
    if value is MISSING or isinstance(value, dict | list):
        yield ""
    else:
        yield from (shown(value)[:30], str(value)[:30])
        if isinstance(value, int | float) and abs(value) < 1 << 65:
            yield repr(float(value))


def sealed_text(manifest: Any) -> bytes:
    """A manifest as bytes, with the hash of its entries where it still has one."""
    if isinstance(manifest, dict) and isinstance(manifest.get("sha256"), str):
        manifest = {**manifest, "sha256": seal(manifest)}
    return json_text(manifest)


class Build(Subject):
    """A build directory: its manifest, and the bytes of its files, with true hashes or not."""

    name = "builds"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.good = [self.folder / "random", self.folder / "kept"]
        for path, lazy in zip(self.good, (True, False), strict=True):
            build(random_model(SMALL, lazy=lazy), made_up(lanes=1), path)
        self.path = self.good[0]
        self.whole: dict[Path, bytes] = {}  # what the last damage replaced
        for path in self.good:
            self.faults += [(path, f) for f in single_faults(self._manifest(path))]

    @staticmethod
    def _manifest(path: Path) -> Any:
        return json.loads((path / MANIFEST).read_bytes())

    def restore(self) -> None:
        """Undo the last damage."""
        for path, data in self.whole.items():
            path.write_bytes(data)
        self.whole.clear()

    def plant(self, fault: Any) -> None:
        self.restore()
        self.path, (path, value) = fault
        self.write(MANIFEST, sealed_text(with_fault(self._manifest(self.path), path, value)))

    def write(self, name: str, data: bytes) -> None:
        """Replace a file until the next damage."""
        path = self.path / name
        self.whole[path] = path.read_bytes()
        path.write_bytes(data)

    def damage(self, rng: Random) -> None:
        self.restore()
        self.path = rng.choice(self.good)
        text = (self.path / MANIFEST).read_bytes()
        manifest, kind = json.loads(text), rng.randrange(10)
        if kind == 0:
            self.write(MANIFEST, mutate_bytes(rng, text))
            return
        if kind < 4:
            name = rng.choice(["program.bin", *manifest["files"]])
            if name == MODEL and rng.random() < 0.5:
                name = "program.bin"
            self.write(name, data := mutate_bytes(rng, (self.path / name).read_bytes()))
            if rng.random() < 0.8:  # whoever made it has told the truth of it
                digest = hashlib.sha256(data).hexdigest()
                manifest["files"][name] = {"bytes": len(data), "sha256": digest}
                for region in manifest["regions"]:
                    if region["file"] == name:
                        region["bytes"] = len(data)
        else:
            for _ in range(rng.choice((1, 1, 1, 2, 4))):
                manifest = mutate_tree(rng, manifest)
        self.write(MANIFEST, sealed_text(manifest))

    def open(self) -> None:
        artifact = read_build(self.path)
        assert all((self.path / name).resolve().is_relative_to(self.path.resolve())
                   for name in artifact.files)  # fmt: skip
        artifact.program()
        open_model(artifact)
        from_target(artifact.target.channels, artifact.target.clock_mhz)
        for region in artifact.regions:
            artifact.image(region)


class Text(Subject):
    """A text in TOML."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = self.folder / "x.toml"

    @property
    @abstractmethod
    def good(self) -> list[str]:
        """The bytes to damage."""

    def damage(self, rng: Random) -> None:
        text = rng.choice(self.good)

        def change(rng: Random) -> None:
            nonlocal text
            text = mutate_text(rng, text)

        damage(rng, change)
        data = text.encode()
        self.path.write_bytes(mutate_bytes(rng, data) if rng.random() < 0.1 else data)


class Targets(Text):
    """A target, planned for the bundled model's shape and paced."""

    name = "targets"

    @property
    def good(self) -> list[str]:
        folder = resources.files("lightmamba.arch") / "targets"
        return [(folder / f"{name}.toml").read_text(encoding="utf-8") for name in target_names()]

    def open(self) -> None:
        target = Target.load(str(self.path))
        assert Target.from_dict(target.to_dict()) == target
        from_target(target.channels, target.clock_mhz)
        config, formats = SHAPES["demo"], Formats()
        memory = Memory(config, formats, plan(config, formats, target), target)
        memory.registers(memory.regions())


class Recipes(Text):
    """A recipe, written and read again."""

    name = "recipes"

    @property
    def good(self) -> list[str]:
        folder = resources.files("lightmamba.quantization") / "recipes"
        return [(folder / f"{name}.toml").read_text(encoding="utf-8") for name in recipe_names()]

    def open(self) -> None:
        recipe = Recipe.load(str(self.path))
        assert Recipe.parse(recipe.to_toml(), "again") == recipe


class Checkpoints(Subject):
    """A checkpoint's folder: config, weights and tokenizer."""

    name = "checkpoints"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = self.folder / "c"
        write_state_spaces(self.path, WORDED, pickled=False, tokenizer=True)
        self.whole = {path: path.read_bytes() for path in self.path.iterdir()}
        (self.weights,) = (path for path in self.whole if path.suffix == ".safetensors")
        config = json.loads(self.whole[self.path / "config.json"])
        self.faults = single_faults(config)

    def plant(self, fault: Any) -> None:
        self._tree("config.json", lambda tree: with_fault(tree, *fault))

    def damage(self, rng: Random) -> None:
        kind = rng.randrange(10)
        if kind < 4:
            self._tree(rng.choice(("config.json", "tokenizer.json")), partial(mutate_tree, rng))
        elif kind < 6:
            path = rng.choice(list(self.whole))
            self._write(path, mutate_bytes(rng, self.whole[path]))
        else:
            data = self.whole[self.weights]
            (length,) = struct.unpack("<Q", data[:8])
            text = json_text(mutate_tree(rng, json.loads(data[8 : 8 + length])))
            self._write(self.weights, struct.pack("<Q", len(text)) + text + data[8 + length :])

    def _tree(self, name: str, change: Callable[[Any], Any]) -> None:
        path = self.path / name
        self._write(path, json_text(change(json.loads(self.whole[path]))))

    def _write(self, path: Path, data: bytes) -> None:
        """Replace one file; the others are whole again."""
        for other, content in self.whole.items():
            other.write_bytes(data if other == path else content)

    def open(self) -> None:
        load_checkpoint(self.path)


class Templates(Text):
    """A chat template, which renders two chats."""

    name = "templates"

    @property
    def good(self) -> list[str]:
        return list(TEMPLATES.values())

    def open(self) -> None:
        template = self.path.read_bytes().decode(errors="replace")
        for messages in CHATS.values():
            render_chat(template, messages, special_tokens={"bos_token": "<s>"})


SUBJECTS = {kind.name: kind for kind in (Model, Build, Targets, Recipes, Checkpoints, Templates)}


def mutant(subject: Subject, seed: int, index: int) -> None:
    """Write one mutant; the same numbers give the same one."""
    if subject.faults and index % 2 == 0:
        subject.plant(subject.fault(seed, index // 2))
    else:
        subject.damage(Random(f"{seed}/{subject.name}/{index}"))


def attempt(subject: Subject) -> str | None:
    """Open a mutant: None if it loads, else the sentence that refuses it.

    Raises
    ------
    AssertionError
        If that is no one sentence.
    Exception
        Whatever else it raises is a fault of the program.
    """
    try:
        subject.open()
    except InputError as error:
        text = str(error)
        assert text.strip(), "an empty sentence"
        assert "\n" not in text, f"more than a line: {text!r}"
        assert text.isprintable(), f"control characters: {text!r}"
        assert len(text) <= 1500, f"a sentence too long: {text[:200]!r}…"
        return text
    return None
