"""How good a model is: perplexity, comparison with a reference, tasks.

Takes any model by protocol, so that a float checkpoint and the integer engine are measured by the
same code. Nothing of a text is held but its ids and sums over blocks of them; a journal lets what
was stopped go on. ``harness`` runs the tasks of lm-eval and imports it only when called.
"""

from lightmamba.evaluate.comparison import Comparison, LayerError, compare
from lightmamba.evaluate.contamination import OVERLAP_LIMIT, check_overlap, overlap
from lightmamba.evaluate.encoding import encode_text
from lightmamba.evaluate.harness import run_tasks
from lightmamba.evaluate.journal import Journal, Part
from lightmamba.evaluate.likelihood import Perplexity, perplexity
from lightmamba.evaluate.model import LanguageModel, Progress, Tokenizer, Traced
from lightmamba.evaluate.routing import Routing, check_experts, compare_routing
from lightmamba.evaluate.scoring import Request, Score, score
from lightmamba.evaluate.subject import Subject
from lightmamba.evaluate.tasks import Estimate, TaskResult, evaluate_file

__all__ = [
    "OVERLAP_LIMIT",
    "Comparison",
    "Estimate",
    "Journal",
    "LanguageModel",
    "LayerError",
    "Part",
    "Perplexity",
    "Progress",
    "Request",
    "Routing",
    "Score",
    "Subject",
    "TaskResult",
    "Tokenizer",
    "Traced",
    "check_experts",
    "check_overlap",
    "compare",
    "compare_routing",
    "encode_text",
    "evaluate_file",
    "overlap",
    "perplexity",
    "run_tasks",
    "score",
]
