"""Which format a file has, and who reads or writes it: graphbp's own, and those that plugins bring.

A format is named by `format=`, or found by the file's suffix; where several formats share a suffix (.json), each looks into the file
(`sniff`).  A file that is written gets graphbp's own format at ".json", else the one exporter that has the suffix.

Plugins offer an `Importer` in the entry point group `graphbp.importers` and an `Exporter` in `graphbp.exporters` under the format's
name; they are imported only when a file needs them.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import networkx as nx

from graphbp.columns import Columns
from graphbp.exceptions import DataError, FileFormatError, RegistryError, unknown_name
from graphbp.files.native import check_acyclic, is_graphbp_file, naming, read_graph_file, read_unchecked, write_columns, write_graph
from graphbp.graph import check_columns, read_graph
from graphbp.protocols import Exporter, Importer
from graphbp.registry import BROKEN, describe_failure, plugin_entries

if TYPE_CHECKING:
    from graphbp.error_functions import ErrorFunction
    from graphbp.network import Network

__all__ = ["Format", "broken_formats", "formats", "load", "load_graph", "load_with_metadata", "save", "save_graph"]

PathLike = str | os.PathLike[str]
OWN = "graphbp"
_GROUPS = {"read": "graphbp.importers", "write": "graphbp.exporters"}
_KINDS = {"read": Importer, "write": Exporter}


class _Own:
    """graphbp's own format as an importer and exporter."""

    suffixes = (".json",)
    description = "graphbp's own: JSON, weights inline or in .npz or .safetensors beside it"

    @staticmethod
    def sniff(path: Path) -> bool:
        return is_graphbp_file(path)

    @staticmethod
    def read(path: Path) -> nx.DiGraph:
        return read_graph_file(path)[0]

    @staticmethod
    def write(graph: nx.DiGraph, path: Path, *, weights: str | None = None, metadata: Mapping[str, Any] | None = None) -> None:
        write_graph(graph, path, weights=weights, metadata=metadata)


@dataclass(frozen=True)
class Format:
    """A file format: its name, suffixes, what it is, and the options that reading and writing it take (None: cannot)."""

    name: str
    suffixes: tuple[str, ...]
    description: str
    read_options: tuple[str, ...] | None
    write_options: tuple[str, ...] | None


def formats() -> list[Format]:
    """Every format there is, graphbp's own first.  A plugin that cannot be imported is left out here, and named where it is asked for."""
    found = []
    for name in dict.fromkeys([OWN, *plugin_entries(_GROUPS["read"]), *plugin_entries(_GROUPS["write"])]):
        reader, writer = (_available("read").get(name), _available("write").get(name))
        some: Any = reader or writer
        if some is not None:
            reads, writes = _options(reader.read) if reader else None, _options(writer.write) if writer else None
            suffixes = tuple(dict.fromkeys([*(reader.suffixes if reader else ()), *(writer.suffixes if writer else ())]))
            found.append(Format(name, suffixes, some.description, reads, writes))
    return found


def _get(direction: Literal["read", "write"], name: str) -> Any:
    """The importer or exporter called `name`."""
    entries = plugin_entries(_GROUPS[direction])
    if name == OWN:
        return _Own
    if name not in entries:
        raise unknown_name(f"format to {direction}", name, [OWN, *entries])
    try:
        found = entries[name].load()
    except RegistryError:  # two packages have this name
        raise
    except BROKEN as problem:
        raise RegistryError(
            f"format {name!r} ({entries[name].value}) could not be imported: {describe_failure(problem)}"
        ) from problem
    if not isinstance(found, _KINDS[direction]):
        raise RegistryError(
            f"entry point {entries[name].value} of format {name!r} is no {_KINDS[direction].__name__} (see graphbp.extend)"
        )
    return found


