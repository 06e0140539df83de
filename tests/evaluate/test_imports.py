"""Evaluation takes any model, so it loads none of the libraries that some models need."""

import subprocess
import sys


def test_evaluation_imports_neither_torch_nor_lm_eval():
    code = "import lightmamba.evaluate, sys; print({'torch', 'lm_eval'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
