"""The build directory: an accelerator, the contents of its memories, and hashes of everything.

``manifest.json`` describes it; ``program.bin`` is the program in 32-bit words; ``images/NAME.bin``
are the first contents of memory regions; ``top.v`` is the accelerator and
``model.safetensors`` the model it was compiled from, both optional. The format is specified in
docs/reference/build-directory.md.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig, build_hash
from lightmamba.arch.place import Place, Region, Setting, extents, resolve
from lightmamba.arch.target import Target
from lightmamba.common.errors import InputError, shown
from lightmamba.common.files import aside, check_replaced, intact, interrupted, replace_folder
from lightmamba.hardware.machine.manifest import PROGRAM, Stored, entries, seal
from lightmamba.hardware.machine.program import Instruction, instructions
from lightmamba.hardware.machine.registers import named

__all__ = ["MODEL", "VERILOG", "Artifact", "ArtifactWriter", "Region", "Stored", "build_hash"]

log = logging.getLogger(__name__)
VERSION = 4
MANIFEST, VERILOG, MODEL = "manifest.json", "top.v", "model.safetensors"
CHUNK = 1 << 22  # bytes that are hashed at once


@dataclass(frozen=True)
class Artifact:
    """A build directory, opened.

    Parameters
    ----------
    order : str
        Row order of in_proj, "reordered" or "naive".
    registers : {name: value or values}
        What the host writes before the first token, by the names of
        ``hardware/machine/registers.py``; addresses as places in regions, which :meth:`settings`
        turns into numbers.
    model : dict
        ``config`` and ``formats`` as plain values, ``kind`` "file" or "random", and what else it
        takes to get the model back.
    files : {name: Stored}
        Every file but the manifest.
    """

    path: Path
    target: Target
    arch: ArchConfig
    order: str
    regions: tuple[Region, ...]
    registers: Mapping[str, Setting]
    model: Mapping[str, Any]
    files: Mapping[str, Stored]

    @property
    def image_bytes(self) -> int:
        """Bytes of all images together."""
        return sum(self.files[region.file].bytes for region in self.regions if region.file)

    @property
    def fingerprint(self) -> str:
        """Hash of machine, order, images and program: builds with the same one are exchangeable."""
        kept = {name: f.sha256 for name, f in self.files.items() if name not in (VERILOG, MODEL)}
        text = json.dumps([asdict(self.arch), self.order, kept], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def verilog(self) -> Path | None:
        """The machine in Verilog, if it was written."""
        return self.path / VERILOG if VERILOG in self.files else None

    def has_region(self, name: str) -> bool:
        """Whether there is a region of this name."""
        return any(region.name == name for region in self.regions)

    def region(self, name: str) -> Region:
        """The region of this name.

        Raises
        ------
        InputError
            If the build has none.
        """
        for region in self.regions:
            if region.name == name:
                return region
        raise InputError(f"{self.path} has no region {name}; compile again")

    def extents(self) -> dict[str, tuple[int, int]]:
        """Bytes that the build needs on each channel, and the alignment of the channel's base."""
        return extents(self.regions, self.target)

    def settings(self, bases: Mapping[str, int]) -> dict[str, int | list[int]]:
        """Values of the registers when each channel begins at ``bases``."""
        regions = {region.name: region for region in self.regions}
        return {name: resolve(value, regions, bases) for name, value in self.registers.items()}

    def image(self, region: Region) -> NDArray[np.uint8]:
        """First contents of a region, mapped from its file; empty without one."""
        if region.file is None or not region.bytes:
            return np.zeros(0, dtype=np.uint8)
        return np.memmap(self.path / region.file, dtype=np.uint8, mode="r")

    def program_words(self) -> list[int]:
        """Program as the host loads it, 32 bits each."""
        words: list[int] = np.fromfile(self.path / PROGRAM, dtype="<u4").tolist()
        return words

    def program(self) -> list[Instruction]:
        """Program, decoded."""
        coded = instructions(self.arch.kinds, wide=self.arch.wide)
        words, per = self.program_words(), coded.bits // 32
        rows = [words[at : at + per] for at in range(0, len(words), per)]
        try:
            return [coded.decode(sum(w << 32 * i for i, w in enumerate(row))) for row in rows]
        except ValueError as error:  # of an opcode or condition that there is not
            raise InputError(f"{self.path / PROGRAM} is not a program ({error})") from error

    def verify(self, *, again: bool = True) -> None:
        """Compare every file with its hash.

        Parameters
        ----------
        again
            Read them all, even those that were found right before and have not changed since.

        Raises
        ------
        InputError
            If one is not what was written.
        """

        def right(name: str) -> bool:
            return intact(self.path / name, self.files[name].sha256, again=again)

        with ThreadPoolExecutor() as pool:
            try:
                found = dict(zip(self.files, pool.map(right, self.files), strict=True))
            except OSError as error:
                raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error
        if wrong := [name for name in found if not found[name]]:
            raise InputError(f"{self.path / wrong[0]} has changed since it was compiled; "
                             f"compile again with --force")  # fmt: skip

    @staticmethod
    def read(path: Path, target: str = "tiny", *, again: bool = False) -> "Artifact":
        """Open a build directory whose files are those that were written.

        Parameters
        ----------
        path
            The directory.
        target
            Named as an example where ``path`` is none.
        again
            As for :meth:`verify`.

        Raises
        ------
        InputError
            If it is none, of another version, incomplete, a file has changed, or something in its
            manifest is wrong.
        """
        artifact = Artifact._described(path, target)
        artifact.verify(again=again)
        return artifact

    @staticmethod
    def _described(path: Path, target: str = "tiny") -> "Artifact":
        """Open a build directory; of its files only the sizes are checked."""
        path = Path(path)
        try:
            values = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        except OSError as error:
            how = f"FILE --target {target} -o {path}"
            if path.is_file():
                how = f"{path} --target {target} -o BUILD"
            raise InputError(
                f"{path} is not a build directory; make one with: lightmamba compile {how}"
                f"{interrupted(path)}"
            ) from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path / MANIFEST} is damaged ({error}); compile again") from error
        version = values.get("version") if isinstance(values, dict) else None
        if version != VERSION:
            maker = values.get("program") if isinstance(values, dict) else None
            made = f" (made by {shown(maker)[1:-1]})" if isinstance(maker, str) else ""
            raise InputError(
                f"{path} is of version {shown(version)}{made}, but this program reads {VERSION}; "
                f"make it again with: lightmamba compile MODEL --target {target} -o {path} --force"
            )
        try:
            artifact = Artifact(path=path, **entries(values))
        except ValueError as error:
            raise InputError(f"{path / MANIFEST} is damaged ({error}); compile again") from error
        for name, stored in artifact.files.items():
            file = path / name
            if not file.is_file() or file.stat().st_size != stored.bytes:
                raise InputError(
                    f"{file} is missing or has another size than when it was compiled; "
                    f"compile again with --force"
                )
        log.info("build %s: target %s, %d files", path, artifact.target.name, len(artifact.files))
        return artifact


