"""Elements that wait until something is known of their whole block."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import fifo

__all__ = ["BlockQueue"]


class BlockQueue:
    """Two queues: the elements of blocks, and one number per block that is found later.

    An element can be taken when the number of its block is there; the last element of a block
    takes the number along. The numbers cannot overflow: a block whose number waits has an element,
    its last, among the others, and both queues are equally deep.

    A depth of two blocks keeps one element per cycle flowing, if a number is found within
    ``depth - block - 2`` cycles of the last element.

    Parameters
    ----------
    m : Module
    bits, number_bits : int
        Width of an element, and of what is found of a block.
    depth : int
        Elements; more than the longest block.

    Attributes
    ----------
    room : Signal
        An element may be put in this cycle.
    ready : Signal
        ``element`` may be taken in this cycle, and ``number`` is that of its block.
    element, number : Signal
    """

    latency = 2  # cycles from a number to ``ready``

    def __init__(self, m: Module, *, bits: int, number_bits: int, depth: int) -> None:
        self.m = m
        self._elements = fifo.SyncFIFOBuffered(width=bits + 1, depth=depth)
        self._numbers = fifo.SyncFIFOBuffered(width=number_bits, depth=depth)
        m.submodules += [self._elements, self._numbers]
        self.room, self.ready = Signal(), Signal()
        self.element, self.number = Signal(bits), Signal(number_bits)
        self._last = Signal()
        m.d.comb += [
            self.room.eq(self._elements.w_rdy),
            self.ready.eq(self._elements.r_rdy & self._numbers.r_rdy),
            Cat(self.element, self._last).eq(self._elements.r_data),
            self.number.eq(self._numbers.r_data),
        ]

    def put(self, when: Value, element: Value, last: Value) -> None:
        """Say when an element comes, what it is, and whether it ends its block."""
        queue = self._elements
        self.m.d.comb += [queue.w_en.eq(when), queue.w_data.eq(Cat(element, last))]

    def find(self, when: Value, number: Value) -> None:
        """Say when the number of a block is found; they come in the order of the blocks."""
        queue = self._numbers
        self.m.d.comb += [queue.w_en.eq(when), queue.w_data.eq(number)]

    def take(self, when: Value) -> None:
        """Say when the element is taken; never unless ``ready``."""
        self.m.d.comb += [
            self._elements.r_en.eq(when),
            self._numbers.r_en.eq(when & self._last),
        ]
