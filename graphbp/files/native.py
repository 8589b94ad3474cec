"""graphbp's own format: a graph with its metadata as JSON, weights inline or beside it.  Versions 1 and 2.

    {
      "format": "graphbp", "version": 1, "sha256": "...",
      "weights":  {"storage": "npz", "file": "model.0123456789abcdef.npz", "bytes": ..., "sha256": ..., "arrays": {"a0": {...}, ...}},
      "metadata": {"error": "sum_of_squares", "dtype": "float64", ...},
      "graph":    {the graph's attributes},
      "nodes":    [["x1", {}], ["h", {"activation": "tanh", "bias": 0.1}], ...],
      "edges":    {"source": {"$array": "a0"}, "target": ..., "weight": ..., "attributes": [[3, {"trainable": false}], ...]}
    }

Edges are numbered by destination, then in predecessor order: that order is the order of the parameters, so θ comes back as it was.
`source` and `target` number the nodes.  Scalar weights stand together in `weight`, as float64; an edge whose weight is an array or
a sparse matrix has it among its attributes.  How values are written: `graphbp.files.values`; arrays: `graphbp.files.store`.

`sha256` is of everything else in the JSON, whatever its layout: a changed digit is refused.  Who edits a file by hand takes it out; a
file without one is read as it is.

A file is of version 2 where some node has an `aggregation` other than the sum, and else of version 1: a reader that knows version 1
alone would take such a node for a sum.

Reading runs no code and believes nothing: sizes are compared with the bytes that are there before anything is allocated, and the
graph must be a network (finite weights of the right shape, no cycle) before it is returned.
"""

from __future__ import annotations

import hashlib
import json
import numbers
import os
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from graphbp.columns import Columns, columns_of, to_digraph
from graphbp.exceptions import DataError, FileFormatError, GraphbpError, GraphError, NotSupportedError, UnknownNameError
from graphbp.files.atomic import Draft, locked
from graphbp.files.reading import Allowance, as_path, parse_json, read_file, read_start, reading
from graphbp.files.store import ArrayReader, ArrayWriter, WeightsFileError, weights_stem
from graphbp.files.values import Decoder, Encoder
from graphbp.graph import check_columns
from graphbp.lowering import lower
from graphbp.spec import GraphSpec, describe_edge

__all__ = [
    "FREE_UNITS",
    "VERSION",
    "check_acyclic",
    "is_graphbp_file",
    "naming",
    "read_graph_file",
    "read_unchecked",
    "write_columns",
    "write_graph",
]

VERSION = 2
"""The newest version that is read and, where a network needs it, written."""
FREE_UNITS = 1_000_000
"""Units that any file may claim; a larger network must come from files with at least one byte a unit."""

_HEAD = 4096  # bytes in which a file says what it is


