"""Hub ids in the place of a quantized file: quantized once, and cached."""

from importlib import metadata
from pathlib import Path

from lightmamba.cli.models import SUFFIXES
from lightmamba.cli.show import note, progress
from lightmamba.common.errors import InputError
from lightmamba.common.locks import held
from lightmamba.common.tools import cache_folder
from lightmamba.model.data import bundled_file
from lightmamba.model.inputs import HUB_ID

__all__ = ["CACHE", "RECIPE", "quantized_file"]

CACHE = "quantized"  # folder of the user's cache
RECIPE = "w4a4"


def quantized_file(name: str, threads: int, device: str = "engine") -> str:
    """Path of the quantized file or build that ``name`` means.

    A path stays as it is, and "bundled" is what the package ships. A hub id is downloaded and
    quantized by :data:`RECIPE`, the first time; another recipe takes ``lightmamba quantize``.

    Raises
    ------
    InputError
        If there is no such model, it cannot be quantized, or a device is to run it.
    """
    own = bundled_file(name)
    if own != name or Path(name).exists() or not _is_hub_id(name):
        return own

    if device != "engine":
        raise InputError(
            f"{name} is not a build, and a device runs builds; quantize and compile it, or leave "
            f"--device out"
        )
    folder, version = cache_folder(CACHE), metadata.version("lightmamba")
    plain = f"{name.replace('/', '--')}-"
    commit = _newest_commit(name)
    if commit is None:  # without the network: what was quantized last
        known = sorted(folder.glob(f"{plain}*-{RECIPE}-{version}.safetensors"),
                       key=lambda file: file.stat().st_mtime)  # fmt: skip
        if known:
            return str(known[-1])
    file = folder / f"{plain}{(commit or 'local')[:12]}-{RECIPE}-{version}.safetensors"
    if not file.exists():
        _quantize(name, commit, file, threads)
    file.with_suffix(".used").touch()  # of the file itself a changed time means a changed file
    return str(file)


def _is_hub_id(name: str) -> bool:
    """Whether a name without a file looks like one: two words, and no file's suffix."""
    return HUB_ID.fullmatch(name) is not None and Path(name).suffix not in SUFFIXES


def _newest_commit(name: str) -> str | None:
    """Commit of a model's main branch; None if the hub does not say."""
    try:
        from huggingface_hub import HfApi

        commit: str | None = HfApi().model_info(name, timeout=10).sha
    except Exception:  # what is wrong is said when the checkpoint is opened
        return None
    return commit


def _quantize(name: str, commit: str | None, file: Path, threads: int) -> None:
    """Quantize a model of the hub into the cache; a second process waits, and finds it there."""
    from lightmamba.facade import quantize

    with held(file.with_suffix(".lock")):
        if file.exists():
            return
        _download(name, commit)
        note(
            f"{name} is quantized with {RECIPE}, once, and cached; if interrupted, the same "
            f"command resumes"
        )
        with progress(f"quantizing by {RECIPE}") as bar:
            quantize(name, file, recipe=RECIPE, revision=commit, threads=threads, restart=True,
                     progress=bar)  # fmt: skip


def _download(name: str, commit: str | None) -> None:
    """Bring a model here, or say why it cannot be had, before its work is announced."""
    from lightmamba.model.checkpoint import open_checkpoint

    open_checkpoint(name, revision=commit)