class ArtifactWriter:
    """Write a build directory aside, then rename it, so that a failure leaves the old one whole.

    Use as a context manager; without :meth:`finish` nothing stays.

    Raises
    ------
    InputError
        If ``path`` exists and ``force`` is not given, is something else than a build directory, or
        there is no folder to write it into.
    """

    def __init__(self, path: Path, *, force: bool = False) -> None:
        self.path = Path(path)
        self.check(self.path, force=force)
        self._files: dict[str, Any] = {}  # hashes
        self._open = ExitStack()

    @staticmethod
    def check(path: Path, *, force: bool) -> None:
        """Refuse before the work what would only show after it."""
        check_replaced(path, MANIFEST, "build directory", force=force)

    def __enter__(self) -> Self:
        self._aside = self._open.enter_context(aside(self.path))
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def append(self, name: str, data: bytes | NDArray[np.uint8]) -> None:
        """Add bytes to the end of a file, which begins empty."""
        if name not in self._files:
            (self._aside / name).parent.mkdir(exist_ok=True)
            self._files[name] = hashlib.sha256()
        plain = data if isinstance(data, bytes) else np.ascontiguousarray(data).data
        with open(self._aside / name, "ab") as file:
            file.write(plain)
        self._files[name].update(plain)

    def size(self, name: str) -> int:
        """Bytes of a file so far."""
        return (self._aside / name).stat().st_size if name in self._files else 0

    def copy(self, name: str, source: Path) -> None:
        """Take over a file."""
        with open(source, "rb") as file:
            while chunk := file.read(CHUNK):
                self.append(name, chunk)

    def finish(
        self,
        *,
        target: Target,
        arch: ArchConfig,
        order: str,
        regions: Sequence[Region],
        registers: Mapping[str, Setting],
        program: Sequence[Instruction],
        model: Mapping[str, Any],
        verilog: str | None = None,
    ) -> Artifact:
        """Write program, Verilog and manifest, and put the whole in its place.

        Raises
        ------
        ValueError
            If an image is not as long as its region, or a register is not one of the map's.
        """
        if unknown := set(registers) - set(named(arch.kinds)):
            raise ValueError(f"there are no registers {sorted(unknown)}")
        coded = instructions(arch.kinds, wide=arch.wide)
        self.append(PROGRAM, np.array(coded.words32(program), dtype="<u4").view(np.uint8))
        if verilog is not None:
            self.append(VERILOG, verilog.encode())
        files = {}
        for name, digest in sorted(self._files.items()):
            files[name] = Stored(self.size(name), digest.hexdigest())
        for region in regions:
            if region.file is not None and files[region.file].bytes != region.bytes:
                raise ValueError(f"{region.file} has {files[region.file].bytes} bytes, "
                                 f"but its region {region.bytes}")  # fmt: skip
        values = {
            "version": VERSION,
            "program": f"lightmamba {metadata.version('lightmamba')}",
            "target": target.to_dict(),
            "arch": arch.to_dict(),
            "hash": build_hash(arch),
            "order": order,
            "regions": [asdict(region) for region in regions],
            "registers": {name: _plain(value) for name, value in registers.items()},
            "model": model,
            "files": {name: asdict(stored) for name, stored in files.items()},
        }
        values["sha256"] = seal(values)
        text = json.dumps(values, sort_keys=True, indent=1, allow_nan=False)
        (self._aside / MANIFEST).write_text(text + "\n", encoding="utf-8")
        self._aside.chmod(0o755)
        replace_folder(self._aside, self.path)
        return Artifact._described(self.path)  # just hashed while it was written


def _plain(setting: Setting) -> Any:
    if isinstance(setting, list):
        return [_plain(each) for each in setting]
    return asdict(setting) if isinstance(setting, Place) else setting
