"""new and warm: a network to start from, and kernels compiled before anybody waits for them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from graphbp.cli.common import STANDARD, debug_option, destination, errors, say, tell
from graphbp.cli.data import read_table
from graphbp.cli.documents import about, json_option, one_stdout, tell_json
from graphbp.cli.new_heads import heads_for, put_heads, refuse_unfit
from graphbp.exceptions import BackendError, DataError, FileFormatError, unknown_name

if TYPE_CHECKING:
    import networkx as nx

    from graphbp.tables import Table

__all__ = ["COMMANDS"]


def _sizes(_: click.Context, parameter: click.Parameter, text: str | None) -> list[int] | None:
    """The numbers in "16,8"."""
    if text is None:
        return None
    try:
        sizes = [int(part) for part in text.replace(" ", "").split(",") if part]
    except ValueError:
        raise click.BadParameter(f"{text!r}; give numbers of units with commas, such as 4,16,3", param=parameter) from None
    if not sizes or min(sizes) < 0:
        raise click.BadParameter(f"{text!r}; give numbers of units with commas, such as 4,16,3", param=parameter)
    return sizes


@click.command()
@click.argument("output", type=click.Path(), callback=one_stdout)
@click.option("--layers", metavar="D,...,K", callback=_sizes, help="A stack of layers: units of each, inputs first.")
@click.option("--random", "dag", metavar="D,M,K", callback=_sizes, help="A random DAG: inputs, hidden units, outputs.")
@click.option("--data", metavar="FILE", help="A table whose columns are the inputs (.csv, ..., or sklearn:NAME).")
@click.option("--target", metavar="NAME", multiple=True, help="The table's column that is to be predicted; may be repeated.")
@click.option("--hidden", metavar="M,...", callback=_sizes, help="Hidden layers between the table's columns; default 16.")
@click.option("--hidden-dag", type=click.IntRange(0), metavar="M", help="A random DAG of so many hidden units there instead.")
@click.option(
    "--error",
    metavar="[TARGET=]NAME",
    multiple=True,
    callback=errors,
    help="Error function, or that of one target (repeated for others); default: the one that fits.",
)
@click.option("--missing", type=click.Choice(["refuse", "skip"]), help="Targets that are missing: refuse them, or leave them out.")
@click.option("--activation", default="tanh", show_default=True, metavar="NAME", help="Of the hidden units.")
@click.option("--skips", is_flag=True, help="Every layer feeds all later ones.")
@click.option("--units", is_flag=True, help="One node a unit instead of one a layer.")
@click.option("--header/--no-header", default=None, help="The CSV file has a header; default: where its first line has text only.")
@click.option("--ignore-extra", is_flag=True, help="Leave out a column without a name (an index); else it is refused.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the weights, and of a random DAG's edges.")
@click.option("--force", is_flag=True, help="Replace OUTPUT where it is there.")
@json_option
@debug_option
def new(
    output: str,
    layers: list[int] | None,
    dag: list[int] | None,
    data: str | None,
    target: Sequence[str],
    hidden: list[int] | None,
    hidden_dag: int | None,
    error: str | dict[str, str] | None,
    missing: str | None,
    activation: str,
    skips: bool,
    units: bool,
    header: bool | None,
    ignore_extra: bool,
    seed: int,
    force: bool,
    as_json: bool,
) -> None:
    """Write a network to start from to OUTPUT (- is stdout).

    From a table the inputs are called like its columns, the outputs like the target's classes, and their activation is the one that
    fits: the identity for a quantity, a sigmoid for two classes, softmax for more. Targets of several kinds, or with gaps, get a head
    each: an output node of their name with an error of its own.

    \b
    Examples:
      graphbp new net.json --data iris.csv --target species --hidden 16
      graphbp new net.json --data sklearn:diabetes --hidden-dag 30
      graphbp new net.json --data houses.csv --target price --target kind --missing skip
      graphbp new net.json --layers 64,32,10 --error cross_entropy
      graphbp new net.json --random 5,100,2
    """
    ways = [way for way, given in (("--layers", layers), ("--random", dag), ("--data", data)) if given is not None]
    if len(ways) != 1:
        said = " and ".join(ways) if ways else "nothing"
        raise DataError(f"{said} given; say what the network is made of by one of --layers, --random and --data")
    if data is None and (target or hidden is not None or hidden_dag is not None):
        raise DataError("--target, --hidden and --hidden-dag go with --data")
    if data is None and (isinstance(error, dict) or missing is not None):
        raise DataError("--missing, and --error TARGET=NAME, go with --data")
    if (dag is not None or hidden_dag is not None) and (units or skips):
        raise DataError("--units and --skips go with layers; a random DAG has units and skips anyway")
    if output != STANDARD and Path(output).exists() and not force:
        raise DataError(f"{output} is there already; --force replaces it")
    from graphbp.files.dispatch import save
    from graphbp.network import Network

    if data is not None:
        inputs, targets = read_table(data, header, target)
        inputs = _without_index(inputs, ignore_extra)
        middle = _Middle(hidden, hidden_dag, activation, skips, units, seed)
        if isinstance(error, dict) or missing == "skip" or _of_several_kinds(targets):
            graph, error = _many_heads(inputs, targets, middle, error, missing == "skip")
        else:
            graph, error = _from_table(inputs, targets, middle, error)
    else:
        one = error if isinstance(error, str) else None
        graph = (
            _stack(layers, one, activation, skips, units, seed) if layers is not None else _dag(dag or [], one, activation, seed)
        )
    net = Network(graph, error=error or "sum_of_squares", missing=missing or "refuse", backend="numpy")
    try:
        with destination(output) as path:
            save(net, path)
    except FileFormatError as problem:
        raise DataError(f"{problem}; a new network is best a .json file") from problem
    if as_json:
        tell_json(output=output, network=about(net))
    else:
        (say if output == STANDARD else tell)(f"{net!r}\n-> {output if output != STANDARD else 'stdout'}")


def _stack(sizes: list[int], error: str | None, activation: str, skips: bool, units: bool, seed: int) -> nx.DiGraph[Any]:
    from graphbp.builders import layered

    kind: Any = "units" if units else "layers"
    return layered(sizes, activation=activation, error=error, skips=skips, units=kind, seed=seed)


def _dag(sizes: list[int], error: str | None, activation: str, seed: int) -> nx.DiGraph[Any]:
    from graphbp.builders import random_dag

    if len(sizes) != 3:
        raise DataError(f"--random {','.join(map(str, sizes))}; give three numbers: inputs, hidden units, outputs")
    return random_dag(*sizes, activation=activation, error=error, seed=seed)


def _without_index(inputs: Table, ignore_extra: bool) -> Table:
    """The columns without the index that a frame's `to_csv` wrote, which must not become an input."""
    from graphbp.tables import extra_columns, index_columns

    if not (found := index_columns(inputs)):
        return inputs
    if not ignore_extra:
        raise DataError(extra_columns(inputs, [(inputs.names or ())[i] for i in found], "input"))
    say(f"{inputs.source}: not read: column {', '.join(map(str, found))}, which has no name")
    return inputs.select([i for i in range(inputs.n_columns) if i not in found])


