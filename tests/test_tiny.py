"""Everything once, in seconds: checkpoint, quantize, file, both engines, text."""

import numpy as np

from lightmamba.engine import Engine
from lightmamba.evaluate import perplexity
from lightmamba.model.checkpoint import load_checkpoint
from lightmamba.model.config import mamba2_config
from lightmamba.model.qmodel import load, save
from lightmamba.model.tokenizer import Tokenizer
from lightmamba.numerics.sampling_options import SamplingOptions
from lightmamba.quantization import Calibration, Recipe, quantize_checkpoint
from lightmamba.text import Generation, generate

from .support.builders import write_tokenizer
from .support.checkpoints import write_state_spaces

SHAPE = mamba2_config(
    d_model=64, n_layer=2, vocab_size=272, d_state=32, headdim=32, tie_embeddings=False
)


def test_everything_once(tmp_path):
    tokenizer = write_tokenizer(tmp_path / "tokenizer.json", SHAPE.vocab_size)
    write_state_spaces(tmp_path / "ck", SHAPE, seed=3)
    checkpoint = load_checkpoint(tmp_path / "ck", tokenizer=tokenizer)
    made = quantize_checkpoint(
        checkpoint, Recipe.load("w4a4"), Calibration(sequences=4, seqlen=64), seed=1
    )
    save(made, tmp_path / "m.safetensors")
    model = load(tmp_path / "m.safetensors")

    engine, truth = Engine(model), Engine(model, compiled=False)
    ids = np.random.default_rng(0).integers(0, SHAPE.vocab_size, (2, 24))
    fast, slow = (e.forward(ids, e.empty_state(2), last_only=False)[0] for e in (engine, truth))
    np.testing.assert_array_equal(fast, slow)
    assert len(np.unique(fast)) > 1000
    assert engine.counters == truth.counters

    assert model.tokenizer is not None
    reader = Tokenizer.from_bytes(model.tokenizer)
    options = SamplingOptions(temperature=0.9, top_p=0.95, seed=5)
    texts = [
        Generation.from_steps(
            generate(e, reader.encode("Hello"), max_tokens=12, sampling=options, tokenizer=reader)
        )
        for e in (engine, truth)
    ]
    assert texts[0] == texts[1]
    assert len(texts[0].token_ids) == 12
    assert len(set(texts[0].token_ids)) > 6  # drawn, so that the seed counts
    assert perplexity(engine, ids[0]).tokens == 23
