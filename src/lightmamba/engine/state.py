"""States of sequences: a fixed number of bytes each, and pages that grow with the tokens."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks import kind
from lightmamba.blocks.layer import Sizes
from lightmamba.engine.record import Record
from lightmamba.model.qmodel import QuantizedModel
from lightmamba.native.arena import LINE, aligned
from lightmamba.numerics.attention import PAGE
from lightmamba.numerics.model_formats import Formats

__all__ = ["Layout", "Pages", "Place", "State", "random_state"]

# Of random keys and values: standard deviation of an int8, scale of a block.
SPREAD, EXPONENT = 40, 3


@dataclass(frozen=True)
class Place:
    """One array of one layer within the bytes of a sequence, or of a page of its tokens."""

    start: int
    dtype: Any
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) * int(np.dtype(self.dtype).itemsize)

    def of(self, data: NDArray[np.uint8]) -> NDArray[Any]:
        """The array within (count, bytes), (count, ...): what is written there is written here."""
        mine = data[:, self.start : self.start + self.size]
        array: NDArray[Any] = mine.view(self.dtype).reshape(len(data), *self.shape)
        return array


@dataclass(frozen=True)
class Layout:
    """Where each layer's arrays lie; every one begins at a multiple of 64 bytes."""

    layers: tuple[dict[str, Place], ...]  # of a fixed size
    tokens: tuple[dict[str, Place], ...]  # within a page; the first axis are its positions
    records: tuple[dict[str, Place], ...]  # within a recorded token
    size: int  # bytes of a sequence
    page: int  # bytes of a page; 0 where nothing grows
    record: int  # bytes of a recorded token

    @staticmethod
    @lru_cache(maxsize=64)
    def of(layers: tuple[Sizes, ...], formats: Formats) -> "Layout":
        """Layout of the states of some layers."""
        fixed, grows, records, size, page, record = [], [], [], 0, 0, 0
        for sizes in layers:
            own = kind(sizes.kind).integers
            places, size = _placed(own.state(sizes, formats), size)
            fixed.append(places)
            tokens = own.tokens(sizes, formats)
            paged = {name: (dtype, (PAGE, *shape)) for name, (dtype, shape) in tokens.items()}
            places, page = _placed(paged, page)
            grows.append(places)
            places, record = _placed(own.record(sizes, formats), record)
            records.append(places)
        return Layout(tuple(fixed), tuple(grows), tuple(records), size, page, record)

    def bytes_of(self, tokens: int) -> int:
        """Bytes of a sequence after a number of tokens, none of them undecided."""
        return self.size + -(-tokens // PAGE) * self.page

    def starts(self, layer: int) -> dict[str, int]:
        """Where each array of a layer begins, in a sequence, in a page or in a recorded token."""
        places = self.layers[layer] | self.tokens[layer] | self.records[layer]
        return {name: place.start for name, place in places.items()}


def _placed(
    arrays: dict[str, tuple[Any, tuple[int, ...]]], at: int
) -> tuple[dict[str, Place], int]:
    """Put arrays one after the other; their places, and where the next one begins."""
    places = {}
    for name, (dtype, shape) in arrays.items():
        places[name] = Place(at, dtype, shape)
        at += -(-places[name].size // LINE) * LINE
    return places, at


class Pages:
    """Pages of the tokens of one sequence.

    Parameters
    ----------
    page : int
        Bytes of one.
    data : (pages, page) uint8, optional
        What there is.
    """

    def __init__(self, page: int, data: NDArray[np.uint8] | None = None) -> None:
        self.data = np.empty((0, page), np.uint8) if data is None else data

    def reserve(self, tokens: int) -> None:
        """Make space for ``tokens`` tokens; it doubles, so that a token costs little."""
        wanted, have = -(-tokens // PAGE), len(self.data)
        if wanted > have and self.data.shape[1]:
            more = aligned((max(wanted, 2 * have), self.data.shape[1]), np.uint8)
            more[:have] = self.data
            self.data = more

    def copy(self, tokens: int, places: Iterable[Place], room: int = 0) -> "Pages":
        """Copy of the first tokens of some arrays; after them, where some were given up, zeros.

        ``room`` is the number of tokens to allocate for, those of the copy included.
        """
        count = -(-tokens // PAGE)
        pages = Pages(self.data.shape[1], self.data[:count].copy() if tokens >= room else None)
        if tokens < room:
            pages.reserve(room)
            pages.data[:count] = self.data[:count]
        if tokens % PAGE:
            for place in places:
                place.of(pages.data[count - 1 : count])[0, tokens % PAGE :] = 0
        return pages


@dataclass
class State:
    """State of ``batch`` sequences; plain bytes, to be saved, copied and compared."""

    layout: Layout
    data: NDArray[np.uint8]  # (batch, bytes of a sequence)
    position: NDArray[np.int64]  # (batch,), tokens seen; the dither depends on it
    pages: list[Pages]  # of each sequence
    undecided: int = 0  # tokens of a sequence that may be, between two passes
    record: Record = field(init=False)  # of them

    def __post_init__(self) -> None:
        self.record = Record(len(self.position), self.undecided, self.layout.record)

    @staticmethod
    def empty(model: QuantizedModel, batch: int, undecided: int = 0) -> "State":
        """State of sequences that have not begun."""
        return State.of_layout(
            Layout.of(model.config.layers, model.formats), np.zeros(batch, np.int64), undecided
        )

    @staticmethod
    def of_layout(layout: Layout, position: NDArray[np.int64], undecided: int = 0) -> "State":
        """Zeros for sequences that are at ``position`` (batch,)."""
        data = aligned((len(position), layout.size), np.uint8)
        pages = [Pages(layout.page) for _ in position]
        return State(layout, data, position, pages, undecided)

    def __len__(self) -> int:
        return len(self.position)

    @property
    def nbytes(self) -> int:
        """Bytes of all sequences."""
        fixed = int(self.data.nbytes) + int(self.record.data.nbytes)
        return fixed + sum(int(pages.data.nbytes) for pages in self.pages)

    def layer(self, index: int) -> dict[str, Any]:
        """Arrays of one layer by name; what is written there is written here.

        Those of a fixed size are (batch, ...); of those that grow, each sequence has its own,
        (pages, 32, ...).
        """
        found: dict[str, Any] = {
            name: place.of(self.data) for name, place in self.layout.layers[index].items()
        }
        for name, place in self.layout.tokens[index].items():
            found[name] = [place.of(pages.data) for pages in self.pages]
        return found

    def reserve(self, row: int, tokens: int) -> None:
        """Make room for more tokens of a sequence."""
        self.pages[row].reserve(int(self.position[row]) + tokens)

    def fork(self) -> "State":
        """Copy that goes its own way (:meth:`take`): feeding tokens changes what is fed."""
        return self.take(slice(None))

    def take(self, rows: slice | NDArray[np.int64], undecided: int | None = None) -> "State":
        """Copy of some of the sequences; by numbers, in any order, and one several times.

        ``undecided`` is the copy's room for such tokens, by default this one's.

        Raises
        ------
        InputError
            If a pass of one of them failed.
        ValueError
            If tokens of them are undecided.
        """
        self.record.settled(rows)
        position = self.position[rows].copy()
        data = aligned((len(position), self.layout.size), np.uint8)
        data[...] = self.data[rows]
        chosen = np.arange(len(self))[rows]
        pages = [self._pages(i) for i in chosen]
        room = self.undecided if undecided is None else undecided
        return State(self.layout, data, position, pages, room)

    def clear(self, row: int, pages: Pages | None = None) -> None:
        """Make a sequence one that has not begun, with ``pages`` from :meth:`room` if given."""
        self.data[row], self.position[row] = 0, 0
        self.record.clear(row)
        self.pages[row] = self.room(0) if pages is None else pages

    def room(self, tokens: int) -> Pages:
        """Empty pages for the tokens of a sequence that begins."""
        pages = Pages(self.layout.page)
        pages.reserve(tokens)
        return pages

    def drop(self, row: int) -> None:
        """Free what grew with the tokens of a sequence, which is then to be cleared or put."""
        self.pages[row] = self.room(0)

    def put(self, row: int, one: "State", room: int = 0) -> None:
        """Copy the sequence of the state ``one`` into a row, with space for ``room`` tokens."""
        one.record.settled()
        self.record.clear(row)
        self.data[row], self.position[row] = one.data[0], one.position[0]
        self.pages[row] = one._pages(0, room)

    def _pages(self, row: int, room: int = 0) -> Pages:
        """Copy of the pages of a sequence."""
        places = (place for layer in self.layout.tokens for place in layer.values())
        return self.pages[row].copy(int(self.position[row]), places, room)

    def view(self, rows: slice) -> "State":
        """Some of the sequences themselves: what is written there is written here."""
        part = State(self.layout, self.data[rows], self.position[rows], self.pages[rows])
        part.undecided, part.record = self.undecided, self.record.view(rows)
        return part


def random_state(model: QuantizedModel, positions: int) -> State:
    """State of one sequence with random keys and values, and zeros where nothing grows.

    Parameters
    ----------
    model
        Of any kinds of layers.
    positions
        Tokens that the sequence has seen.
    """
    rng, state = np.random.default_rng(0), State.empty(model, 1)
    state.reserve(0, positions)
    state.position[:] = positions
    for n, names in enumerate(state.layout.tokens):
        arrays = state.layer(n)
        for name in names:
            each = arrays[name][0]
            values = rng.standard_normal(each.shape, np.float32) * SPREAD
            each[...] = EXPONENT if name.endswith("_exp") else np.clip(values, -127, 127)
    return state
