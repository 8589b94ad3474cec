"""train: fit a network to data and write what it became."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import numpy.typing as npt

from graphbp.cli.common import (
    ERROR_PARAMETERS,
    STANDARD,
    destination,
    file_only,
    key_values,
    load_network,
    network_options,
    say,
    tell,
)
from graphbp.cli.data import data_options, read_batch
from graphbp.cli.documents import about, json_option, one_stdout, tell_json
from graphbp.cli.drawing import PICTURES
from graphbp.exceptions import DataError, GraphbpError

if TYPE_CHECKING:
    from graphbp.network import Network
    from graphbp.training.history import History

__all__ = ["COMMANDS"]

_OWN_METADATA = ("error", "dtype", "missing")


@click.command()
@network_options
@data_options
@click.option(
    "--standardize",
    is_flag=True,
    help="Each input, and each target of a regression, minus its mean, over its standard deviation in the rows trained on; both stay "
    "with the network, which takes and gives raw numbers.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE",
    callback=one_stdout,
    help="The trained network, in the format of its suffix; - writes JSON to stdout.",
)
@click.option(
    "--optimizer", default="adam", show_default=True, metavar="NAME", help="sgd, adam, lbfgs, levenberg_marquardt or newton."
)
@click.option("--epochs", type=click.IntRange(0), help="At most this many; default: the optimizer's own.")
@click.option(
    "--set",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    callback=key_values,
    help="An option of the optimizer, such as learning_rate=0.01 or l2=1e-4; may be repeated.",
)
@click.option(
    "--validation-split", type=float, default=0.0, metavar="SHARE", help="Hold out this share of the samples, drawn from --seed."
)
@click.option(
    "--patience", type=click.IntRange(1), metavar="EPOCHS", help="Stop after so many epochs without improvement; keep the best."
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the held-out share and the order of the samples."
)
@click.option("--checkpoint", metavar="FILE", callback=file_only, help="Keep the state here; the same command goes on from it.")
@click.option("--history", "history_file", metavar="FILE", callback=file_only, help="Write error (and accuracy) by epoch as CSV.")
@click.option("--plot", "plot_file", metavar="FILE", callback=file_only, help="Draw error by epoch (.png, .svg, .pdf).")
@click.option("--progress/--no-progress", default=None, help="A progress bar; default: on a terminal.")
@json_option
def train(
    network: str,
    data: str,
    standardize: bool,
    output: str,
    optimizer: str,
    epochs: int | None,
    settings: dict[str, Any],
    validation_split: float,
    patience: int | None,
    seed: int,
    checkpoint: str | None,
    history_file: str | None,
    plot_file: str | None,
    progress: bool | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Train NETWORK on DATA and write the result.

    The weights in NETWORK's file are where it starts.  What the data needed (--standardize, names of columns and classes) stands on
    the network's nodes: it takes and gives raw numbers ever after, here and in Python.

    \b
    Examples:
      graphbp train net.json iris.csv --target species --error cross_entropy --standardize -o iris.json
      graphbp train net.json sklearn:digits --validation-split 0.2 --set learning_rate=0.003 --plot curves.png -o digits.json
      graphbp train net.json points.csv --target y --optimizer levenberg_marquardt -o fitted.json
      graphbp train net.json counts.csv --target n --error poisson --optimizer newton -o fitted.json
      graphbp train net.json assays.csv --error price=sum_of_squares --error kind=cross_entropy --missing skip -o heads.json
    """
    import graphbp as gb

    for path in (output if output != STANDARD else None, checkpoint, history_file, plot_file):
        if path is not None and not Path(path).absolute().parent.is_dir():
            raise DataError(f"{path} cannot be written: its folder does not exist")
    if plot_file is not None and Path(plot_file).suffix.lower() not in PICTURES:
        raise DataError(f"{plot_file}: pictures are written as {', '.join(PICTURES)}")
    names = ("backend", "dtype", *ERROR_PARAMETERS, "file_format", "options")
    loaded = load_network(network, **{name: given.pop(name) for name in names})
    net = loaded.net
    batch = read_batch(loaded, data, **given, learn=True)
    T = batch.targets()
    rows, held_out = _split(len(batch.X), validation_split, seed)
    if standardize:
        _scale(net, batch.X[rows], T[rows])
    kept = {key: value for key, value in loaded.metadata.items() if key not in _OWN_METADATA}
    _rehearse(net, output, kept)
    validation = (batch.X[held_out], T[held_out]) if len(held_out) else None
    history = gb.train(
        net,
        batch.X[rows],
        T[rows],
        optimizer=optimizer,
        epochs=epochs,
        validation=validation,
        patience=patience,
        seed=seed,
        checkpoint=checkpoint,
        progress=progress,
        **settings,
    )
    with destination(output) as path:
        _save(net, path, kept)
    reports = {"trained_on": _report(net, batch.X[rows], T[rows])}
    if validation is not None:
        reports["held_out"] = _report(net, *validation)
    if history_file is not None:
        history.save(history_file)
    if plot_file is not None:
        history.plot(plot_file)
    if as_json:
        tell_json(output=output, **reports, history=history.to_dict(), interrupted=history.interrupted, network=about(net))
    else:
        out = say if output == STANDARD else tell
        out(str(history))
        for what, numbers in reports.items():
            out(f"{what.replace('_', ' ')}: {_said(numbers)}")
    if epochs is None:
        _still_falling(history)
    say(f"trained network -> {output if output != STANDARD else 'stdout'}")
    if history.interrupted:
        raise KeyboardInterrupt  # the work is kept; the exit code says that it is not all that was asked for