@dataclass(frozen=True)
class _Middle:
    """What stands between the columns and the outputs."""

    hidden: list[int] | None
    hidden_dag: int | None
    activation: str
    skips: bool
    units: bool
    seed: int

    def between(self, inputs: Table, k: int, error: str | None) -> nx.DiGraph[Any]:
        """The graph from the table's columns, by name, to k outputs."""
        from graphbp.tables import stacked

        if self.hidden is not None and self.hidden_dag is not None:
            raise DataError("--hidden and --hidden-dag both say what stands between inputs and outputs; give one")
        stacked(inputs)  # what is no number is refused here, by its column and row
        columns = (
            [str(name) for name in inputs.names] if inputs.names is not None else [f"x{i + 1}" for i in range(inputs.n_columns)]
        )
        if self.hidden_dag is not None:
            graph = _dag([len(columns), self.hidden_dag, k], error, self.activation, self.seed)
        else:
            middle = [size for size in self.hidden or [16] if size]
            graph = _stack([len(columns), *middle, k], error, self.activation, self.skips, self.units, self.seed)
        if self.units or self.hidden_dag is not None:
            _name_units(graph, "x", columns)
        else:
            graph.nodes["x"]["columns"] = columns
        return graph


def _from_table(inputs: Table, targets: Table, middle: _Middle, error: str | None) -> tuple[nx.DiGraph[Any], str]:
    """(the graph, the error function) for a table's columns and its target."""
    from graphbp.error_functions import get_error_function

    names, classes = _targets(targets, error)
    if error is None:
        error = "sum_of_squares" if classes is None else "binary_cross_entropy" if len(classes) == 2 else "cross_entropy"
        say(f"error function: {error}")
    row = get_error_function(error)
    if classes is not None:
        refuse_unfit(row, classes, targets.source, names[0])
    k = len(names) if classes is None else 1 if row.targets == "probability" and len(classes) == 2 else len(classes)
    graph = middle.between(inputs, k, error)
    _name_outputs(graph, names, classes, k)
    if targets.names is not None:
        next(attributes for _, attributes in graph.nodes(data=True) if attributes.get("role") == "output")["target"] = names
    return graph, error


def _of_several_kinds(targets: Table) -> bool:
    """Several columns, one of which holds labels."""
    from graphbp.by_head import without_gaps

    kept = [without_gaps(targets, i)[0] for i in range(targets.n_columns)]
    return len(kept) > 1 and any(column.categories is not None or column.values.dtype.kind not in "fiu" for column in kept)


