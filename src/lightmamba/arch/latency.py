"""Latencies of the units and depths of their queues: what the performance model knows of the RTL.

Cycles from a transfer at a unit's input to valid at its output, as the units' own attributes say;
``tests/arch/test_latency.py`` validates these numbers against the RTL.
"""

from dataclasses import dataclass

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK
from lightmamba.arch.program import INSTRUCTION_BITS

__all__ = [
    "EPILOGUE_ROWS", "FETCH", "OUTSTANDING", "PARTS", "STATE_READ_BURSTS", "STATE_WRITE_BURSTS",
    "Latency",
]  # fmt: skip

EPILOGUE_ROWS = 2  # that it finishes in a cycle, where there are as many lanes
PARTS = 4  # sums of a slot's part between lanes and epilogue
FETCH = INSTRUCTION_BITS // 32 + 2  # cycles from one instruction to the next
STATE_READ_BURSTS = 20  # of beats of the state, under way or waiting
STATE_WRITE_BURSTS = 8  # the same of writes
OUTSTANDING = 16  # bursts of a writer without an answer


@dataclass(frozen=True)
class Latency:
    """Cycles from input to output, by unit."""

    lanes: int
    epilogue: int
    ssm_y: int
    embed: int = 9
    residual: int = 6
    residual_sum: int = 12
    rms: int = 15
    quantizer: int = 21
    activations: int = 2
    discretize: int = 26
    conv: int = 23
    blocks: int = 12
    ssm: int = 26
    gate: int = 23
    gate_sum: int = 22
    hadamard: int = 14
    head: int = 3
    queue: int = 2  # of a StreamQueue
    reader: int = 4
    reader_data: int = 2
    word_reader_data: int = 3
    writer: int = 3

    @staticmethod
    def of(config: ArchConfig) -> "Latency":
        """Those of a machine; where the width of a word decides, trees of adders are deeper."""
        products = (min(BLOCK, config.products) - 1).bit_length()
        code = 2 + -(-products // 2)
        finish = code + 4 + (config.codes - 1).bit_length() + config.head_twice + 4
        several = config.row_words > 1
        return Latency(
            lanes=finish + 5,
            epilogue=15 + (config.lanes > 16),
            ssm_y=40 + (config.state_elements // BLOCK).bit_length() - 1 + several,
        )