def _scale(net: Network, X: Any, T: Any) -> None:
    if net.model.meaning.scaling:
        say(f"the network has a scale already ({net.model.meaning.scaling}), which stays")
        return
    net.fit_scaling(X, T)
    say(f"scaled by mean and standard deviation of {len(X)} rows: {net.model.meaning.scaling}")


def _save(net: Network, path: str | Path, kept: Mapping[str, Any]) -> None:
    """Names of columns are lost in a format that keeps none, which then reads tables by position; the rest is refused by the format."""
    options: dict[str, Any] = {"metadata": kept} if kept else {}
    if path != STANDARD and Path(path).suffix.lower() != ".json":
        options["drop"] = "columns,target"
    net.save(path, **options)


def _rehearse(net: Network, output: str, kept: Mapping[str, Any]) -> None:
    """Write the network as it is beside `output`, and away with it: what cannot be written is refused before hours of training."""
    if output == STANDARD:
        return
    target = Path(output)
    if target.is_dir():
        raise DataError(f"{output} is a folder; name the file that the trained network goes to")
    try:
        folder = TemporaryDirectory(prefix=".graphbp-", dir=target.absolute().parent)
    except OSError as problem:
        raise DataError(f"{output} cannot be written: {problem.strerror or problem}") from problem
    with folder as place:
        try:
            _save(net, Path(place, target.name), kept)
        except GraphbpError as problem:
            own = target.with_suffix(".json").name
            way = (
                f"; from here: -o {own}, then graphbp convert {own} {target.name} --to-option drop=..."
                if "drop=" in str(problem)
                else ""
            )
            raise type(problem)(str(problem).replace(f"{place}{os.sep}", "") + way) from problem


def _split(n: int, share: float, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(rows to train on, rows held out), a seeded draw, each in the order of the data."""
    if not share:
        return np.arange(n), np.arange(0)
    held_out = round(n * share)
    if not 0 < share < 1 or not 0 < held_out < n:
        raise DataError(f"--validation-split {share:g} of {n} rows; give a share that leaves rows on both sides")
    order = np.random.default_rng([seed, 0]).permutation(n)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def _still_falling(history: History) -> None:
    """Say so where the optimizer's own number of epochs was too few: the last tenth still took more than 2 % off the error."""
    errors, n = history.monitored, len(history)
    before = errors[-1 - n // 10] if n >= 10 else 0.0
    if history.reason.startswith("all ") and 0 < errors[-1] < 0.98 * before:
        fell = 1 - errors[-1] / before
        say(
            f"the error was still falling, by {fell:.0%} over the last {n // 10} epochs: --epochs {10 * n} or --optimizer lbfgs go further"
        )


def _report(net: Network, X: Any, T: Any) -> dict[str, Any]:
    """The mean error; the accuracy of a classifier, the root mean square error of a regression in the target's own units."""
    if net.model.many:
        return _report_by_head(net, X, T)
    numbers: dict[str, Any] = {"samples": len(X), "mean_error": float(net.error(X, T)) / len(X)}
    Y = np.asarray(net.forward(X))
    if net.model.meaning.n_classes:
        right = T if T.ndim == 1 else T[:, 0] if Y.shape[1] == 1 else T.argmax(axis=1)
        said = (Y[:, 0] > 0.5) if Y.shape[1] == 1 else Y.argmax(axis=1)
        numbers["accuracy"] = float(np.mean(said == right))
    elif net.error_function.targets == "real":
        numbers["root_mean_square_error"] = np.sqrt(np.mean((Y - T.reshape(Y.shape)) ** 2, axis=0, dtype=np.float64)).tolist()
    return numbers


def _report_by_head(net: Network, X: Any, T: Any) -> dict[str, Any]:
    """The mean error over the targets that are there, and each head's."""
    from graphbp.training.head_errors import mean_errors

    mean, heads = mean_errors(net, X, T)
    return {"samples": len(X), "mean_error": mean, "heads": heads}


def _said(numbers: dict[str, Any]) -> str:
    line = f"{numbers['samples']} samples, mean error {numbers['mean_error']:.6g}"
    if "accuracy" in numbers:
        line += f", accuracy {numbers['accuracy']:.4f}"
    heads = numbers.get("heads", {})
    line += "".join(f", {name} {value:.6g}" for name, value in list(heads.items())[:8]) + (", ..." if len(heads) > 8 else "")
    each = numbers.get("root_mean_square_error", [])
    if each:
        line += f", root mean square error {', '.join(f'{value:.6g}' for value in each[:8])}{', ...' if len(each) > 8 else ''}"
    return line


COMMANDS = (train,)