def _many_heads(
    inputs: Table, targets: Table, middle: _Middle, error: str | dict[str, str] | None, skip: bool
) -> tuple[nx.DiGraph[Any], dict[str, str]]:
    """(the graph, the error of each output) for a table's columns and its targets, a head each."""
    heads = heads_for(targets, error, skip)
    graph = put_heads(middle.between(inputs, sum(head.units for head in heads), None), heads)
    for head in heads:
        say(f"{head.name}: {head.error}" + (f", {len(head.classes)} classes" if head.classes is not None else ""))
    return graph, {head.name: head.error for head in heads}


def _targets(targets: Any, error: str | None) -> tuple[list[str], list[Any] | None]:
    """(names of the target's columns, its classes or None for quantities)."""
    from graphbp.classes import found_in
    from graphbp.error_functions import get_error_function
    from graphbp.tables import labels_of, numbers_of

    names = [targets.name(i) if targets.names is None else str(targets.names[i]) for i in range(targets.n_columns)]
    labels = labels_of(targets, 0) if targets.n_columns == 1 else None
    if labels is not None:
        return names, list(found_in(labels.values, labels.categories, len(labels.values)))
    for i in range(targets.n_columns):
        values = numbers_of(targets, i)
    row = get_error_function(error) if error is not None else None
    whole = targets.n_columns == 1 and bool((values == np.round(values)).all())
    found = np.unique(values) if whole else values
    if row is not None and targets.n_columns == 1 and row.targets in ("distribution", "probability"):
        if not whole:
            raise DataError(f"--error {error} takes classes, and {names[0]} of {targets.source} holds {values[0]:g}")
        return names, [int(value) for value in found]
    if whole and len(found) <= 20:
        say(f"{names[0]} has {len(found)} whole values and is taken as a quantity; --error cross_entropy takes them as classes")
    return names, None


def _name_units(graph: nx.DiGraph[Any], letter: str, columns: list[str]) -> None:
    """Input units read the columns of these names."""
    inputs = [node for node, role in graph.nodes(data="role") if role == "input"]
    for node, column in zip(inputs, columns, strict=True):
        graph.nodes[node]["columns"] = [column]


def _name_outputs(graph: nx.DiGraph[Any], names: list[str], classes: list[Any] | None, k: int) -> None:
    outputs = [node for node, role in graph.nodes(data="role") if role == "output"]
    layer = len(outputs) == 1
    if classes is None:
        for node, name in zip(outputs, [names] if layer else [[name] for name in names], strict=True):
            graph.nodes[node]["columns"] = name
        return
    labels = classes if layer else [[label] for label in classes]
    if layer:
        graph.nodes[outputs[0]]["classes"] = labels
    else:
        for node, label in zip(outputs, classes, strict=True):
            graph.nodes[node]["classes"] = str(label)


@click.command()
@click.option("--backend", metavar="NAME", help="The backend to compile for; default: the one that networks take.")
@click.option("--dtype", type=click.Choice(["float64", "float32"]), help="Only this precision; default both, side by side.")
@json_option
@debug_option
def warm(backend: str | None, dtype: str | None, as_json: bool) -> None:
    """Compile the kernels now, for this and every later process.

    The first use of a quantity compiles what it needs, which takes seconds; this does it ahead for all of them, on two cores.

    \b
    Examples:
      graphbp warm
      graphbp warm --backend numba --dtype float32
    """
    from graphbp.config import option
    from graphbp.progress import status
    from graphbp.registry import backend_names, usable_backend

    if backend is not None and backend != "auto" and backend not in backend_names():
        raise unknown_name("backend", backend, backend_names())
    name = usable_backend(option("backend", backend)).name
    dtypes = [dtype] if dtype else ["float64", "float32"]
    code = "import sys; from graphbp.warm import warm; [None for _ in warm(*sys.argv[1:])]"
    began = time.perf_counter()
    with status(f"compiling kernels of {name} for {' and '.join(dtypes)}, once", after=0.2):
        environment = {**os.environ, "GRAPHBP_PROGRESS": "off"}
        runs = [
            subprocess.Popen([sys.executable, "-c", code, name, each], stderr=subprocess.PIPE, text=True, env=environment)
            for each in dtypes
        ]
        try:
            problems = [run.communicate()[1] for run in runs]
        finally:
            for run in runs:
                run.kill()
    for run, each, problem in zip(runs, dtypes, problems, strict=True):
        if run.returncode:
            lines = problem.strip().splitlines()
            raise BackendError(f"backend {name!r} did not compile for {each}: {lines[-1] if lines else f'exit {run.returncode}'}")
    took = time.perf_counter() - began
    if as_json:
        tell_json(backend=name, dtypes=dtypes, seconds=took)
    else:
        tell(f"{name}: every kernel is there for {' and '.join(dtypes)} ({took:.1f} s)")


COMMANDS = (new, warm)
