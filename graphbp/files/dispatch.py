"""Which format a file has, and who reads or writes it: graphbp's own, and those that plugins bring.

A format is named by `format=`, or found by the file's suffix; where several formats share a suffix (.json), each looks into the file
(`sniff`).  A file that is written gets graphbp's own format at ".json", else the one exporter that has the suffix.

Plugins offer an `Importer` in the entry point group `graphbp.importers` and an `Exporter` in `graphbp.exporters` under the format's
name; they are imported only when a file needs them.  One that cannot be imported, or whose name two packages claim, is in the way of
its own files alone.

This is the border: before a format is written, `contents` sees that it can hold what the network has, and whatever a reader raises
over a damaged file comes out as one of graphbp's errors (`reading`).
"""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import networkx as nx

from graphbp.columns import Columns
from graphbp.config import option
from graphbp.exceptions import DataError, FileFormatError, GraphbpError, NotSupportedError, RegistryError, unknown_name
from graphbp.files.contents import Holds, without_losses
from graphbp.files.native import check_acyclic, is_graphbp_file, naming, read_graph_file, read_unchecked, write_columns, write_graph
from graphbp.files.reading import as_path, read_file, reading
from graphbp.folding import fold_scaling
from graphbp.graph import check_columns, read_graph
from graphbp.mixture import BY_OUTPUT, Mixture
from graphbp.plugins import BROKEN, IMPORTERS, advice, describe_failure, plugin_entries
from graphbp.protocols import Exporter, Importer

if TYPE_CHECKING:
    from graphbp.error_functions import ErrorFunction
    from graphbp.network import Network

__all__ = ["Format", "broken_formats", "formats", "load", "load_graph", "load_with_metadata", "save", "save_graph"]

PathLike = str | os.PathLike[str]
OWN = "graphbp"
_GROUPS = {"read": IMPORTERS, "write": "graphbp.exporters"}
_KINDS: dict[str, Any] = {"read": Importer, "write": Exporter}


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


_came_from: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
"""The format of the file that a network was read from."""


def formats() -> list[Format]:
    """Every format there is, graphbp's own first.  A plugin that cannot be imported is left out here, and named where it is asked for."""
    found = []
    readers, writers = _available("read")[0], _available("write")[0]
    for name in dict.fromkeys([*readers, *writers]):
        reader: Any = readers.get(name)
        writer: Any = writers.get(name)
        some: list[Any] = [each for each in (reader, writer) if each is not None]
        reads, writes = _options(reader.read) if reader else None, _options(writer.write) if writer else None
        if writes is not None and name != OWN:
            writes = (*writes, "drop")
        suffixes = tuple(dict.fromkeys(suffix for each in some for suffix in each.suffixes))
        found.append(Format(name, suffixes, some[0].description, reads, writes))
    return found


def _get(direction: Literal["read", "write"], name: str) -> Any:
    """The importer or exporter called `name`."""
    entries = plugin_entries(_GROUPS[direction])
    if name == OWN:
        return _Own
    if name not in entries:
        raise unknown_name(f"format to {direction}", name, [OWN, *entries])
    where = f"format {name!r} ({entries[name].value})"
    try:
        found: Any = entries[name].load()
        right = isinstance(found, _KINDS[direction])
        _ = [suffix.lower() for suffix in found.suffixes] if right else None  # they are text, or this raises
    except RegistryError:  # two packages have this name
        raise
    except BROKEN as problem:  # a plugin that leaves the program takes nothing else along
        raise RegistryError(f"{where} could not be imported: {describe_failure(problem)}") from problem
    if not right:
        raise RegistryError(
            f"entry point {entries[name].value} of format {name!r} is no {_KINDS[direction].__name__} (see graphbp.extend)"
        )
    if not isinstance(getattr(found, "holds", Holds()), Holds):
        raise RegistryError(f"{where} has holds={found.holds!r}, which is no graphbp.extend.Holds")
    return found


def _available(direction: Literal["read", "write"]) -> tuple[dict[str, Any], list[str]]:
    """Every importer or exporter that can be imported, and why others cannot; these must not keep other files from being read."""
    found: dict[str, Any] = {OWN: _Own}
    broken = []
    for name in plugin_entries(_GROUPS[direction]):
        if name != OWN:
            try:
                found[name] = _get(direction, name)
            except RegistryError as problem:
                broken.append(str(problem))
    return found, broken


def _advice(thing: Any) -> str:
    return "; gb.Network(graph) takes a graph" if isinstance(thing, nx.Graph) else advice(thing)


def broken_formats(direction: Literal["read", "write"]) -> list[str]:
    """What keeps each importer (exporter) that cannot be imported from it."""
    return _available(direction)[1]


def _options(function: Callable[..., Any]) -> tuple[str, ...]:
    """The keyword-only parameters: a reader's or writer's options."""
    return tuple(name for name, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY)


