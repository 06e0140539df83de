"""Memory of one pass of the compiled kernels: every intermediate, by name."""

import ctypes
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba import native
from lightmamba.blocks import kind
from lightmamba.blocks.layer import Sizes, out_channels
from lightmamba.engine.described import STEP, pointer
from lightmamba.model.qmodel import QuantizedModel
from lightmamba.native.arena import Arena, aligned
from lightmamba.numerics.model_formats import Formats

__all__ = ["Workspace", "make_panel"]

Array = NDArray[Any]


class Workspace:
    """Memory for up to ``capacity`` vectors.

    Every array is as long as the widest of some layers needs; :meth:`of` gives them as one layer
    sees them.

    Parameters
    ----------
    model : QuantizedModel
    layers : sequence of Sizes
        That will run in it.
    capacity : int
        Vectors.
    """

    def __init__(self, model: QuantizedModel, layers: tuple[Sizes, ...], capacity: int) -> None:
        c, f = model.config, model.formats
        self.capacity, self.config, self.formats = capacity, c, f
        inner = f.in_channels(c.d_model)
        kinds = dict.fromkeys(layers)
        self._arena = Arena()
        i8, u8, i32, i64 = np.int8, np.uint8, np.int32, np.int64
        self.arrays: dict[str, Array] = {
            name: self._make(dtype, width)
            for name, dtype, width in (
                ("ids", i64, ()), ("want", i64, ()), ("u", i32, (c.d_model,)),
                ("in_rms", i32, (1,)), ("in_rms_shift", i32, (1,)),
                ("in_q", i8, (inner,)), ("in_code", u8, (inner // f.block,)),
                ("out_rows", i64, (c.d_model,)),
                ("head_rms", i32, (1,)), ("head_rms_shift", i32, (1,)),
                ("head_q", i8, (inner,)), ("head_code", u8, (inner // f.head_block,)),
            )
        }  # fmt: skip
        self._wide: dict[tuple[str, str], Array] = {}
        shared: dict[str, tuple[Any, int]] = {}
        own: dict[str, dict[str, tuple[Any, int]]] = {}
        for sizes in kinds:
            _widest(shared, _between(sizes, self.formats))
            _widest(own.setdefault(sizes.kind, {}), kind(sizes.kind).kernels.work(sizes, f))
        for of, arrays in (("", shared), *own.items()):
            for name, (dtype, width) in arrays.items():
                self._wide[of, name] = self._arena.array((capacity * width,), dtype)
        channels = max([inner, *(out_channels(sizes, f) for sizes in kinds)])
        most = max([1, *(sizes.taken for sizes in kinds)])
        self.panel, self._panels = make_panel(capacity * most, channels, f.group)
        self.lost = np.zeros((capacity, len(native.LOSSES)), dtype=np.int64)
        self._own = {
            of: kind(of).kernels.Work(**{name: pointer(self._wide[of, name]) for name in arrays})
            for of, arrays in own.items()
            if arrays
        }
        structs = [self._own.get(known) for known in native.KINDS]
        addresses = [0 if x is None else ctypes.addressof(x) for x in structs]
        named = {name: pointer(array) for name, array in self.arrays.items()}
        named |= {name: pointer(self._wide["", name]) for name in shared}
        self._struct = native.Work(panel=self.panel, lost=pointer(self.lost), **named)
        self._struct.own[:] = addresses

    def _make(self, dtype: Any, width: tuple[int, ...]) -> Array:
        return self._arena.array((self.capacity, *width), dtype)

    def of(self, sizes: Sizes, vectors: int) -> dict[str, Array]:
        """All arrays as a layer of these sizes sees them, (vectors, ...) each."""
        found = {name: array[:vectors] for name, array in self.arrays.items()}
        own = kind(sizes.kind).kernels.work(sizes, self.formats)
        for of, arrays in (("", _between(sizes, self.formats)), (sizes.kind, own)):
            for name, (_, shape) in arrays.items():
                count = vectors * int(np.prod(shape))
                found[name] = self._wide[of, name][:count].reshape(vectors, *shape)
        return found

    def struct(self, vectors: int, wanted: int, logits: Array | None) -> native.Work:
        """The struct over these arrays, for a pass of some vectors."""
        self._struct.vectors, self._struct.wanted = vectors, wanted
        self._struct.logits = None if logits is None else pointer(logits)
        return self._struct

    def take_lost(self, begin: int, end: int) -> Counter[str]:
        """How many values saturated in some vectors since the last call, by kind if any."""
        lost = self.lost[begin:end]
        counts = np.add.reduce(lost).tolist()
        lost[...] = 0
        return Counter(
            {name: count for name, count in zip(native.LOSSES, counts, strict=True) if count}
        )

    def observables(
        self,
        sizes: Sizes,
        lead: tuple[int, int],
        state: Mapping[str, Any],
        position: NDArray[np.int64],
    ) -> Iterator[tuple[str, Array]]:
        """Names and copies of the values of a layer that has just run."""
        found = self.of(sizes, lead[0] * lead[1])
        if sizes.routed:
            _by_vector(found, sizes.taken)
        a = {name: array.reshape(*lead, *array.shape[1:]) for name, array in found.items()}
        for name in ("rms", "rms_shift", "q", "code"):
            yield f"in_proj.{name}", a[f"in_{name}"].copy()
        yield "in_proj.rows", a["rows"].copy()
        for name, value in kind(sizes.kind).Arithmetic.observables(sizes, a, state, position):
            yield name, value.copy()
        yield "hadamard.out", a["mixed"].copy()
        rms = () if sizes.routed else ("rms", "rms_shift")
        for name in (*rms, "q", "code", "rows"):
            yield f"out_proj.{name}", a[f"out_{name}"].copy()
        yield "residual", a["u"].copy()


def _between(sizes: Sizes, f: Formats) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Type and shape, per vector, of what every kind has between two residual streams."""
    outer, n = out_channels(sizes, f), sizes.taken
    return {
        "rows": (np.int16, (n * sizes.block_rows,)), "weighted": (np.int32, (n * sizes.out_dim,)),
        "mixed": (np.int32, (n * outer,)), "out_rms": (np.int32, (sizes.out_groups,)),
        "out_rms_shift": (np.int32, (sizes.out_groups,)), "out_q": (np.int8, (n * outer,)),
        "out_code": (np.uint8, (n * outer // f.block,)),
    }  # fmt: skip


def _by_vector(arrays: dict[str, Array], taken: int) -> None:
    """Put what lies by block in the order in which each vector lists its blocks."""
    places = arrays["pair"].ravel()
    for name in ("rows", "hidden", "weighted", "mixed", "out_q", "out_code"):
        vectors = len(arrays[name])
        pairs = arrays[name].reshape(vectors * taken, -1)
        arrays[name] = pairs[places].reshape(vectors, -1)


def _widest(
    widths: dict[str, tuple[Any, int]], arrays: Mapping[str, tuple[Any, tuple[int, ...]]]
) -> None:
    """Note how long each array has to be per vector."""
    for name, (dtype, shape) in arrays.items():
        width = int(np.prod(shape))
        widths[name] = dtype, max(width, widths[name][1] if name in widths else 0)


def make_panel(vectors: int, channels: int, group: int) -> tuple[native.Panel, list[Array]]:
    """A panel for some vectors, and the arrays to keep with it."""
    arrays = [
        aligned((vectors, channels), np.int8),
        aligned((vectors, channels // STEP + 1), np.int32),
        aligned((vectors, channels // group + 1), np.int32),
        aligned((vectors,), np.int64),
    ]
    a, scale, correction, low = (pointer(array) for array in arrays)
    return native.Panel(a=a, scale=scale, correction=correction, low=low), arrays
