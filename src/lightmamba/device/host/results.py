"""Results of the passes of a device: logits, arg-maxes, counters."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.place import Region
from lightmamba.common.errors import DeviceError
from lightmamba.common.passes import Pass
from lightmamba.device.host.primitives import Primitives
from lightmamba.device.host.staging import Staged
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.machine.counters import counters, losses, of_vector

__all__ = ["Results"]


class Results(Primitives):
    """Results of a device, which :class:`lightmamba.device.host.device.Device` completes."""

    def __init__(self) -> None:
        super().__init__()
        self.artifact: Artifact | None = None
        self.bases: Mapping[str, int] = {}  # where each channel begins
        self._work: tuple[Pass, Staged] | None = None  # that runs, or ran last
        self._running = False

    def address(self, region: Region) -> int:
        """Where a region of the build begins in the memory of this device."""
        return self.bases[region.channel] + region.address

    def next_token(self) -> int:
        """Arg-max of the last logits, the lowest id of equal ones."""
        return self._best((self._wanted() or [0])[-1])

    def next_tokens(self) -> list[int]:
        """Arg-max of each of the last pass's wanted logits."""
        return [self._best(vector) for vector in self._wanted()]

    def logits(self) -> NDArray[np.int32]:
        """Last logits, (vocab_size,)."""
        return self._logits((self._wanted() or [0])[-1])

    def wanted_logits(self) -> NDArray[np.int32]:
        """Logits of the last pass, (wanted, vocab_size), as the engine gives them."""
        rows = [self._logits(vector) for vector in self._wanted()]
        config = self._loaded().model["config"]
        return np.stack(rows) if rows else np.empty((0, int(config["vocab_size"])), dtype=np.int32)

    def _wanted(self) -> list[int]:
        """Vectors of the last pass whose logits are wanted."""
        self._settled()
        found, end = list[int](), 0
        for slot in self._work[0].slots if self._work is not None else ():
            end += len(slot.tokens)
            found += range(end - slot.wanted, end)
        return found

    def _best(self, vector: int) -> int:
        return self.read("later_next", vector - 1) if vector else self.read("next")

    def _logits(self, vector: int) -> NDArray[np.int32]:
        artifact = self._loaded()
        self._settled()
        region, count = artifact.region("logits"), int(artifact.model["config"]["vocab_size"])
        stride = artifact.registers["logits_stride"] if vector else 0
        assert isinstance(stride, int)
        at = self.address(region) + vector * stride
        return self.read_memory(region.channel, at, 4 * count).view("<i4")

    def counters(self) -> dict[str, int]:
        """All counters by name, since the last reset.

        Losses are counted by vector (``machine.counters.of_vector``), and added up under their own
        names too. Those of rejected drafts are among them. Empty for hardware without counters.
        """
        self._settled()
        arch = self._loaded().arch
        if not arch.counters:
            return {}
        names = counters(arch)
        found = dict(zip(names, self._counter_values(range(len(names))), strict=True))
        vectors = range(arch.tokens)
        return found | {
            name: sum(found[of_vector(name, n)] for n in vectors) for name in losses(arch.kinds)
        }

    def _loaded(self) -> Artifact:
        if self.artifact is None:
            raise DeviceError("load a build first")
        return self.artifact

    def _settled(self) -> None:
        if self._running:
            raise DeviceError("a token is running; wait for it first")

    def _counter_values(self, indices: Iterable[int]) -> list[int]:
        """Values of counters."""
        (chosen, _), (value, _) = self._offset("counter_index", 0), self._offset("counter_value", 0)
        steps: list[tuple[int, int | None]] = []
        for index in indices:
            steps += [(chosen, index), (value, None), (value + 4, None)]
        halves = self.transfer(steps)
        return [low | high << 32 for low, high in zip(halves[::2], halves[1::2], strict=True)]