def _available(direction: Literal["read", "write"]) -> dict[str, Any]:
    """Every importer or exporter that can be imported; a broken plugin must not keep other files from being read."""
    found = {OWN: _Own}
    for name in plugin_entries(_GROUPS[direction]):
        if name != OWN:
            try:
                found[name] = _get(direction, name)
            except RegistryError:
                continue
    return found


def broken_formats(direction: Literal["read", "write"]) -> list[str]:
    """What keeps each importer (exporter) that cannot be imported from it."""
    problems = []
    for name in plugin_entries(_GROUPS[direction]):
        try:
            _get(direction, name)
        except RegistryError as problem:
            problems.append(str(problem))
    return problems


def _broken(direction: Literal["read", "write"]) -> str:
    problems = broken_formats(direction)
    return f" ({'; '.join(problems)})" if problems else ""


def _options(function: Callable[..., Any]) -> tuple[str, ...]:
    """The keyword-only parameters: a reader's or writer's options."""
    return tuple(name for name, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY)


def _check_options(name: str, function: Callable[..., Any], options: Iterable[str]) -> None:
    known = _options(function)
    for option in options:
        if option not in known:
            raise DataError(f"format {name!r} has no option {option!r}; it takes {', '.join(known) or 'none'}")


def _listing(candidates: Mapping[str, Any]) -> str:
    return "; ".join(f"{name} ({', '.join(each.suffixes)})" for name, each in candidates.items())


def _reader(path: Path, name: str | None) -> tuple[str, Any]:
    if not path.is_file():
        raise DataError(f"{path} is not a file that can be read")
    if name is not None:
        return name, _get("read", name)
    if path.suffix == ".json" and is_graphbp_file(path):  # before any plugin is imported
        return OWN, _Own
    importers = _available("read")
    candidates = {n: each for n, each in importers.items() if path.suffix.lower() in each.suffixes}
    if not candidates:
        raise FileFormatError(
            f"no format has the suffix {path.suffix!r} of {path}; formats to read: {_listing(importers)}; format= names one{_broken('read')}"
        )
    if len(candidates) > 1:
        shared, candidates = candidates, {n: each for n, each in candidates.items() if each.sniff(path)}
        if not candidates:
            raise FileFormatError(f"{path} looks like none of the formats of {path.suffix} files: {_listing(shared)}")
    if len(candidates) > 1:
        raise FileFormatError(f"{path} may be any of several formats: {_listing(candidates)}; choose one with format=")
    return next(iter(candidates.items()))


def load_graph(path: PathLike, format: str | None = None, **options: Any) -> nx.DiGraph:  # the users' word for it
    """The graph in a file, of whatever format.

    Parameters
    ----------
    path : the file.
    format : the format's name, where the suffix does not tell.
    options : of the format (`formats` lists them); one it does not have is refused by name.

    Raises
    ------
    FileFormatError : a damaged file, or one whose format is unknown or ambiguous.
    NotSupportedError : something that the format has and graphbp has not.
    DataError : no such file, an unknown option.  UnknownNameError : an unknown format.
    """
    file = Path(path)
    name, reader = _reader(file, format)
    _check_options(name, reader.read, options)
    graph: nx.DiGraph = reader.read(file, **options)
    return graph


def save_graph(
    graph: nx.DiGraph,
    path: PathLike,
    format: str | None = None,  # the users' word for it
    **options: Any,
) -> None:
    """Write a graph in the format that `format` or the suffix names.

    Raises
    ------
    FileFormatError : the format is unknown, or several have the suffix.
    NotSupportedError : something that the format cannot hold, by name.
    """
    file = Path(path)
    if format is not None:
        name, writer = format, _get("write", format)
    elif file.suffix.lower() in _Own.suffixes:
        name, writer = OWN, _Own
    else:
        exporters = _available("write")
        candidates = {n: each for n, each in exporters.items() if file.suffix.lower() in each.suffixes}
        if len(candidates) != 1:
            what = "several formats have" if candidates else "no format has"
            hint = "; for weights beside a model.json, weights='npz'" if file.suffix in (".npz", ".safetensors") else ""
            raise FileFormatError(
                f"{what} the suffix {file.suffix!r} of {file}; formats to write: {_listing(candidates or exporters)}{hint}{_broken('write')}"
            )
        name, writer = next(iter(candidates.items()))
    _check_options(name, writer.write, options)
    if name != OWN:
        check_acyclic(read_graph(graph))
    writer.write(graph, file, **options)


