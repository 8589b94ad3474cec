"""The command line: `graphbp COMMAND ...`.

    __init__      main: the commands, exit codes, errors as one message
    common        what commands share: the network, --backend, --dtype, --debug; - for stdin and stdout
    data          X and T from CSV, .npy, .npz and the data sets that scikit-learn carries
    sheets        Parquet and Excel, through the library that is installed
    output        results as a table for people, or as .npy, .npz, CSV
    documents     --json: results as one JSON document
    new           new, warm
    networks      backends, info, convert, draw, parity
    quantities    forward, gradient, jacobian, hessian, input-hessian, check, view
    training      train
    drawing       the picture that `draw` makes

Exit codes: 0 it worked, 1 a check failed, 2 bad usage or input, 3 an unexpected error, 130 interrupted.  Whoever stops reading
(`| head`) changes none of them.  Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on `arguments` (default: the process's own) and return its exit code."""
    from graphbp.cli.program import run

    return run(arguments)
