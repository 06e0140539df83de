"""Hub ids in the place of a quantized file: quantized once, and kept."""

from importlib import metadata
from pathlib import Path

from lightmamba.cli.models import SUFFIXES, bundled_file

__all__ = ["CACHE", "RECIPE", "quantized_file"]

CACHE = "quantized"  # folder of the user's cache
RECIPE = "w4a4"


def quantized_file(name: str, threads: int) -> str:
    """Path of the quantized file or build that ``name`` means.

    A path stays as it is, and "bundled" is what the package ships. A hub id is downloaded and
    quantized by :data:`RECIPE`, the first time; another recipe takes ``lightmamba quantize``.

    Raises
    ------
    InputError
        If there is no such model, or it cannot be quantized.
    """
    own = bundled_file(name)
    if own != name or Path(name).exists() or not _is_hub_id(name):
        return own

    from lightmamba.checkpoint.hub import local_copy
    from lightmamba.cli.show import note, progress
    from lightmamba.facade import quantize
    from lightmamba.tools import cache_folder

    revision = (local_copy(name).revision or "")[:12]
    version = metadata.version("lightmamba")
    file = (
        cache_folder(CACHE) / f"{name.replace('/', '--')}-{revision}-{RECIPE}-{version}.safetensors"
    )
    if not file.exists():
        note(f"{name} is quantized by {RECIPE} and kept; the next time it opens at once")
        with progress(f"quantizing by {RECIPE}") as bar:
            quantize(name, file, recipe=RECIPE, threads=threads, progress=bar)
    return str(file)


def _is_hub_id(name: str) -> bool:
    """Whether a name without a file looks like one: two words, and no file's suffix."""
    from lightmamba.checkpoint.hub import HUB_ID

    return HUB_ID.fullmatch(name) is not None and Path(name).suffix not in SUFFIXES