def save(
    net: Network,
    path: PathLike,
    format: str | None = None,  # the users' word for it
    **options: Any,
) -> None:
    """Write a network: its graph with the current weights, and in graphbp's own format the error and dtype too.

    The own format (".json") takes `weights` ("inline", "npz", "safetensors") and `metadata`, a dict of the user's own.
    """
    own = format == OWN or (format is None and Path(path).suffix.lower() in _Own.suffixes)
    if own:
        theirs = dict(options.pop("metadata", None) or {})
        taken = {"error", "dtype"} & theirs.keys()
        if taken:
            raise DataError(f"metadata has the key {min(taken)!r}, which is the network's own; choose another name")
        options["metadata"] = {"error": net.error_function.name, "dtype": net.dtype.name, **theirs}
        _check_options(OWN, write_columns, options)
        columns = net._columns()
        check_columns(columns)  # θ may have become NaN
        write_columns(columns, path, **options)
        return
    save_graph(net.to_networkx(), path, format, **options)


def load(
    path: PathLike,
    *,
    backend: str | None = None,
    dtype: Any = None,
    error: str | ErrorFunction | None = None,
    format: str | None = None,  # the users' word for it
    **options: Any,
) -> Network:
    """The network in a file: graphbp's own JSON, or any format of a plugin.

    Parameters
    ----------
    path : the file.
    backend : as for `Network`.
    dtype, error : as for `Network`; by default what the file says, if it does.
    format, options : as for `load_graph`, such as `gb.load("swing.out", inputs=5, outputs=1)`.

    Raises
    ------
    FileFormatError : the file is damaged, hostile, not of its format, or holds no network.
    NotSupportedError, DataError, UnknownNameError : as for `load_graph`.

    Examples
    --------
    >>> import tempfile, graphbp as gb
    >>> net = gb.Network(gb.layered([2, 3, 1]), backend="numpy")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net.save(f"{folder}/model.json")
    ...     bool((gb.load(f"{folder}/model.json", backend="numpy").weights == net.weights).all())
    True
    """
    return load_with_metadata(path, backend=backend, dtype=dtype, error=error, format=format, **options)[0]


def load_with_metadata(
    path: PathLike,
    *,
    backend: str | None = None,
    dtype: Any = None,
    error: str | ErrorFunction | None = None,
    format: str | None = None,  # the users' word for it
    **options: Any,
) -> tuple[Network, Mapping[str, Any]]:
    """As `load`, and the metadata of a file of graphbp's own format, {} of others."""
    from graphbp.error_functions import get_error_function
    from graphbp.network import Network

    file = Path(path)
    name, reader = _reader(file, format)
    said: Mapping[str, Any] = {}
    if name == OWN:
        _check_options(name, reader.read, options)
        graph: nx.DiGraph | Columns
        graph, said = read_unchecked(file)  # Network checks the columns, once
        for key in ("error", "dtype"):
            if not isinstance(said.get(key, ""), str):
                raise FileFormatError(f"{file}: the metadata's {key} is {said[key]!r}, which is not a name")
    else:
        graph = load_graph(file, name, **options)
    if isinstance(error, str):  # the caller's, so that a wrong name is not blamed on the file
        error = get_error_function(error)
    error = said.get("error", "sum_of_squares") if error is None else error
    with naming(file):
        return Network(graph, error=error, backend=backend, dtype=dtype if dtype is not None else said.get("dtype")), said