def _check_options(name: str, function: Callable[..., Any], options: Iterable[str]) -> None:
    known = _options(function)
    for given in options:
        if given not in known:
            raise DataError(f"format {name!r} has no option {given!r}; it takes {', '.join(known) or 'none'}")


def _listing(candidates: Mapping[str, Any], more: Sequence[str] = ()) -> str:
    return "; ".join([*(f"{name} ({', '.join(each.suffixes)})" for name, each in candidates.items()), *more])


def _as_file(path: Any) -> Path:
    """The path of a regular file."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise DataError(
            f"a file is loaded by its path, text or a pathlib.Path, not by an object of type {type(path).__name__}{_advice(path)}"
        )
    file = as_path(path)
    read_file(file, 0)  # is there, is a file, may be read
    return file


def _looks_like(importer: Any, file: Path) -> bool:
    try:
        return bool(importer.sniff(file))
    except Exception:  # of a file that is not its own, or a mistake of the plugin's: neither is in the way of the others
        return False


def _reader(path: Path, name: str | None) -> tuple[str, Any]:
    if name is not None:
        return name, _get("read", name)
    if path.suffix.lower() == ".json" and is_graphbp_file(path):  # before any plugin is imported
        return OWN, _Own
    importers, broken = _available("read")
    candidates = {n: each for n, each in importers.items() if path.suffix.lower() in each.suffixes}
    if not candidates:
        raise FileFormatError(
            f"no format has the suffix {path.suffix!r} of {path}; formats to read: {_listing(importers)}; "
            + "; ".join(["format= names one", *broken])
        )
    if len(candidates) > 1:
        shared, candidates = candidates, {n: each for n, each in candidates.items() if _looks_like(each, path)}
        if not candidates:
            raise FileFormatError(f"{path} looks like none of the formats of {path.suffix} files: {_listing(shared, broken)}")
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
    file = _as_file(path)
    name, reader = _reader(file, format)
    _check_options(name, reader.read, options)
    with reading(file):
        graph: nx.DiGraph = reader.read(file, **options)
    return graph


def save_graph(
    graph: nx.DiGraph,
    path: PathLike,
    format: str | None = None,  # the users' word for it
    **options: Any,
) -> None:
    """Write a graph in the format that `format` or the suffix names.

    Parameters
    ----------
    options : of the format.  Of every one but graphbp's own: `drop`, names of attributes that the file may lack ("trainable,tie",
        or a list of names, or "all").

    Raises
    ------
    FileFormatError : the format is unknown, or several have the suffix.
    NotSupportedError : something that the format cannot hold and `drop` does not name.

    A format without scaling gets `shift` and `scale` of inputs and outputs folded into weights and biases (`fold_scaling`).
    """
    _write(graph, as_path(path), format, {}, options)


def _writer(file: Path, format: str | None) -> tuple[str, Any]:
    if format is not None:
        return format, _get("write", format)
    if file.suffix.lower() in _Own.suffixes:
        return OWN, _Own
    exporters, broken = _available("write")
    candidates = {n: each for n, each in exporters.items() if file.suffix.lower() in each.suffixes}
    if len(candidates) != 1:
        what = "several formats have" if candidates else "no format has"
        hint = "; for weights beside a model.json, weights='npz'" if file.suffix in (".npz", ".safetensors") else ""
        raise FileFormatError(
            f"{what} the suffix {file.suffix!r} of {file}; formats to write: {_listing(candidates or exporters)}{hint}"
            + "".join(f"; {problem}" for problem in broken)
        )
    return next(iter(candidates.items()))


def _write(graph: nx.DiGraph, file: Path, format: str | None, network: Mapping[str, Any], options: dict[str, Any]) -> None:
    """Write the graph with what the network has besides it, where the format can hold both."""
    name, writer = _writer(file, format)
    drop: Collection[str] | str = () if name == OWN else options.pop("drop", ())
    _check_options(name, writer.write, options)
    if name == OWN:
        writer.write(graph, file, **options)
        return
    check_acyclic(read_graph(graph))
    graph = graph if getattr(writer, "scaling", False) else fold_scaling(graph)
    graph = without_losses(graph, name, getattr(writer, "holds", Holds()), network, drop)
    try:
        writer.write(graph, file, **options)
    except GraphbpError:
        raise
    except OSError as problem:
        raise DataError(f"{file} cannot be written: {problem.strerror or problem}") from problem
    except Exception as problem:
        raise NotSupportedError(
            f"{file}: format {name!r} cannot write this graph: {type(problem).__name__}: {problem}"
        ) from problem


def save(
    net: Network,
    path: PathLike,
    format: str | None = None,  # the users' word for it
    **options: Any,
) -> None:
    """Write a network: its graph with the current weights, and in graphbp's own format the error and dtype too.

    The own format (".json") takes `weights` ("inline", "npz", "safetensors") and `metadata`, a dict of the user's own; it holds
    everything.  Others refuse what they cannot hold, unless `drop` names it: see `save_graph`.

    A network that was read from another format whose files are called ".json" too (neat-python's) is written in graphbp's own all the
    same, with a warning that says so; `format=` says which one is meant.
    """
    file = as_path(path)
    name, writer = _writer(file, format)
    if name != OWN:
        theirs = {key: options.pop(key) for key in ("metadata",) if key in options and key not in _options(writer.write)}
        _write(net.to_networkx(), file, name, {**_lost_of(net), **{k: v for k, v in theirs.items() if v}}, options)
        return
    theirs = dict(options.pop("metadata", None) or {})
    skips = {"missing": net.missing} if net.missing != "refuse" else {}
    taken = {"error", "dtype", *skips} & theirs.keys()
    if taken:
        raise DataError(f"metadata has the key {min(taken)!r}, which is the network's own; choose another name")
    options["metadata"] = {"error": _told_error(net), "dtype": net.dtype.name, **skips, **theirs}
    _check_options(OWN, write_columns, options)
    columns = net.model.columns(net.weights)
    check_columns(columns)  # θ may have become NaN
    write_columns(columns, file, **options)
    if format is None:
        _say_which(net, file)


def _lost_of(net: Network) -> dict[str, str]:
    """What the network has besides its graph, where a file of another format would not give it back."""
    usual = {"error": "sum_of_squares", "dtype": str(option("dtype")), "missing": "refuse"}
    has = {"error": _told_error(net), "dtype": net.dtype.name, "missing": net.missing}
    return {key: value for key, value in has.items() if value != usual[key]}


def _told_error(net: Network) -> str:
    """The error's name, or that the output nodes say it."""
    outputs = [net.model.spec.node_extra[net.model.spec.index[name]] for name in net.outputs]
    name = net.error_function.name
    return BY_OUTPUT if isinstance(net.error_function, Mixture) or all("error" in extra for extra in outputs) else name


def _say_which(net: Network, file: Path) -> None:
    source = _came_from.get(net, OWN)
    if source != OWN and file.suffix.lower() in getattr(_available("read")[0].get(source), "suffixes", ()):
        warnings.warn(
            f"{file} has been written in graphbp's own format; the network came from one of format {source!r}, whose files are called "
            f"{file.suffix} too: format={source!r} writes such a file, format={OWN!r} says that its own is meant",
            stacklevel=4,
        )


def load(
    path: PathLike,
    *,
    backend: str | None = None,
    dtype: Any = None,
    error: str | ErrorFunction | Mapping[Any, Any] | None = None,
    error_weights: Mapping[Any, float] | None = None,
    missing: str | None = None,
    format: str | None = None,  # the users' word for it
    **options: Any,
) -> Network:
    """The network in a file: graphbp's own JSON, or any format of a plugin.

    Parameters
    ----------
    path : the file.
    backend : as for `Network`.
    dtype, error, error_weights, missing : as for `Network`; by default what the file says, if it does.
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
    return load_with_metadata(
        path, backend=backend, dtype=dtype, error=error, error_weights=error_weights, missing=missing, format=format, **options
    )[0]


def load_with_metadata(
    path: PathLike, *, error: Any = None, missing: str | None = None, dtype: Any = None, format: str | None = None, **given: Any
) -> tuple[Network, Mapping[str, Any]]:
    """As `load`, and the metadata of a file of graphbp's own format, {} of others."""
    from graphbp.error_functions import get_error_function
    from graphbp.fit import adopt_metadata
    from graphbp.network import Network

    file = _as_file(path)
    name, reader = _reader(file, format)
    network = {key: given.pop(key, None) for key in ("backend", "error_weights")}
    said: Mapping[str, Any] = {}
    if name == OWN:
        _check_options(name, reader.read, given)
        graph: nx.DiGraph | Columns
        graph, said = read_unchecked(file)  # Network checks the columns, once
        for key in ("error", "dtype"):
            if not isinstance(said.get(key, ""), str):
                raise FileFormatError(f"{file}: the metadata's {key} is {said[key]!r}, which is not a name")
        if said.get("dtype", "float64") not in ("float32", "float64"):
            raise FileFormatError(f"{file}: the metadata's dtype is {said['dtype']!r}; graphbp computes in float64 or float32")
    else:
        graph = load_graph(file, name, **given)
    if isinstance(error, str):  # the caller's, so that a wrong name is not blamed on the file
        error = get_error_function(error)
    error = said.get("error") if error is None else error
    error = None if error == BY_OUTPUT else error
    if missing is None:
        missing = "skip" if said.get("missing") == "skip" else "refuse"
    with naming(file):
        net = Network(graph, error=error, missing=missing, dtype=said.get("dtype") if dtype is None else dtype, **network)
    _came_from[net] = name
    return net, adopt_metadata(net, said)