def write_graph(
    graph: nx.DiGraph,
    path: str | os.PathLike[str],
    *,
    weights: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a network's graph to `path`, atomically: a kill at any moment leaves the old model or the new one.

    Parameters
    ----------
    graph : the DiGraph, with every attribute of graph, nodes and edges.  Scalar weights are written as float64.
    path : of the JSON file; the folder must exist.  The weights file that an older model at `path` used is removed, unless another
        JSON file beside it names it.  Several processes may write and read one path at once: the last one's model stays, whole.
    weights : "inline" (in the JSON), "npz" or "safetensors" (a file beside it); by default inline up to
        `graphbp.files.store.INLINE_LIMIT` numbers, else npz.
    metadata : anything that JSON and arrays can express; comes back from `read_graph_file`.

    Raises
    ------
    GraphError, WeightError : the graph is not a network, so that it could not be read again.
    NotSupportedError : a name or an attribute that a file cannot carry, by name.
    DataError : the file cannot be written.
    """
    columns = columns_of(graph)
    check_acyclic(check_columns(columns))
    write_columns(columns, path, weights=weights, metadata=metadata)


def write_columns(
    columns: Columns,
    path: str | os.PathLike[str],
    *,
    weights: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """As `write_graph`, for what has been checked."""
    target = Path(os.path.realpath(as_path(path)))
    arrays = ArrayWriter()
    encode = Encoder(arrays)
    named = zip(columns.names, columns.nodes, strict=True)
    body = {
        "metadata": encode.attributes(metadata or {}, "metadata"),
        "graph": encode.attributes(columns.graph, "the graph"),
        "nodes": [[encode.name(node), encode.attributes(data, f"node {node!r}") if data else {}] for node, data in named],
        "edges": _edges(encode, columns),
    }
    if not target.parent.is_dir():
        raise DataError(f"{path} cannot be written: the folder {target.parent} does not exist")
    entry, weights_content = arrays.stored(target, weights)
    content = _json({"format": "graphbp", "version": _version(columns.nodes), "weights": entry, **body})
    _check_readable(encode.asked, len(content) + len(weights_content))
    _put(target, content, entry.get("file"), weights_content)


def _version(nodes: Iterable[Mapping[str, Any]]) -> int:
    """The oldest version that says what these nodes say."""
    return VERSION if any(data.get("aggregation") not in (None, "sum") for data in nodes) else 1


def _check_readable(asked: Allowance, size: int) -> None:
    """Nothing is written that the reader would refuse for what it asks beyond the file's size."""
    limit = Allowance().of(size).limit
    if limit is not None and asked.taken > limit:
        raise NotSupportedError(
            f"the text arrays and sparse matrices take {asked.taken:,} bytes in memory and {size:,} in a file, which a reader takes for "
            "an attack; store texts of very different lengths as a list, and sparse matrices with few entries as CSR"
        )


def _put(target: Path, content: bytes, weights: str | None, weights_content: bytes) -> None:
    """Both files on disk first; then, with the folder locked, each into its place, and the replaced weights away."""
    with ExitStack() as stack:
        beside = None
        if weights is not None:
            like = target if target.is_file() else None
            beside = stack.enter_context(Draft(target.with_name(weights), weights_content, like=like))
        model = stack.enter_context(Draft(target, content))
        stack.enter_context(locked(target.parent))
        old = _weights_name(target)
        if beside is not None:
            beside.commit()
        model.commit()
        if old is not None and old != weights:
            _remove_unused(target, old)


def _json(document: Mapping[str, Any]) -> bytes:
    """One line for each top-level entry; the format, the digest and the name of the weights file at the top."""
    head = {key: document[key] for key in ("format", "version")}
    lines = ",\n".join(
        f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}"
        for key, value in {**head, "sha256": _digest(document), **document}.items()
    )
    return f"{{\n{lines}\n}}\n".encode()


def _digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of all entries but itself, in JSON with sorted keys and no spaces: of what they say, not of how they are laid out."""
    h = hashlib.sha256()
    for key in sorted(document.keys() - {"sha256"}):
        h.update(f"{json.dumps(key)}:{json.dumps(document[key], sort_keys=True, separators=(',', ':'))}\n".encode())
    return h.hexdigest()


def _edges(encode: Encoder, columns: Columns) -> dict[str, Any]:
    """Plain weights in one array; every other attribute edge by edge."""
    weight = columns.weight.copy()
    rest: dict[int, dict[str, Any]] = {}
    for e, w in columns.odd.items():
        if not hasattr(w, "tocsr") and np.ndim(w) == 0:  # a Fraction, a 0-d array
            weight[e] = float(w)
        else:
            rest[e] = {"weight": w}
    for e, attributes in columns.extra.items():
        rest.setdefault(e, {}).update(attributes)
    names, src, dst = columns.names, columns.src, columns.dst
    listed = [[e, encode.attributes(rest[e], describe_edge(names[src[e]], names[dst[e]]))] for e in sorted(rest)]
    index = np.int32 if len(names) < 2**31 else np.int64
    arrays = {"source": src.astype(index), "target": dst.astype(index), "weight": weight}
    return {**{key: encode.value(array, key) for key, array in arrays.items()}, "attributes": listed}


def check_acyclic(spec: GraphSpec) -> None:
    """A graph without self-loops has no cycle just where every strong component is one node; says the cycle where there is one."""
    from scipy import sparse  # imported on use
    from scipy.sparse.csgraph import connected_components

    n = spec.n_nodes
    ones = np.ones(len(spec.edge_src), np.int8)
    matrix = sparse.csr_matrix((ones, (spec.edge_src, spec.edge_dst)), shape=(n, n))
    if connected_components(matrix, directed=True, connection="strong")[0] < n:
        lower(spec)  # raises, with the cycle as a path


def is_graphbp_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file says near its beginning that it is of this format."""
    return re.search(r'"format"\s*:\s*"graphbp"', read_start(path, _HEAD)) is not None


