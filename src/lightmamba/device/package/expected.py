"""Expected results of the self-test on a board, and of a short run of the engine."""

import hashlib
from typing import Any

import numpy as np

from lightmamba.device.boards import selftest
from lightmamba.engine import Engine
from lightmamba.hardware.compiler import open_model
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.model.qmodel import QuantizedModel

__all__ = ["EXPECTED", "expected"]

EXPECTED = "driver/expected.json"
PROMPT, TOKENS = (1, 2, 3), 6  # ids that every vocabulary has, then greedy decoding; tokens in all
LARGEST = 256 << 20  # bytes of images of a random model that is made again from its seed for this


def expected(artifact: Artifact) -> dict[str, Any]:
    """Digests of a short run, made by the engine.

    ``steps`` are tokens of one sequence: the id that goes in, the arg-max that comes out, and the
    SHA-256 of the logits as little-endian 32-bit integers, ``vocab_size`` of them. ``self_test`` is
    what :mod:`lightmamba.device.boards.selftest` needs. A large random model has no ``steps`` and
    no ``self_test``: to make its weights again would take minutes.
    """
    model = None if _too_long(artifact) else open_model(artifact)
    return {
        "fingerprint": artifact.fingerprint,
        "steps": [] if model is None else _steps(model),
        "self_test": None if model is None else selftest.expected(artifact, model).to_dict(),
    }


def _too_long(artifact: Artifact) -> bool:
    return artifact.model["kind"] == "random" and artifact.image_bytes > LARGEST


def _steps(model: QuantizedModel) -> list[dict[str, Any]]:
    engine = Engine(model)
    state, token, steps = engine.empty_state(1), 0, []
    for n in range(TOKENS):
        token = PROMPT[n] % model.valid_vocab if n < len(PROMPT) else token
        logits, state = engine.step(np.array([token]), state)
        following = int(np.argmax(logits[0, : model.valid_vocab]))
        digest = hashlib.sha256(np.ascontiguousarray(logits[0], dtype="<i4").tobytes())
        steps.append({"token": token, "next": following, "logits_sha256": digest.hexdigest()})
        token = following
    return steps
