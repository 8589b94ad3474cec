"""forward, gradient, jacobian, hessian, input-hessian, check and view: what a network computes from data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np

from graphbp.cli.common import ERROR_PARAMETERS, STANDARD, CheckFailed, destination, load_network, network_options, say, tell
from graphbp.cli.data import Batch, data_options, read_batch, table_options
from graphbp.cli.documents import json_option, one_stdout, tell_json
from graphbp.cli.output import emit, output_names, output_option

__all__ = ["COMMANDS"]

F = TypeVar("F", bound=Callable[..., Any])
_NETWORK = ("backend", "dtype", *ERROR_PARAMETERS, "file_format", "options")


def _read(network: str, data: str, given: dict[str, Any]) -> tuple[Any, Batch]:
    """The network and its batch, from everything that the two groups of options gave."""
    loaded = load_network(network, **{name: given.pop(name) for name in _NETWORK})
    return loaded.net, read_batch(loaded, data, **given)


def _samples(X: Any) -> tuple[str, list[str]]:
    return "samples", [str(n) for n in range(len(X))]


def _computes(function: F) -> click.Command:
    """A command that computes something of NETWORK from DATA and puts it out."""
    return click.command()(network_options(data_options(output_option(function))))


def _kind(help: str, *others: str) -> Callable[[F], F]:
    """--kind: exact, or one of the others."""
    return click.option("--kind", type=click.Choice(["exact", *others]), default="exact", show_default=True, help=help)


@_computes
def forward(network: str, data: str, output: str | None, as_json: bool, **given: Any) -> None:
    """Compute the outputs of NETWORK for DATA.

    One row a sample, one column an output.

    \b
    Examples:
      graphbp forward model.json new.csv
      graphbp forward swing.out states.npy --option inputs=5 --option outputs=1 -o Y.csv
      cut -d, -f1-4 iris.csv | graphbp forward iris.json - --json
    """
    net, batch = _read(network, data, given)
    axes = [_samples(batch.X), ("outputs", output_names(net))]
    emit("Y", net.forward(batch.X), axes, output=output, as_json=as_json)


@_computes
@click.option("--per-sample", is_flag=True, help="One row a sample, not their sum.")
def gradient(network: str, data: str, output: str | None, as_json: bool, per_sample: bool, **given: Any) -> None:
    """Compute the gradient of the error by the weights.

    By backpropagation; one number for each free weight or bias, in the order of the network's parameters.

    \b
    Examples:
      graphbp gradient model.json train.csv --target y
      graphbp gradient model.json sklearn:iris -o gradient.npy
    """
    net, batch = _read(network, data, given)
    T, names = batch.targets(), ("parameters", net.model.parameter_labels("->"))
    if per_sample:
        axes = [_samples(batch.X), names]
        emit("gradient", net.per_sample_gradient(batch.X, T), axes, output=output, as_json=as_json)
        return
    error, values = net.error_and_gradient(batch.X, T)
    if not as_json:
        line = f"E = {error:.10g} over {len(batch.X)} samples; |gradient| = {np.linalg.norm(values):.6g}"
        (tell if output is None else say)(line)
    emit("gradient", values, [names], output=output, as_json=as_json, error=float(error), samples=len(batch.X))


@_computes
@click.option("--weights", is_flag=True, help="By the weights: (samples, outputs, parameters), not by the inputs.")
def jacobian(network: str, data: str, output: str | None, as_json: bool, weights: bool, **given: Any) -> None:
    """Compute the Jacobian of the outputs, sample by sample.

    (samples, outputs, inputs), or with --weights (samples, outputs, parameters).

    \b
    Examples:
      graphbp jacobian model.json new.csv
      graphbp jacobian model.json new.npy --weights -o J.npz
    """
    net, batch = _read(network, data, given)
    values = net.weight_jacobian(batch.X) if weights else net.jacobian(batch.X)
    last = ("parameters", net.model.parameter_labels("->")) if weights else ("inputs", list(map(str, net.columns)))
    axes = [_samples(batch.X), ("outputs", output_names(net)), last]
    emit("jacobian", values, axes, output=output, as_json=as_json)


@_computes
@_kind(
    "The whole matrix, its outer-product (Gauss-Newton) approximation, or the exact diagonal alone.", "outer-product", "diagonal"
)
def hessian(network: str, data: str, output: str | None, as_json: bool, kind: str, **given: Any) -> None:
    """Compute the Hessian of the error by the weights.

    Exact by default, in closed form; (parameters, parameters).

    \b
    Examples:
      graphbp hessian model.json train.csv --target y -o H.npy
      graphbp hessian model.json sklearn:digits --rows 100 --kind diagonal
    """
    net, batch = _read(network, data, given)
    compute = {"exact": net.hessian, "outer-product": net.outer_product_hessian, "diagonal": net.hessian_diagonal}[kind]
    values, names = compute(batch.X, batch.targets()), ("parameters", net.model.parameter_labels("->"))
    emit("hessian", values, [names] * values.ndim, output=output, as_json=as_json, kind=kind)


@_computes
@_kind("All pairs of inputs, each input with itself, or the sum of those.", "diagonal", "laplacian")
def input_hessian(network: str, data: str, output: str | None, as_json: bool, kind: str, **given: Any) -> None:
    """Compute the second derivatives of the outputs by the inputs, sample by sample.

    Exact; (samples, outputs, inputs, inputs), for the diagonal (samples, outputs, inputs), for the Laplacian (samples, outputs).

    \b
    Examples:
      graphbp input-hessian model.json new.csv -o H.npz
      graphbp input-hessian model.json new.csv --kind laplacian
    """
    net, batch = _read(network, data, given)
    compute = {"exact": net.input_hessian, "diagonal": net.input_hessian_diagonal, "laplacian": net.laplacian}[kind]
    values, inputs = compute(batch.X), ("inputs", list(map(str, net.columns)))
    axes = [_samples(batch.X), ("outputs", output_names(net)), inputs, inputs][: values.ndim]
    emit("input_hessian" if kind != "laplacian" else kind, values, axes, output=output, as_json=as_json, kind=kind)


@click.command()
@network_options
@data_options
@json_option
def check(network: str, data: str, as_json: bool, **given: Any) -> None:
    """Verify every derivative by numerical differentiation.

    Prints a report; exit code 1 where a derivative is wrong.

    \b
    Examples:
      graphbp check model.json train.csv --target y
      graphbp check model.json sklearn:digits --rows 20 --backend numba
    """
    net, batch = _read(network, data, given)
    report = net.check(batch.X, batch.targets())
    if as_json:
        tell_json(ok=report.ok, network=report.network, rows=[asdict(row) for row in report.rows], notes=report.notes)
    else:
        tell(str(report))
    if not report.ok:
        raise CheckFailed("the derivatives disagree; the report says where")


@click.command()
@network_options
@click.option("--data", required=True, metavar="DATA", help="The samples, a table as for the other commands.")
@table_options
@json_option
@click.option("-o", "--output", required=True, metavar="FILE", callback=one_stdout, help="The page, .html; - is stdout.")
@click.option("--title", metavar="TEXT", help="Above the page; default: the network's file and the data.")
def view(network: str, data: str, output: str, title: str | None, as_json: bool, **given: Any) -> None:
    """Write a page that steps through both sweeps of NETWORK.

    One HTML file that loads nothing: the graph by level, the forward sweep, the error and the reverse sweep (Algorithm 8.1) of any
    sample, a step at a time or played, each with its formula and the numbers in it; all of a unit, and the numerical check of a weight,
    on click.  It holds the first 200 samples at most, and says what else it leaves out.

    \b
    Examples:
      graphbp view net.json --data x.csv --target y -o view.html
      graphbp view iris.json --data sklearn:iris --rows 20 -o iris.html
    """
    net, batch = _read(network, data, given)
    page = net.view(batch.X, batch.targets(), title=f"{Path(network).name}, {Path(data).name}" if title is None else title)
    with destination(output, ".html") as path:
        page.save(path)
    size = len(page.html)
    if as_json:
        tell_json(output=output, bytes=size, samples=page.document["n_samples"], notes=page.notes)
    for note in page.notes:
        say(note)
    say(f"{page!r} -> {output if output != STANDARD else 'stdout'} ({size / 1e6:.1f} MB)")


COMMANDS = (forward, gradient, jacobian, hessian, input_hessian, check, view)
