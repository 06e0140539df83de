"""Cycles and depths of what moves data between units and memory; those of units: the graph.

``tests/arch/test_latency.py`` validates both against the RTL.
"""

__all__ = [
    "ADDRESS", "ANSWER", "ARBITER", "BEGIN", "COMMANDS", "DRAIN", "HEADS", "LATER", "OPEN_BURSTS",
    "OUTSTANDING", "OWED", "QUEUE", "READER", "READER_DATA", "SPREAD_WALK", "STATE_HEADS",
    "STATE_LEAVE", "STATE_PACKED", "STATE_READ_BURSTS", "STATE_SEEN", "STATE_TAKEN",
    "STATE_UNPACKED", "STATE_WALK", "STATE_WRITE_BURSTS", "TABLE_WALK", "TAKEN", "WORD_READER_DATA",
    "WRITER", "Y_HEADS",
]  # fmt: skip

QUEUE = 2  # cycles of a StreamQueue
COMMANDS = 2  # that wait before a unit
READER = 4  # from a command to the first address
READER_DATA = 2  # from a beat on the port to the unit
WORD_READER_DATA = 3  # the same where beats become words
WRITER = 3  # from a burst that is complete to its address
ADDRESS, ARBITER, ANSWER = 1, 2, 3  # of an address to its channel; behind an arbiter; of an answer
BEGIN = 2  # from a start to the commands of readers
LATER = 4  # from a command to those of the next pass, whose state is asked for with it
TAKEN = 1  # from a command to a unit that works
DRAIN = 4  # from the last result to the end of a pass
OWED = 2  # from the last beat that was asked for to the end of a pass that waits for it
STATE_WALK = 3  # cycles by which commands for heads come later than those for a layer
SPREAD_WALK = 11  # the same of commands for what is spread over the lanes
TABLE_WALK = 5  # from an index of a table to the command of its row
# Commands are for heads. Cycles from the last word that leaves the unpacker to the next beat, to
# the next reader's command; that the packer needs between heads; from a word that leaves the queue
# behind to a reader that sees it.
STATE_UNPACKED, STATE_TAKEN, STATE_PACKED, STATE_SEEN = 4, 7, 3, 3
OPEN_BURSTS = 64  # of a port, as the simulator's memory takes them
STATE_READ_BURSTS = 20  # of beats of the state, under way or waiting
STATE_HEADS = 4  # of several tokens, heads of state that are asked for ahead of the unpacker
STATE_WRITE_BURSTS = 8  # the same of writes
STATE_LEAVE = 2 + STATE_HEADS  # heads whose read may begin before the unpacker is through with one
OUTSTANDING = 16  # bursts of a writer without an answer
# Of several tokens, heads that lie before the state-space unit and behind it.
HEADS = 2  # of parameters and x: one is filled while the other is read
Y_HEADS = 4  # of y: one is filled, one is on its way through the pipeline, others leave
