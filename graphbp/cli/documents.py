"""--json: one JSON document on stdout instead of text for people, whatever the command.

Numbers are written as Python's repr writes them, so that reading them gives the same bits; float32 numbers as the doubles that they
are.  JSON has no number for what is not finite: it stands as "nan", "inf" or "-inf", which Python's float() takes.  Text is ASCII with
escapes.  Remarks stay on stderr, and exit codes are the same: `check --json` that finds a fault prints its report and exits with 1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from graphbp.cli.common import STANDARD, F, tell
from graphbp.mixture import error_at

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["about", "json_option", "one_stdout", "tell_json"]


def json_option(function: F) -> F:
    """--json."""
    return click.option("--json", "as_json", is_flag=True, is_eager=True, help="Print one JSON document instead of text.")(function)


def one_stdout(context: click.Context, _: click.Parameter, path: str | None) -> str | None:
    """Refuse --json beside -o -."""
    if path == STANDARD and context.params.get("as_json"):
        raise click.UsageError("--json and -o - both write to stdout; give one of them, or a file to -o")
    return path


def tell_json(**document: Any) -> None:
    """The document, on one line."""
    tell(json.dumps(_plain(document), allow_nan=False))


def about(net: Network) -> dict[str, Any]:
    """What a network is: what its columns are called, its size, what computes it."""
    schedule, scaling = net.schedule, net.model.meaning.scaling
    sides = {"inputs": scaling.inputs, "outputs": scaling.outputs}
    return {
        "inputs": list(net.inputs),
        "outputs": list(net.outputs),
        "columns": list(net.columns),
        "classes": net.classes,
        "scaling": {side: {"shift": each.shift, "scale": each.scale} for side, each in sides.items() if each is not None},
        "units": schedule.n_units - schedule.inner.n_rows,
        "edges": net.model.spec.n_edges,
        "levels": schedule.depth,
        "parameters": net.n_parameters,
        "error": net.error_function.name,
        **_heads(net),
        "backend": net.backend,
        "dtype": net.dtype.name,
    }


def _heads(net: Network) -> dict[str, Any]:
    """The error and weight of each head, and what becomes of missing targets, where there is more than one error to say."""
    heads = net.model.heads
    told = {} if net.missing == "refuse" else {"missing": net.missing}
    if heads.plain:
        return told
    weight = [1.0] * net.schedule.n_outputs if heads.weight is None else heads.weight.tolist()
    each = {name: {"error": error_at(heads.error, int(p[0])).name, "weight": weight[int(p[0])]} for name, p in heads.named.items()}
    return {"heads": each, **told}


def _plain(value: Any) -> Any:
    """The value as JSON has it."""
    if isinstance(value, np.ndarray | np.generic):
        whole = value.dtype.kind in "biuU" or (value.dtype.kind == "f" and bool(np.isfinite(value).all()))
        return value.tolist() if whole else _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)