def _weights_name(path: Path) -> str | None:
    """The weights file that the model at `path` uses, if `write_graph` named it."""
    head = read_start(path, _HEAD) if is_graphbp_file(path) else ""
    found = re.search(r'"file"\s*:\s*("[^"]*")', head)
    try:
        name = json.loads(found[1]) if found else ""
    except ValueError:
        return None
    return name if re.fullmatch(re.escape(weights_stem(path)) + r"\.[0-9a-f]{16}\.(npz|safetensors)", name) else None


def _remove_unused(path: Path, weights: str) -> None:
    """Remove a replaced weights file, unless a copy of the model in the same folder still needs it."""
    if not any(_names(other, json.dumps(weights)) for other in path.parent.glob("*.json*")):
        with suppress(OSError):
            path.with_name(weights).unlink()


def _names(path: Path, weights: str) -> bool:
    """Whether a file names this weights file: in its beginning, as `write_graph` has it, or anywhere where something rewrote it."""
    head = read_start(path, _HEAD)
    if re.search(r'"storage"\s*:', head):
        return weights in head
    try:
        return weights.encode() in read_file(path)
    except GraphbpError:
        return path.is_file()  # it cannot be looked into, so it may


def read_graph_file(path: str | os.PathLike[str]) -> tuple[nx.DiGraph, dict[str, Any]]:
    """The graph and the metadata that `write_graph` wrote.

    Raises
    ------
    FileFormatError : the file is not of this format, of an unknown version, truncated or damaged, its weights file is missing,
        changed or elsewhere, or what it holds is no network: a NaN weight, a cycle, more units than bytes.
    UnknownNameError : an activation that no installed plugin brings.
    DataError : the file cannot be opened.
    """
    columns, metadata = read_unchecked(path)
    with naming(path):
        check_acyclic(check_columns(columns))
    return to_digraph(columns), metadata


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """What a graph from a file does wrong is the file's fault, and the message names it."""
    try:
        yield
    except GraphError as problem:
        raise FileFormatError(f"{path}: {problem}") from problem
    except UnknownNameError as problem:
        raise UnknownNameError(f"{path}: {problem}") from problem


def read_unchecked(path: str | os.PathLike[str]) -> tuple[Columns, dict[str, Any]]:
    """What `write_graph` wrote, as columns; whether it is a network is left to who builds one from it.

    A JSON file whose weights file is not there may have been replaced since it was read: it is read again, until it stays the same.
    """
    file = Path(os.path.realpath(as_path(path)))
    before: bytes | None = None
    while True:
        with nullcontext() if before is None else locked(file.parent, shared=True):
            content = read_file(path)
            try:
                with reading(file):
                    return _parse(content, file)
            except WeightsFileError:
                if content == before:
                    raise
        before = content


def _parse(content: bytes, file: Path) -> tuple[Columns, dict[str, Any]]:
    document = _document(content, file)
    allowance = Allowance()
    reader = ArrayReader(document["weights"], file, allowance)
    size = len(content) + reader.size
    allowance.of(size)
    try:
        decode = Decoder(reader, allowance)
        metadata = decode.attributes(document["metadata"])
        graph = decode.attributes(document["graph"])
        names, nodes = _nodes(decode, document["nodes"], size)
        if document["version"] < _version(nodes):
            raise FileFormatError(
                'a node has an aggregation, in a file of version 1, which knew none and took it for a sum; "version": 2 says that it is meant'
            )
        return _columns(decode, names, nodes, document["edges"], graph), metadata
    except FileFormatError as problem:
        raise FileFormatError(f"{file}: {problem}") from problem


def _document(content: bytes, file: Path) -> dict[str, Any]:
    """The parsed JSON with its version and its digest checked."""
    document = parse_json(content, file)
    if not isinstance(document, dict) or document.get("format") != "graphbp":
        raise FileFormatError(f'{file} is not a graphbp model: it does not start with {{"format": "graphbp", ...')
    version = document.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise FileFormatError(
            f"{file} is of version {version!r}; this graphbp reads versions 1 to {VERSION}: a newer one may read it"
        )
    for part in ("weights", "metadata", "graph", "nodes", "edges"):
        if part not in document:
            raise FileFormatError(f"{file} has no {part!r}; it is damaged")
    if "sha256" in document and document["sha256"] != _digest(document):
        raise FileFormatError(
            f"{file} does not hold what was written: its digest is another. It was damaged, or edited by hand; to accept an edited "
            'file, take the entry "sha256" near its top out'
        )
    return document


