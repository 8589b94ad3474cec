"""Results: printed for people or as JSON, or written to .npy, .npz or .csv, whole or not at all."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import numpy.typing as npt

from graphbp.cli.common import STANDARD, F, put, say, tell
from graphbp.cli.documents import json_option, one_stdout, tell_json
from graphbp.exceptions import DataError, printable
from graphbp.files.atomic import write_atomically

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["check_output", "emit", "output_names", "output_option", "unit_names"]

Array = npt.NDArray[Any]
_SUFFIXES = (".npy", ".npz", ".csv")
_SHOWN = 20


def check_output(context: click.Context, parameter: click.Parameter, path: str | None) -> str | None:
    """Refuse an output that could not be written before anything is computed."""
    one_stdout(context, parameter, path)
    if path is not None and path != STANDARD:
        if Path(path).suffix.lower() not in _SUFFIXES:
            raise click.BadParameter(f"{path}: results go to {', '.join(_SUFFIXES)} files")
        if not Path(path).absolute().parent.is_dir():
            raise click.BadParameter(f"{path}: the folder does not exist")
    return path


def output_option(function: F) -> F:
    """--output and --json."""
    return click.option(
        "-o",
        "--output",
        metavar="FILE",
        callback=check_output,
        help="Write the result to a .npy, .npz or .csv file instead of printing it; - writes CSV to stdout.",
    )(json_option(function))


def emit(
    name: str, array: Array, axes: Sequence[tuple[str, Sequence[str]]], *, output: str | None, as_json: bool, **also: Any
) -> None:
    """Print `array`, or write it; `axes` are (what stands along it, a label for each position); `also` goes into the JSON document."""
    labels = [each for _, each in axes]
    if output is not None:
        _write(name, array, output, labels)
    if as_json:
        named = {kind: each for kind, each in axes if kind != "samples"}
        values = {"values": array} if output is None else {"output": output}
        shape = {"shape": array.shape, "dtype": array.dtype.name, "axes": [kind for kind, _ in axes]}
        tell_json(quantity=name, **also, **shape, **named, **values)
    elif output is None:
        tell(f"{name} {array.shape}, {array.dtype}")
        tell(_table(array, [[printable(label) for label in axis] for axis in labels]))


def _write(name: str, array: Array, output: str, axes: Sequence[Sequence[str]]) -> None:
    if output == STANDARD:
        put(_csv(array, axes).encode())
        return
    suffix = Path(output).suffix.lower()
    buffer = io.BytesIO()
    if suffix == ".npy":
        np.save(buffer, array, allow_pickle=False)
    elif suffix == ".npz":
        np.savez(buffer, **{name: array})  # type: ignore[arg-type]  # the stub takes the name for allow_pickle
    else:
        buffer.write(_csv(array, axes).encode())
    write_atomically(output, buffer.getvalue())
    say(f"{name} {array.shape}, {array.dtype} -> {output}")


def _csv(array: Array, axes: Sequence[Sequence[str]]) -> str:
    """One line for each position along all axes but the last, which are the columns; a vector has a line an entry."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    if array.ndim == 1:
        writer.writerow(["name", "value"])
        writer.writerows([label, repr(float(value))] for label, value in zip(axes[0], array, strict=True))
        return text.getvalue()
    leading = array.shape[:-1]
    if array.ndim == 2:
        writer.writerow(axes[1])
        writer.writerows([repr(float(v)) for v in row] for row in array)
    elif array.ndim in (3, 4):
        writer.writerow([*("sample", "output", "input")[: array.ndim - 1], *axes[-1]])
        for at in np.ndindex(leading):
            writer.writerow([*(axes[k][i] for k, i in enumerate(at)), *(repr(float(v)) for v in array[at])])
    else:
        raise DataError(f"an array of shape {array.shape} does not fit a table; write it to a .npy file")
    return text.getvalue()


def _table(array: Array, axes: Sequence[Sequence[str]], what: str = "sample") -> str:
    """The first rows and columns with their labels; of more than two axes the first few tables, one for each `what`."""
    if array.ndim == 1:
        width = max((len(label) for label in axes[0][:_SHOWN]), default=0)
        lines = [f"  {label:{width}s}  {value: .8g}" for label, value in zip(axes[0][:_SHOWN], array, strict=False)]
        return "\n".join([*lines, *_rest(len(array))])
    if array.ndim > 2:
        shown = min(3, len(array))
        parts = [f"{what} {axes[0][n]}\n{_table(array[n], axes[1:], 'output')}" for n in range(shown)]
        return "\n".join([*parts, *([f"... {len(array) - shown} more {what}s"] if len(array) > shown else [])])
    columns = min(array.shape[1], 8)
    heads = [label[:14] for label in axes[1][:columns]] + (["..."] if array.shape[1] > columns else [])
    left = max((len(label) for label in axes[0][:_SHOWN]), default=0)
    lines = [" " * (left + 2) + " ".join(f"{head:>14s}" for head in heads)]
    for label, row in zip(axes[0][:_SHOWN], array, strict=False):
        lines.append(f"  {label:{left}s}" + " ".join(f"{value:14.6g}" for value in row[:columns]))
    return "\n".join([*lines, *_rest(len(array))])


def _rest(n: int) -> list[str]:
    return [f"  ... {n - _SHOWN} more (--output writes all of them)"] if n > _SHOWN else []


def unit_names(net: Network, nodes: Sequence[Any]) -> list[str]:
    """A label for each unit of the nodes, in the order of X's or Y's columns: "h", or "h[3]" inside a layer."""
    of = dict(zip(net.schedule.names, net.schedule.units.tolist(), strict=True))
    return [str(name) if of[name] == 1 else f"{name}[{k}]" for name in nodes for k in range(of[name])]


def output_names(net: Network) -> list[str]:
    """A label for each of Y's columns: its class, the target that it was trained on, or its unit."""
    names, told = unit_names(net, net.outputs), net.model.meaning.targets
    if net.classes is not None:
        return list(map(str, net.classes)) if len(net.classes) == len(names) else names
    return list(map(str, told)) if len(told) == len(names) else names
