"""No function takes more than ten parameters, but for the public face and C functions."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST = 10
EXEMPT = {
    "backends/graphbp_numba/layers/functions.py:multiply": "a C function: it takes numbers, one by one",
    "graphbp/activations/registration.py:register_activation": "gb.register_activation: one keyword for each column of a row of the table",
    "graphbp/builders/edge_lists.py:from_edges": "gb.from_edges: one keyword for each attribute",
    "graphbp/builders/random_graphs.py:random_dag": "gb.random_dag: one keyword for each property",
    "graphbp/cli/new.py:new": "the shell: one parameter for each option of `graphbp new`",
    "graphbp/cli/training.py:train": "the shell: one parameter for each option of `graphbp train`",
    "graphbp/training/entry.py:train": "gb.train: one keyword for each option of training",
    "plugins/graphbp_sklearn/classifier.py:__init__": "GraphClassifier: scikit-learn reads an estimator's parameters off its signature",
    "plugins/graphbp_sklearn/estimator.py:__init__": "GraphRegressor: likewise",
}


def crowds(path: Path) -> list[str]:
    """Functions of a module with more than `MOST` parameters."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            given = node.args
            parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
            if sum(parameter is not None for parameter in parameters) > MOST:
                found.append(getattr(node, "name", "lambda"))
    return found


def test_no_function_is_crowded_but_for_those_exempt():
    paths = [path for folder in ("graphbp", "backends", "plugins") for path in (ROOT / folder).rglob("*.py")]
    assert len(paths) > 150
    found = {f"{path.relative_to(ROOT).as_posix()}:{name}" for path in paths for name in crowds(path)}
    assert found == set(EXEMPT)


def test_a_crowd_is_seen(tmp_path):
    module = tmp_path / "module.py"
    module.write_text(
        "def few(a, b, *c, d=0, **e): ...\nclass C:\n    def many(self, a, b, c, d, e, f, g, /, h, *i, j, **k): ...\n"
    )
    assert crowds(module) == ["many"]
