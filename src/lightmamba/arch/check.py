"""Values that build parameters may have, each and together."""

from typing import Any

from lightmamba.arch.contract import BLOCK, EXPONENT_RUN, GROUP, PAGE, WORD, WORD_BITS
from lightmamba.numerics.formats import NIBBLES

__all__ = ["check"]

BITS = "multiplier_bits", "weight_bits", "act_bits", "wide_weight_bits", "wide_act_bits"


def check(config: Any) -> None:
    """Refuse build parameters that no hardware has, each or together.

    Parameters
    ----------
    config : ArchConfig
        As it is being made: this module is below its own.

    Raises
    ------
    ValueError
        One sentence that names the parameter, its value and what would be right.
    """

    def among(name: str, *allowed: int) -> None:
        if getattr(config, name) not in allowed:
            wanted = ", ".join(map(str, allowed))
            raise ValueError(f"{name} must be one of {wanted}, not {getattr(config, name)}")

    def within(name: str, low: int, high: int) -> None:
        if not low <= getattr(config, name) <= high:
            raise ValueError(f"{name} must be in {low}..{high}, not {getattr(config, name)}")

    for name in ("port_bits", "state_port_bits", "aux_port_bits"):
        among(name, 32, 64, 128, 256, 512)
    among("state_elements", 4, 8, 16, 32, 64, 128, 256, 512)
    among("tokens", 1, 2, 4, 8)
    among("attention_channels", 32, 64, 128, 256)
    within("attention_rows", 1, 16)
    within("row_fifo", config.burst_beats, 1 << 14)
    within("kv_heads", 1, 63)
    within("per_group", 1, 63)
    within("head_dim", 8, 256)
    among("state_ports", 1, 2, 4)
    among("head_act_bits", 8)
    for name in BITS:
        among(name, 4, 8)
    within("head_qmax", 1, 127)
    within("lanes", 1, 64)
    within("burst_beats", 1, min(256, PAGE * 8 // max(config.port_bits, config.state_port_bits)))
    within("weight_fifo", 2 * config.burst_beats, 1 << 14)
    within("state_fifo", 2, 1 << 16)
    within("aux_fifo", 2 * config.burst_beats * config.aux_port_bits // WORD_BITS, 1 << 14)
    within("x_queue", 2, 1 << 14)
    within("z_queue", 2, 1 << 14)
    within("in_channels", GROUP, 1 << 14)
    within("out_channels", GROUP, 1 << 15)
    within("groups", 1, 15)
    within("padded_state", BLOCK, 256)
    within("program", 2, 1 << 10)
    within("context", 0, 1 << 20)
    within("head_rows", 1, 255)
    within("added_channels", 0, 1 << 15)
    if config.state_ports > 1 and config.shared_port:
        raise ValueError(
            f"state_ports {config.state_ports} need ports of their own, but shared_port is set; "
            f"set state_ports to 1"
        )
    if config.packed and (
        config.tokens % 2
        or config.lanes % 2
        or not config.weight_bits == config.multiplier_bits == 4
    ):
        raise ValueError(
            f"packed needs an even number of tokens and of lanes, weight_bits 4 and "
            f"multiplier_bits 4, not tokens {config.tokens}, lanes {config.lanes}, weight_bits "
            f"{config.weight_bits} and multiplier_bits {config.multiplier_bits}; set it to false"
        )
    if config.state_ports > 1 and config.port_elements < BLOCK:
        raise ValueError(
            f"state_elements {config.state_elements} over {config.state_ports} state_ports must "
            f"leave {BLOCK} to each; try state_elements {BLOCK * config.state_ports}"
        )
    if config.port_elements > 4 * config.state_port_bits:
        raise ValueError(
            f"state_port_bits {config.state_port_bits} must hold the exponents of "
            f"{EXPONENT_RUN} beats, so state_elements must be at most "
            f"{4 * config.state_port_bits * config.state_ports}, not {config.state_elements}"
        )
    if config.padded_state % config.state_elements and config.state_elements % config.padded_state:
        raise ValueError(
            f"state_elements {config.state_elements} must divide the padded d_state "
            f"{config.padded_state}; try {config.padded_state & -config.padded_state}"
        )
    if config.act_bits > config.multiplier_bits:
        raise ValueError(
            f"act_bits {config.act_bits} need multiplier_bits {config.act_bits}, "
            f"not {config.multiplier_bits}"
        )
    if config.head_twice and config.head_qmax > NIBBLES:
        raise ValueError(
            f"two passes of 4 bits hold activations up to {NIBBLES}, not {config.head_qmax}; "
            f"set multiplier_bits to 8"
        )
    if "attention" in config.kinds:
        _check_attention(config)
    if (
        config.shared_port
        and not config.port_bits == config.state_port_bits == config.aux_port_bits
    ):
        raise ValueError("a shared port has one width: set all three *port_bits to it")


def _check_attention(config: Any) -> None:
    """Refuse rows of keys and values that are no whole words, or no part of a segment."""
    if config.port_bits < WORD_BITS:
        raise ValueError(
            f"keys and values come in words of {WORD_BITS} bits, so port_bits must be "
            f"{WORD_BITS} or more, not {config.port_bits}"
        )
    least, most = config.row_bytes // WORD, 1 << 16
    if config.segment & (config.segment - 1) or not least <= config.segment <= most:
        raise ValueError(
            f"segment must be a power of two from {least}, the positions whose exponents fill "
            f"a row, to {most}, not {config.segment}"
        )
