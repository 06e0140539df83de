"""A checkpoint's name to a local folder: a folder as it is, a hub id through the hub's cache."""

from dataclasses import dataclass
from pathlib import Path

from lightmamba.common.errors import InputError, installing
from lightmamba.common.files import refuse_gguf
from lightmamba.model.inputs import HUB_ID

__all__ = ["LocalCopy", "local_copy"]

EXAMPLE = "for example state-spaces/mamba2-130m"
SIDE_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "README.md",
)
SAFETENSORS = ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json")
PICKLES = ("pytorch_model.bin", "pytorch_model-*.bin", "pytorch_model.bin.index.json")


@dataclass(frozen=True)
class LocalCopy:
    """A folder on this disk and, if it came from the hub, the commit that it is."""

    folder: Path
    revision: str | None


def local_copy(name: str | Path, revision: str | None = None) -> LocalCopy:
    """Find a checkpoint folder, downloading it if ``name`` is a hub id.

    The environment of huggingface_hub holds: its cache, ``HF_ENDPOINT``, ``HF_HUB_OFFLINE``, and
    the login. Safetensors are preferred; ``pytorch_model.bin`` is fetched only without them.

    Parameters
    ----------
    name
        A folder, or ``owner/model`` on the hub. A ``Path`` is always a folder.
    revision
        Branch, tag or commit, of a hub id only.

    Raises
    ------
    InputError
        If there is no such folder or model, it is gated, the hub is not reachable, or a revision
        is given for a folder.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise InputError(
                f"{folder} is a folder and has no revision {revision!r}; "
                f"a revision goes with a hub id, {EXAMPLE}"
            )
        return LocalCopy(folder, None)
    if folder.exists():
        refuse_gguf(folder)
        raise InputError(
            f"{folder} is a file; give the folder of a checkpoint, which holds config.json (a "
            f"quantized file cannot be quantized again)"
        )
    if isinstance(name, Path) or not HUB_ID.fullmatch(name):
        raise InputError(f"there is no folder {folder}; give one, or a hub id, {EXAMPLE}")
    return _download(name, revision)


def _download(name: str, revision: str | None) -> LocalCopy:
    try:
        from huggingface_hub import errors, is_offline_mode, snapshot_download
    except ImportError as error:
        raise InputError(
            f"there is no folder {name}, and hub ids need huggingface_hub: {installing('torch')}"
        ) from error

    try:
        patterns = [*SIDE_FILES, *SAFETENSORS]
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
        commit = folder.name
        if not any(folder.glob("model*.safetensors")):
            snapshot_download(name, revision=commit, allow_patterns=list(PICKLES))
        return LocalCopy(folder, commit)
    except Exception as error:  # besides huggingface_hub's own, a download can break off anyhow
        status = _status(error)
        if isinstance(error, errors.GatedRepoError):
            reason = "is gated on the hub; accept its terms on its page, then run `hf auth login`"
        elif isinstance(error, errors.RevisionNotFoundError):
            reason = (
                f"has no revision {revision!r} on the hub; "
                "give a branch, a tag or a commit, for example main"
            )
        elif isinstance(error, errors.RepositoryNotFoundError) or status == 401:
            reason = (
                f"is neither a folder here nor a public model on the hub; give one, {EXAMPLE}, "
                "or run `hf auth login` if it is private"
            )
        elif isinstance(error, errors.LocalEntryNotFoundError):
            why = "the hub cannot be reached; connect to the network"
            if is_offline_mode():
                why = "HF_HUB_OFFLINE forbids the network; unset it"
            elif status is not None:
                why = f"the hub refuses it with status {status}; try again later"
            reason = (
                f"is not a local folder and not in the hub's cache, and {why}, or give a folder"
            )
        else:
            what = str(error).strip().partition("\n")[0] or type(error).__name__
            reason = f"could not be downloaded ({what}); try again"
        raise InputError(f"{name} {reason}") from error


def _status(error: BaseException | None) -> int | None:
    """HTTP status behind an error of huggingface_hub, if one is."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
        error = error.__cause__
    return None
