"""How long the units take, and how much fits between them: what an estimate must know of the gates.

Cycles from a transfer at a unit's input to valid at its output, as the units' own attributes say;
``tests/arch/test_latency.py`` holds these numbers to the gates.
"""

from dataclasses import dataclass

from lightmamba.arch.config import BLOCK, ArchConfig
from lightmamba.arch.program import INSTRUCTION_BITS

__all__ = ["EPILOGUE_ROWS", "FETCH", "OUTSTANDING", "PARTS", "STATE_BURSTS", "Latency"]

EPILOGUE_ROWS = 2  # that it finishes in a cycle, where there are as many lanes
PARTS = 4  # sums of a slot's part between lanes and epilogue
FETCH = INSTRUCTION_BITS // 32 + 2  # cycles from one instruction to the next
STATE_BURSTS = 8  # of beats of the state, under way or waiting, each way
OUTSTANDING = 16  # bursts of a writer without an answer


@dataclass(frozen=True)
class Latency:
    """Cycles from input to output, by unit."""

    lanes: int
    epilogue: int
    ssm_y: int
    embed: int = 9
    residual: int = 6
    residual_sum: int = 11
    rms: int = 15
    quantizer: int = 21
    activations: int = 2
    discretize: int = 26
    conv: int = 23
    blocks: int = 12
    ssm: int = 25
    gate: int = 23
    gate_sum: int = 21
    hadamard: int = 14
    head: int = 3
    queue: int = 2  # of a StreamQueue
    reader: int = 3
    reader_data: int = 2
    word_reader_data: int = 3
    writer: int = 2

    @staticmethod
    def of(config: ArchConfig) -> "Latency":
        """Those of a machine; where the width of a word decides, trees of adders are deeper."""
        products = (min(BLOCK, config.products) - 1).bit_length()
        code = 2 + -(-products // 2)
        finish = code + 4 + (config.codes - 1).bit_length() + config.head_twice + 4
        several = config.row_words > 1
        return Latency(
            lanes=finish + 4,
            epilogue=15 + (config.lanes > 16),
            ssm_y=39 + (config.state_elements // BLOCK).bit_length() - 1 + several,
        )
