"""What the commands share: the session, the options of a network, and reading one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from graphbp.exceptions import printable

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = [
    "CheckFailed",
    "Loaded",
    "Session",
    "any_encoding",
    "debug_option",
    "key_values",
    "load_network",
    "network_options",
    "runtime_options",
    "say",
    "tell",
]

F = TypeVar("F", bound=Callable[..., Any])


class CheckFailed(Exception):  # noqa: N818  # an outcome, not an error
    """What was checked does not hold: exit code 1."""


@dataclass
class Session:
    """What one run of the command line knows."""

    debug: bool = False


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
    print(
        lines, file=sys.stderr if err else sys.stdout, flush=True
    )  # click.echo takes an ASCII pipe for a mistake and writes UTF-8


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
_ERROR = click.option("--error", metavar="NAME", help="Error function; default: the file's, else sum_of_squares.")
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
    """The argument NETWORK, and --error, --format, --option, --backend, --dtype, --debug."""
    function = runtime_options(function)
    for decorate in (_OPTION, _FORMAT, _ERROR):
        function = decorate(function)
    return click.argument("network", type=click.Path())(function)


def load_network(
    network: str,
    *,
    backend: str | None = None,
    dtype: str | None = None,
    error: str | None = None,
    file_format: str | None = None,
    options: dict[str, Any] | None = None,
) -> Loaded:
    """The network in a file, with the metadata where the file is of graphbp's own format."""
    from graphbp.files.dispatch import load_with_metadata

    net, metadata = load_with_metadata(network, backend=backend, dtype=dtype, error=error, format=file_format, **(options or {}))
    return Loaded(net, network, metadata)
