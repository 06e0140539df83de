"""Sources of a plan, found and hashed: checkpoints, texts, tasks, recipes, targets."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from lightmamba.arch.target import Target
from lightmamba.common.errors import InputError, installing
from lightmamba.evaluate.harness import TASK_FILE, check_task
from lightmamba.evaluate.tasks import read_rows
from lightmamba.model.checkpoint.files import sha256
from lightmamba.model.checkpoint.hub import local_copy
from lightmamba.model.checkpoint.layouts import read_config
from lightmamba.model.checkpoint.tensors import find_weights
from lightmamba.model.config import PUBLISHED
from lightmamba.model.data import (
    SHIPPED,
    demo_checkpoint,
    experts_checkpoint,
    heldout,
    hybrid_checkpoint,
)
from lightmamba.model.inputs import read_text
from lightmamba.quantization import Recipe
from lightmamba.study.sweep.job import FLOAT, Machine, Model, Task, Text

__all__ = ["Entry", "Sources"]

# Checkpoints that the project ships, by name.
BUNDLED = {
    "demo": demo_checkpoint, "bundled": demo_checkpoint, "bundled-hybrid": hybrid_checkpoint,
    "bundled-experts": experts_checkpoint,
}  # fmt: skip
METRICS = {  # of files, by the kind of their rows
    "last words": ("acc", "perplexity"),
    "choices": ("acc", "acc_norm", "acc_bytes"),
    "questions": ("exact_match",),
}
OPTIONAL = ("tokenizer_config.json", "generation_config.json")  # read with a checkpoint, if there


@dataclass(frozen=True)
class Entry:
    """One thing of a plan: where it is found, its name in the tables, and its options."""

    place: str
    name: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sources:
    """Finds the entries of a plan; each method raises InputError if there is no such thing.

    Parameters
    ----------
    folder
        Relative places are relative to it.
    """

    folder: Path

    def path(self, place: str) -> Path:
        """The path that a place is, if it is one."""
        return self.folder / Path(place).expanduser()

    def model(self, entry: Entry) -> Model:
        """A checkpoint of a folder or hub id, the bundled one, or a shape."""
        place, local = entry.place, self.path(entry.place)
        revision, tokenizer = entry.options.get("revision"), entry.options.get("tokenizer")
        if place in PUBLISHED and place not in BUNDLED and not local.exists():
            if tokenizer or revision:
                raise InputError(
                    f"{place} is a shape without weights; it has no tokenizer or revision"
                )
            return Model(entry.name or place, None, PUBLISHED[place])
        if place in BUNDLED and not local.exists():
            copy = local_copy(BUNDLED[place]())
        else:
            copy = local_copy(local if local.exists() or place.count("/") != 1 else place, revision)
        own = copy.folder / "tokenizer.json"
        given = None if tokenizer is None else self.path(tokenizer)
        files = {"config.json": copy.folder / "config.json"}
        written = read_config(files["config.json"])
        files |= {path.name: path for path in find_weights(copy.folder).files}
        files |= {n: copy.folder / n for n in OPTIONAL if (copy.folder / n).is_file()}
        if given is not None or own.is_file():
            files["tokenizer.json"] = given or own
        return Model(
            name=entry.name or place.rstrip("/").rpartition("/")[2],
            place=str(copy.folder.resolve()) if copy.revision is None else place,
            config=written.published.config,
            revision=copy.revision,
            tokenizer=None if given is None else str(given.resolve()),
            hashes=tuple(sorted((n, sha256(path)) for n, path in files.items())),
        )

    def recipe(self, entry: Entry) -> Recipe | None:
        """A shipped recipe, one of a TOML file, or None for the float checkpoint."""
        if entry.place == FLOAT:
            return None
        path = self.path(entry.place)
        found = Recipe.load(str(path) if path.is_file() else entry.place)
        return replace(found, name=entry.name or found.name)

    def text(self, entry: Entry, **more: Any) -> Text:
        """A text of a file, or the held-out part of the shipped novels."""
        path, options = self.path(entry.place), more | dict(entry.options)
        if entry.place == SHIPPED and not path.exists():
            digest = hashlib.sha256(heldout().encode()).hexdigest()
            return Text(entry.name or "shipped novels", None, digest, **options)
        read_text(path)
        return Text(entry.name or path.stem, str(path.resolve()), sha256(path), **options)

    def task(self, entry: Entry, rows: int | None) -> Task:
        """A task of a ``.jsonl`` file, or of lm-eval by its name."""
        place, rows = entry.place, entry.options.get("rows", rows)
        if place.endswith(".jsonl"):
            path = self.path(place)
            known = METRICS[read_rows(path, 1)[0].kind]
            metric = entry.options.get("metric", known[0])
            if metric not in known:
                raise InputError(f"{place} has no metric {metric!r}; it has {', '.join(known)}")
            return Task(entry.name or path.stem, str(path.resolve()), sha256(path), metric, rows)
        if Path(place).suffix in TASK_FILE:
            raise InputError(
                f"{place} may include files that a sweep cannot hash; give the rows of the task as "
                f"a .jsonl file"
            )
        try:
            version = metadata.version("lm-eval")
        except metadata.PackageNotFoundError as error:
            raise InputError(
                f"{place} is no .jsonl file, and lm-eval, which runs tasks by name, is not "
                f"installed; install it with: {installing('evaluation')}"
            ) from error
        check_task(place)
        if entry.name not in (None, place):
            raise InputError(f"a task of lm-eval keeps its name; leave out name = {entry.name!r}")
        return Task(place, None, version, entry.options.get("metric", "acc"), rows)

    def machine(self, entry: Entry) -> Machine:
        """A shipped target, or one of a TOML file."""
        path = self.path(entry.place)
        target = Target.load(str(path) if path.is_file() else entry.place)
        return Machine(entry.name or target.name, target)
