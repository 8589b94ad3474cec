"""The group of all commands, and how an exception becomes one message and an exit code."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import click

from graphbp.cli import networks, new, quantities, training
from graphbp.cli.common import CheckFailed, Session, any_encoding, say
from graphbp.exceptions import DataWarning, GraphbpError

__all__ = ["program", "run"]

OK, FAILED, USAGE, UNEXPECTED, INTERRUPTED = 0, 1, 2, 3, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="graphbp")
def program() -> None:
    """Backpropagation, Jacobians and exact Hessians of any feed-forward DAG.

    A NETWORK is a file in any format that is installed (`graphbp convert --help` lists them).  DATA is a table: .csv (.tsv, .txt, .dat;
    also .gz), .parquet, .xlsx, .npy, .npz, or sklearn:NAME for a data set that scikit-learn carries (digits, iris, wine, breast_cancer,
    diabetes, linnerud).  - is stdin for one of them, a network as JSON or a table as CSV, and stdout after -o.  --json prints one JSON
    document: numbers to the last bit, what is not finite as "nan", "inf" or "-inf".

    \b
    Examples:
      graphbp new net.json --data sklearn:iris
      graphbp info model.json
      graphbp train model.json sklearn:digits --validation-split 0.2 --epochs 30 -o trained.json
      graphbp check trained.json sklearn:digits --rows 20
      graphbp jacobian swing.out states.csv --option inputs=5 --option outputs=1 -o J.npy

    Exit codes: 0 it worked, 1 a check failed, 2 bad usage or input, 3 an unexpected error, 130 interrupted.
    """


for command in (*new.COMMANDS, *networks.COMMANDS, *quantities.COMMANDS, *training.COMMANDS):
    program.add_command(command)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    say(f"Warning: {message}")


def _invoke(arguments: list[str], session: Session) -> None:
    """As click's own `main`, but for what it does about a closed pipe (exit 1, as if a check had failed)."""
    try:
        with program.make_context("graphbp", arguments, obj=session) as context:
            program.invoke(context)
    except click.exceptions.Exit:  # --help and --version end so
        pass
    if sys.stdout is not None:
        sys.stdout.flush()


def _forget_stdout() -> None:
    """What is still in stdout's buffer and could not be written would fail once more at exit, with an exit code of Python's own."""
    try:
        sys.stdout.flush()
    except OSError:
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123  # a descriptor is wanted
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command; every exception ends as one message on stderr, with its traceback where --debug was given."""
    session = Session()
    with warnings.catch_warnings(), any_encoding():
        warnings.showwarning = _show_warning
        warnings.simplefilter("always", DataWarning)
        try:
            _invoke(sys.argv[1:] if arguments is None else list(arguments), session)
        except CheckFailed as problem:
            say(f"Failed: {problem}")
            return FAILED
        except click.ClickException as problem:
            problem.show()
            return USAGE
        except (KeyboardInterrupt, click.Abort):
            say("Interrupted")
            return INTERRUPTED
        except BrokenPipeError:  # `graphbp --help | head`: click wrote, and who read has seen enough
            _forget_stdout()
            return OK
        except (GraphbpError, OSError, MemoryError) as problem:
            if session.debug:
                raise
            if isinstance(problem, OSError):
                _forget_stdout()
            say(f"Error: {problem}" if str(problem) else f"Error: {type(problem).__name__}")
            return USAGE
        except Exception as problem:
            if session.debug:
                raise
            say(f"Unexpected {type(problem).__name__}: {problem}\nThis should not happen; --debug shows where it did.")
            return UNEXPECTED
    return OK
