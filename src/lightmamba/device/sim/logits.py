"""Tokens on a device and on the engine, of which only the logits are compared.

A netlist has no probes; :class:`~lightmamba.device.sim.golden.GoldenModel` compares all of an RTL.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lightmamba.common.passes import Pass, Slot
from lightmamba.device.host.device import Device
from lightmamba.engine import Engine
from lightmamba.model.qmodel import QuantizedModel

__all__ = ["LogitStep", "compare_logits"]


@dataclass(frozen=True)
class LogitStep:
    """One token on both.

    Parameters
    ----------
    token : int
        That was fed.
    cycles : int
        From the start to done.
    different : tuple of int
        Rows whose logits differ; none in a right device.
    logits : int
        How many were compared.
    equal : bool
        Whether all logits and the chosen token are the same.
    """

    token: int
    cycles: int
    different: tuple[int, ...]
    logits: int
    equal: bool


def compare_logits(
    device: Device, model: QuantizedModel, token: int, tokens: int
) -> Iterator[LogitStep]:
    """Begin a sequence with a token and go on greedily; the first difference ends it.

    Parameters
    ----------
    device
        With a build of the model loaded.
    model
        The same for the engine.
    token
        The first one.
    tokens
        Fed in all.
    """
    engine = Engine(model)
    state = engine.empty_state(1)
    for n in range(tokens):
        device.submit(Pass((Slot(0, np.array([token]), fresh=not n),)))
        cycles = device.wait()
        found, state = engine.forward(np.array([[token]]), state)
        ours, theirs = found[0, -1], np.asarray(device.wanted_logits()[0])
        best = int(ours[: engine.valid_vocab].argmax())
        different = tuple(np.flatnonzero(ours != theirs).tolist())
        equal = not different and device.next_tokens()[0] == best
        yield LogitStep(token, cycles, different, ours.size, equal)
        if not equal:
            return
        token = best