@contextmanager
def _at(place: str) -> Iterator[None]:
    """What is wrong inside is wrong at this place of the file."""
    try:
        yield
    except FileFormatError as problem:
        raise FileFormatError(f"{place}: {problem}") from problem


def _nodes(decode: Decoder, entries: Any, size: int) -> tuple[list[Hashable], list[dict[str, Any]]]:
    """Names and attributes of all nodes."""
    if not isinstance(entries, list) or not all(isinstance(entry, list) and len(entry) == 2 for entry in entries):
        raise FileFormatError('"nodes" must be a list of pairs [name, attributes]')
    names = [decode.name(name) for name, _ in entries]
    nodes: list[dict[str, Any]] = []
    seen: set[Hashable] = set()
    claimed = 0
    for name, (_, entry) in zip(names, entries, strict=True):
        with _at(f"node {name!r}"):
            attributes = decode.attributes(entry)
        units = attributes.get("units", 1)
        claimed += int(units) if isinstance(units, numbers.Integral) and int(units) > 0 else 1
        if claimed > max(FREE_UNITS, size):
            raise FileFormatError(
                f"the file claims {claimed:,} units by node {name!r} and has {size:,} bytes; more than {FREE_UNITS:,} units need a "
                "byte each"
            )
        if name is None or name in seen:
            raise FileFormatError(f"two nodes are called {name!r}" if name is not None else "a node is called null")
        seen.add(name)
        nodes.append(attributes)
    return names, nodes


def _columns(decode: Decoder, names: list[Hashable], nodes: list[dict[str, Any]], edges: Any, graph: dict[str, Any]) -> Columns:
    """The whole graph, its edges in the order that a DiGraph would have them in: by destination, then as they come."""
    if not isinstance(edges, dict) or not {"source", "target", "weight", "attributes"} <= edges.keys():
        raise FileFormatError('"edges" must be an object with source, target, weight and attributes')
    source, target, weight = (decode.value(edges[key]) for key in ("source", "target", "weight"))
    n = len(names)
    for key, array in (("source", source), ("target", target), ("weight", weight)):
        if not isinstance(array, np.ndarray) or array.ndim != 1 or len(array) != len(source):
            raise FileFormatError(f'the edges\' "{key}" must be a 1-D array with one entry for each edge')
        if key != "weight" and (array.dtype.kind not in "iu" or (len(array) and not (array.min() >= 0 and array.max() < n))):
            raise FileFormatError(f'the edges\' "{key}" must be node numbers from 0 to {n - 1}')
    if weight.dtype != np.float64:
        raise FileFormatError(f'the edges\' "weight" must be float64, not {weight.dtype}')
    odd, extra = _attributes(decode, edges["attributes"], len(weight))
    src, dst = source.astype(np.int64), target.astype(np.int64)
    twice = int((np.diff(np.sort(dst * n + src)) == 0).sum())
    if twice:
        raise FileFormatError(f"{twice:,} edges are given twice")
    if (np.diff(dst) < 0).any():  # written by someone else
        order = np.argsort(dst, kind="stable")
        src, dst, weight = src[order], dst[order], weight[order]
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        odd, extra = ({int(place[e]): part[e] for e in part} for part in (odd, extra))
    return Columns(tuple(names), nodes, src, dst, weight, odd, extra, graph)


def _attributes(decode: Decoder, entries: Any, n_edges: int) -> tuple[dict[int, Any], dict[int, dict[str, Any]]]:
    """By edge number: weights that are no plain number, and the attributes besides the weight."""
    if not isinstance(entries, list) or not all(isinstance(entry, list) and len(entry) == 2 for entry in entries):
        raise FileFormatError('the edges\' "attributes" must be a list of pairs [number, attributes]')
    odd: dict[int, Any] = {}
    extra: dict[int, dict[str, Any]] = {}
    for e, entry in entries:
        if type(e) is not int or not 0 <= e < n_edges:
            raise FileFormatError(f"there are attributes for edge number {e!r}, and {n_edges:,} edges")
        with _at(f"edge number {e}"):
            attributes = decode.attributes(entry)
        if "weight" in attributes:
            odd[e] = attributes.pop("weight")
        if attributes:
            extra.setdefault(e, {}).update(attributes)
    return odd, extra
