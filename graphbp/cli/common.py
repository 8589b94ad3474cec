"""What the commands share: the session, the options of a network, reading one, and `-` for stdin and stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import click

from graphbp.exceptions import DataError, GraphbpError, printable

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = [
    "ERROR_PARAMETERS",
    "STANDARD",
    "CheckFailed",
    "Loaded",
    "Session",
    "any_encoding",
    "closed_pipe",
    "debug_option",
    "destination",
    "error_options",
    "errors",
    "file_only",
    "key_values",
    "load_network",
    "network_options",
    "put",
    "runtime_options",
    "say",
    "take_stdin",
    "tell",
]

STANDARD = "-"
"""The name of stdin among what is read, and of stdout for what is written; a file of this name is ./-."""

F = TypeVar("F", bound=Callable[..., Any])


class CheckFailed(Exception):  # noqa: N818  # an outcome, not an error
    """What was checked does not hold: exit code 1."""


@dataclass
class Session:
    """What one run of the command line knows.

    stdin : what stdin was read as ("NETWORK"), once it was.
    """

    debug: bool = False
    stdin: str | None = None


@dataclass
class Loaded:
    """A network, the file it came from, and the file's metadata ({} in other formats than graphbp's own)."""

    net: Network
    path: str
    metadata: Mapping[str, Any]


def say(message: str) -> None:
    """A remark, on stderr: stdout holds only the result."""
    tell(message, err=True)


def tell(message: object, *, err: bool = False) -> None:
    """Lines for people: what a file called its nodes may hold, such as a terminal's control sequences, is shown, not obeyed."""
    lines = "\n".join(map(printable, str(message).split("\n")))
    stream = sys.stderr if err else sys.stdout
    if stream is None:  # closed by the caller (>&-); print would take the other one
        return
    with closed_pipe(stream):
        print(lines, file=stream, flush=True)  # click.echo takes an ASCII pipe for a mistake and writes UTF-8


def put(content: bytes) -> None:
    """The content of a file on stdout, byte for byte, whatever the terminal's encoding."""
    if sys.stdout is None:
        raise DataError("stdout is closed, so nothing can be written to -")
    with closed_pipe(sys.stdout):
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


@contextmanager
def closed_pipe(stream: Any) -> Iterator[None]:
    """Whoever reads (`| head`) may have seen enough: what is written then goes nowhere, and the command does the rest of its work."""
    try:
        yield
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def take_stdin(what: str) -> bytes:
    """All of stdin, which is read once: a second one that asks for it is refused."""
    context = click.get_current_context(silent=True)
    session = context.find_object(Session) if context is not None else None
    if session is not None:
        if session.stdin is not None:
            raise DataError(f"{session.stdin} and {what} are both -, and there is one stdin; give a file for one of them")
        session.stdin = what
    if sys.stdin is None:
        raise DataError(f"{what} is -, and stdin is closed")
    return sys.stdin.buffer.read()


def file_only(_: click.Context, parameter: click.Parameter, path: str | None) -> str | None:
    """Refuse `-` where a file is needed."""
    if path == STANDARD:
        raise click.BadParameter(
            "it is a file; stdin and stdout (-) do not serve here (a file of that name is ./-)", param=parameter
        )
    return path


@contextmanager
def destination(output: str, suffix: str = ".json") -> Iterator[str]:
    """The path to write: `output`, or for `-` one of this suffix whose content goes to stdout when the block has ended."""
    if output != STANDARD:
        yield output
        return
    with TemporaryDirectory(prefix="graphbp-") as folder, _called(f"{folder}{os.sep}", ""):
        path = Path(folder, f"stdout{suffix}")
        yield str(path)
        beside = [each.name for each in Path(folder).iterdir() if each != path]
        if beside:
            raise DataError(
                f"- takes one file, and {beside[0]} would stand beside it; name a file, or keep the weights inside (weights=)"
            )
        put(path.read_bytes())


@contextmanager
def _called(path: str, name: str) -> Iterator[None]:
    """Messages about a file that nobody knows of name what it stands for."""
    try:
        yield
    except GraphbpError as problem:
        if path not in str(problem):
            raise
        raise type(problem)(str(problem).replace(path, name)) from problem


@contextmanager
def any_encoding() -> Iterator[None]:
    """stdout and stderr escape what their encoding lacks (δ in cp1252, é in ASCII) instead of failing, until the block ends."""
    streams = [stream for stream in (sys.stdout, sys.stderr) if hasattr(stream, "reconfigure")]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            if not stream.closed:
                stream.reconfigure(errors=errors)


def _set_debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Session).debug = True


debug_option = click.option(
    "--debug", is_flag=True, expose_value=False, is_eager=True, callback=_set_debug, help="Show the traceback of an error."
)


def key_values(_: click.Context, parameter: click.Parameter, pairs: tuple[str, ...]) -> dict[str, Any]:
    """("inputs=5", "name=a") as {"inputs": 5, "name": "a"}: whole numbers, numbers, true, false and none are recognised."""
    words = {"true": True, "false": False, "none": None}
    result: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{pair!r} is not of the form name=value, such as inputs=5", param=parameter)
        value: Any = words.get(text.lower(), text)
        for kind in (float, int):
            try:
                value = kind(text)
            except ValueError:
                continue
        result[key.replace("-", "_")] = value
    return result


