"""State of a sequence in a Mamba2 layer: convolution inputs and the SSM state.

The SSM state lies in tiles of up to 16 rows of headdim, side by side, as the compiled kernels walk
it; :func:`natural` gives it in the order of its axes.
"""

import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks.mamba2.sizes import Sizes
from lightmamba.numerics.blocks import Pow2Block
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.ssm import SsmStep

__all__ = [
    "bc_block", "natural", "padded_state", "put_natural", "record", "ssm_step", "state", "x_block",
]  # fmt: skip

TILE = 16  # rows of headdim side by side, where they divide it
T = TypeVar("T", bound=np.generic)


def x_block(sizes: Sizes) -> Pow2Block:
    """Blocks of x along headdim, restarting at every head."""
    return Pow2Block(8, min(32, sizes.headdim))


def bc_block(sizes: Sizes, formats: Formats) -> Pow2Block:
    """Blocks of B and C along d_state, the same as those of the state."""
    return Pow2Block(8, ssm_step(sizes, formats).block)


def ssm_step(sizes: Sizes, formats: Formats) -> SsmStep:
    """Arithmetic of the state, with blocks along d_state."""
    return SsmStep(formats.state_bits, min(32, sizes.d_state), formats.state_rounding)


def padded_state(sizes: Sizes, formats: Formats) -> int:
    """d_state, zero-padded to whole blocks."""
    block = ssm_step(sizes, formats).block
    return -(-sizes.d_state // block) * block


def state(sizes: Sizes, formats: Formats) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Type and shape of each array of one sequence, all zero when it begins."""
    d_state, rows = padded_state(sizes, formats), math.gcd(TILE, sizes.headdim)
    tiles, blocks = sizes.headdim // rows, d_state // ssm_step(sizes, formats).block
    h = np.int8 if formats.state_bits == 8 else np.int16
    return {
        "conv": (np.int8, (sizes.d_conv - 1, sizes.conv_dim)),
        "h": (h, (sizes.nheads, tiles, d_state, rows)),
        "h_exp": (np.uint8, (sizes.nheads, tiles, blocks, rows)),
    }


def record(sizes: Sizes, formats: Formats) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Type and shape of what a later update of the state needs of a token."""
    wide, block = x_block(sizes).block, bc_block(sizes, formats).block
    x_blocks, blocks = -(-sizes.headdim // wide), -(-sizes.d_state // block)
    i8, i32 = np.int8, np.int32
    return {
        "taps": (i8, (sizes.conv_dim,)),  # input of the convolution
        "x": (i8, (sizes.nheads, x_blocks * wide)), "x_exp": (i8, (sizes.nheads, x_blocks)),
        "B": (i8, (sizes.ngroups, blocks * block)), "B_exp": (i8, (sizes.ngroups, blocks)),
        "dt": (i32, (sizes.nheads,)), "dt_shift": (i32, (sizes.nheads,)),
        "decay": (i32, (sizes.nheads,)),
    }  # fmt: skip


def natural(tiled: NDArray[T]) -> NDArray[T]:
    """(batch, nheads, tiles, width, rows) to (batch, nheads, headdim, width), copied."""
    batch, nheads, tiles, width, rows = tiled.shape
    return tiled.swapaxes(-1, -2).reshape(batch, nheads, tiles * rows, width)


def put_natural(tiled: NDArray[Any], value: NDArray[Any]) -> None:
    """Write (batch, nheads, headdim, width) values into an array of tiles."""
    view = tiled.swapaxes(-1, -2)
    view[...] = value.reshape(view.shape)


def bytes_per_token(sizes: Sizes, formats: Formats) -> dict[str, int]:
    """Bytes that a decoder must move: the state read and written, the convolution's inputs too."""
    elements = sizes.nheads * sizes.headdim * padded_state(sizes, formats)
    exponents = elements // ssm_step(sizes, formats).block
    return {
        "state": 2 * (elements * formats.state_bits // 8 + exponents),
        "conv_state": sizes.d_conv * sizes.conv_dim,  # three read, one written
    }


def float_values(sizes: Sizes) -> int:
    """Values of the state of a sequence in the float model."""
    return sizes.nheads * sizes.headdim * sizes.d_state


def float_chunk(sizes: Sizes, vectors: int) -> int:
    """Values per vector of the float model's matrix of a chunk."""
    return sizes.nheads * min(sizes.chunk_size, vectors)
