"""Cycles and depths of what moves data between units and memory; those of units: the graph.

``tests/arch/test_latency.py`` validates both against the RTL.
"""

__all__ = [
    "HEADS", "OUTSTANDING", "QUEUE", "READER", "READER_DATA", "STATE_HEADS",
    "STATE_READ_BURSTS", "STATE_WRITE_BURSTS", "WORD_READER_DATA", "WRITER", "Y_HEADS",
]  # fmt: skip

QUEUE = 2  # cycles of a StreamQueue
READER = 4  # from a command to the first address
READER_DATA = 2  # from a beat on the port to the unit
WORD_READER_DATA = 3  # the same where beats become words
WRITER = 3  # from a burst that is complete to its address
STATE_READ_BURSTS = 20  # of beats of the state, under way or waiting
STATE_HEADS = 4  # of several tokens, heads of state that are asked for ahead of the unpacker
STATE_WRITE_BURSTS = 8  # the same of writes
OUTSTANDING = 16  # bursts of a writer without an answer
# Of several tokens, heads that lie before the state-space unit and behind it.
HEADS = 2  # of parameters and x: one is filled while the other is read
Y_HEADS = 4  # of y: one is filled, one is on its way through the pipeline, others leave
