"""How to sample when nobody says: by the generation config that came with the checkpoint."""

from collections.abc import Mapping
from typing import Any

from lightmamba.common.errors import InputError
from lightmamba.numerics.sampling_options import SamplingOptions

__all__ = ["OPTIONS", "sampling_options"]

OPTIONS = (
    "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "frequency_penalty",
    "presence_penalty",
)  # fmt: skip
KEYS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")  # of transformers
GREEDY: Mapping[str, Any] = {"temperature": 0.0}


def sampling_options(
    generation_config: Mapping[str, Any], *, seed: int = 0, **given: float | None
) -> tuple[SamplingOptions, tuple[str, ...]]:
    """Sampling options as given, else those of the config, else greedy.

    As in transformers, ``do_sample`` decides whether anything is drawn: without it the likeliest id
    is taken, whatever temperature the config has. A temperature that is given outweighs that. The
    other options count wherever they are from.

    Parameters
    ----------
    generation_config
        As in the checkpoint; only what this project knows is looked at.
    seed
        Of the draws.
    given
        Fields of ``SamplingOptions``; None where nothing was given.

    Returns
    -------
    options
        Checked.
    taken
        Names of the options that are the config's.

    Raises
    ------
    InputError
        If an option is out of its range; of the config's, it says so.
    """
    own = {name: value for name, value in given.items() if value is not None}
    SamplingOptions(**{**GREEDY, **own, "seed": seed})  # what was given, by itself
    config = {name: generation_config[name] for name in KEYS
              if generation_config.get(name) is not None}  # fmt: skip
    if generation_config.get("do_sample") is not True:
        config.pop("temperature", None)
    else:
        config.setdefault("temperature", 1.0)
    taken = {name: value for name, value in config.items() if name not in own}
    try:
        options = SamplingOptions(**{**GREEDY, **taken, **own, "seed": seed})
    except InputError as error:
        raise InputError(f"in the model's generation config {error}") from error
    return options, tuple(taken)
