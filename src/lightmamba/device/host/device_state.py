"""State of a sequence as it was copied from a device."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.files import sha256_of_arrays

__all__ = ["DeviceState"]


@dataclass(frozen=True)
class DeviceState:
    """Saved state of a sequence on a device.

    Parameters
    ----------
    position : int
        Tokens seen.
    memory : {region: (bytes,) uint8}
        What layers keep of the sequence, as the hardware has it; of what grows, the rows in use.
    build : str
        Fingerprint of the build that left it.
    sha256 : str
        Of all of these.
    """

    position: int
    memory: Mapping[str, NDArray[np.uint8]]
    build: str
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha256", self.digest())

    def digest(self) -> str:
        """SHA-256 of what it holds now."""
        said = {"position": np.array(self.position), "build": np.array(self.build)}
        return sha256_of_arrays({**self.memory, **said})