_BACKEND = click.option("--backend", metavar="NAME", help="numpy, numba, ... or auto (`graphbp backends` lists them).")
_DTYPE = click.option("--dtype", type=click.Choice(["float64", "float32"]), help="Precision; default: the file's, else float64.")


def errors(_: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> str | dict[str, str] | None:
    """("poisson",) as its name; ("price=sum_of_squares", "kind=cross_entropy") as a mapping from output to error."""
    if not given:
        return None
    pairs = [text.rpartition("=") for text in given]
    single = [name for output, equals, name in pairs if not equals]
    if single and len(given) > 1:
        raise click.BadParameter(
            f"{' and '.join(given)}; give one error for all outputs, or OUTPUT=NAME for each: --error price=sum_of_squares --error "
            "kind=cross_entropy",
            param=parameter,
        )
    return single[0] if single else _by_output(parameter, pairs)


def _error_weights(_: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, float] | None:
    """("price=0.2",) as a mapping from output to weight."""
    if not given:
        return None
    pairs = [text.rpartition("=") for text in given]
    try:
        return {output: float(value) for output, value in _by_output(parameter, pairs).items()}
    except ValueError:
        raise click.BadParameter(f"{' '.join(given)}; a weight is a number: --error-weight price=0.2", param=parameter) from None


def _by_output(parameter: click.Parameter, pairs: Sequence[tuple[str, str, str]]) -> dict[str, str]:
    """Output → what was said of it, once."""
    found: dict[str, str] = {}
    for output, equals, value in pairs:
        if not output or not equals:
            raise click.BadParameter(f"{value!r} is not of the form OUTPUT=VALUE", param=parameter)
        if output in found:
            raise click.BadParameter(f"output {output!r} is given twice: {found[output]} and {value}", param=parameter)
        found[output] = value
    return found


_ERROR = click.option(
    "--error",
    metavar="[OUTPUT=]NAME",
    multiple=True,
    callback=errors,
    help="Error function, or that of one output (repeated for others); default: the file's, else sum_of_squares.",
)
_ERROR_WEIGHT = click.option(
    "--error-weight",
    "error_weights",
    metavar="OUTPUT=WEIGHT",
    multiple=True,
    callback=_error_weights,
    help="What an output's error counts, where not 1; may be repeated.",
)
_MISSING = click.option(
    "--missing",
    type=click.Choice(["refuse", "skip"]),
    help="Targets that are missing: refuse them, or leave them out; default: the file's, else refuse.",
)
ERROR_PARAMETERS = ("error", "error_weights", "missing")
"""The parameters of `error_options`."""


def error_options(function: F) -> F:
    """--error, --error-weight and --missing."""
    for decorate in (_MISSING, _ERROR_WEIGHT, _ERROR):
        function = decorate(function)
    return function


_FORMAT = click.option("--format", "file_format", metavar="NAME", help="Format of NETWORK, where its suffix does not tell.")
_OPTION = click.option(
    "--option",
    "options",
    metavar="NAME=VALUE",
    multiple=True,
    callback=key_values,
    help="An option of NETWORK's format, such as inputs=5; may be repeated.",
)


def runtime_options(function: F) -> F:
    """--backend, --dtype and --debug."""
    for decorate in (debug_option, _DTYPE, _BACKEND):
        function = decorate(function)
    return function


def network_options(function: F) -> F:
    """The argument NETWORK, and --error, --error-weight, --missing, --format, --option, --backend, --dtype, --debug."""
    function = runtime_options(function)
    for decorate in (_OPTION, _FORMAT, error_options):
        function = decorate(function)
    return click.argument("network", type=click.Path())(function)


def load_network(
    network: str,
    *,
    backend: str | None = None,
    dtype: str | None = None,
    error: str | Mapping[str, str] | None = None,
    error_weights: Mapping[str, float] | None = None,
    missing: str | None = None,
    file_format: str | None = None,
    options: dict[str, Any] | None = None,
) -> Loaded:
    """The network in a file, or for `-` on stdin, with the metadata where it is of graphbp's own format."""
    from graphbp.files.dispatch import load_with_metadata

    heads = {"error": error, "error_weights": error_weights, "missing": missing}
    settings: dict[str, Any] = {"backend": backend, "dtype": dtype, **heads, "format": file_format, **(options or {})}
    if network != STANDARD:
        net, metadata = load_with_metadata(network, **settings)
        return Loaded(net, network, metadata)
    context = click.get_current_context(silent=True)
    if context is not None and STANDARD in (context.params.get("data"), context.params.get("target_file")):
        raise DataError("NETWORK and DATA are both -, and there is one stdin; give a file for one of them")
    with TemporaryDirectory(prefix="graphbp-") as folder:
        path = Path(folder, "stdin.json")
        path.write_bytes(take_stdin("NETWORK"))
        with _called(str(path), "stdin"):
            net, metadata = load_with_metadata(path, **settings)
    return Loaded(net, "stdin", metadata)
