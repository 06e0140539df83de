"""lm-evaluation-harness through its API model: the numbers of the engine, to the last bit."""

import json
from importlib.util import find_spec

import pytest

from lightmamba.cli import main
from lightmamba.engine import Engine
from lightmamba.model.data import austen, demo_file
from lightmamba.model.tokenizer import BareTokenizer

NEEDED = [name for name in ("lm_eval", "tenacity", "aiohttp", "requests") if not find_spec(name)]
pytestmark = [
    pytest.mark.skipif(bool(NEEDED), reason=f"needs lm-eval[api]: no {', '.join(NEEDED)}"),
    pytest.mark.filterwarnings("ignore"),
]
ROWS = 8
UNTIL = {"until": ["."], "max_gen_toks": 12}
TASK = """\
task: birds
dataset_path: json
dataset_kwargs:
  data_files: {{test: {folder}/rows.jsonl}}
  cache_dir: {folder}/cache
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{query}}}}"
doc_to_choice: choices
doc_to_target: 0
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""


@pytest.fixture(scope="module")
def rows():
    """Halves of sentences that the bundled model was not trained on, and three ways to go on."""
    words = austen()[2].split()
    halves = [" ".join(words[n : n + 9]) for n in range(0, 18 * ROWS, 9)]
    return [
        {"query": halves[2 * n],
         "choices": [f" {halves[(2 * n + 2 * more + 1) % (2 * ROWS)]}" for more in range(3)]}
        for n in range(ROWS)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def ours(model, server):
    """The engine, as ``lightmamba evaluate --task`` gives it to lm-eval."""
    from lightmamba.evaluate.lm_adapter import HarnessModel

    return HarnessModel(Engine(model), BareTokenizer(server.served.tokenizer), begins=0, ends=(0,))


def remote(server, **options):
    """The arguments of lm-eval's API model."""
    return {"model": "demo", "base_url": f"{server.url}/v1/completions", **options}


def test_every_request_has_the_engine_s_answer(server, rows, ours):
    """Log-likelihoods, rolling ones and greedy text; the server is asked for the tokens."""
    from lm_eval.api.instance import Instance
    from lm_eval.api.registry import get_model

    def asked(kind, arguments):
        return [Instance(kind, {}, each, n) for n, each in enumerate(arguments)]

    pairs = [(row["query"], choice) for row in rows for choice in row["choices"]]
    requests = {
        "loglikelihood": asked("loglikelihood", [*pairs, ("", pairs[0][0])]),
        "loglikelihood_rolling": asked("loglikelihood_rolling", [(a + b,) for a, b in pairs[:8]]),
        "generate_until": asked("generate_until", [(a, dict(UNTIL)) for a, _ in pairs[::3]]),
    }
    theirs = get_model("local-completions")(**remote(server, batch_size=4))
    assert theirs.tokenizer_backend == "remote"
    for method, given in requests.items():
        assert getattr(theirs, method)(given) == getattr(ours, method)(given)


@pytest.mark.slow
def test_a_task_has_the_engine_s_metrics(server, rows, ours, tmp_path):
    """With the saved tokenizer, as the page says."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    lines = (json.dumps(row) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
    (tmp_path / "birds.yaml").write_text(TASK.format(folder=tmp_path))
    folder = str(tmp_path / "tokenizer")
    assert main(["inspect", str(demo_file()), "--save-tokenizer", folder, "--quiet"]) == 0
    found = []
    for given in (
        {"model": ours},
        {"model": "local-completions", "model_args": remote(server, tokenizer=folder)},
    ):
        manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
        output = simple_evaluate(**given, tasks=["birds"], task_manager=manager)
        found.append((output["results"], [each["resps"] for each in output["samples"]["birds"]]))
    assert found[0] == found[1]
    assert len(found[0][1]) == ROWS
