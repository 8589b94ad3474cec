"""Attribute values and node names as JSON, and back, with nothing lost and nothing guessed.

What JSON has stands as itself: null, true, "text", 3, 0.5 (JSON keeps 3 and 3.0 apart), lists, and objects with string keys.
Everything else is an object with one key that starts with "$":

    (1, "a")             {"$tuple": [1, "a"]}
    {1: "a"}             {"$dict": [[1, "a"]]}           also where a key starts with "$"
    inf, nan             {"$float": "inf"}
    np.int64(3)          {"$scalar": ["int64", 3]}       NumPy numbers and booleans
    np.array(...)        {"$array": "a7"}                stored with the weights under that key
    SciPy sparse         {"$sparse": {...}}              as CSR, its three arrays stored with the weights
    np.array(["a"])      {"$text": {"shape": [1], "data": ["a"]}}

NumPy's text (np.str_, as a text array's entries are) is text.  Sets, dates, functions, classes and other objects are refused by name:
the file never says which code to run.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import FileFormatError, NotSupportedError
from graphbp.files.reading import Allowance, element_count

if TYPE_CHECKING:
    from graphbp.files.store import ArrayReader, ArrayWriter

__all__ = ["Decoder", "Encoder"]

_PLAIN = frozenset((str, bool, int, type(None)))
_ATOMS = _PLAIN | {float}  # what JSON has that contains nothing else
_MANY_BITS = 14_000  # of an integer: some 4,200 digits, the most that Python reads back
_SPARSE_FORMATS = ("csr", "csc", "coo", "bsr", "dia", "dok", "lil")


class Encoder:
    """Values to JSON; arrays go to the `ArrayWriter`.  `where` names the node, edge or attribute in messages."""

    def __init__(self, arrays: ArrayWriter) -> None:
        self._arrays = arrays
        self.asked = Allowance()  # what reading the file again will take

    def name(self, value: Hashable) -> Any:
        """A node's name.  Raises `NotSupportedError` for what is not a number, text, None, or a tuple of such."""
        if type(value) in _PLAIN and type(value) is not int:
            return value
        if isinstance(value, float) and math.isnan(value):
            raise NotSupportedError("a node is called nan, which is not equal to itself; rename it before saving")
        if isinstance(value, np.generic) or type(value) in (float, int):
            return self.value(value, f"the name {value!r}")
        if type(value) is tuple:
            return {"$tuple": [self.name(part) for part in value]}
        raise NotSupportedError(
            f"the node {value!r} has a name of type {type(value).__name__}, which a file cannot carry; names may be text, numbers, "
            "booleans, None and tuples of these: networkx.relabel_nodes gives new ones"
        )

    def attributes(self, data: Mapping[Any, Any], where: str) -> Any:
        """All attributes of a node, an edge or the graph, each named in messages."""
        values = {key: self.value(value, f"{where}: attribute {key!r}") for key, value in data.items()}
        if all(type(key) is str and not key.startswith("$") for key in data):
            return values
        return {"$dict": [[self.value(key, f"{where}: the attribute name {key!r}"), value] for key, value in values.items()]}

    def value(self, value: Any, where: str) -> Any:
        """An attribute.  Raises `NotSupportedError` for what is neither JSON nor an array."""
        try:
            return self._value(value, where)
        except RecursionError:
            raise NotSupportedError(f"{where} is nested too deeply, or contains itself; a file cannot carry it") from None

    def _value(self, value: Any, where: str) -> Any:
        kind = type(value)
        if kind is int and value.bit_length() > _MANY_BITS:
            raise NotSupportedError(
                f"{where} is a whole number of {value.bit_length():,} bits; a file carries up to {_MANY_BITS:,}"
            )
        if kind in _PLAIN:
            return value
        if kind is np.str_:
            return str(value)
        if kind is float:
            return value if math.isfinite(value) else {"$float": repr(value)}
        if kind is list:
            return [self._value(part, where) for part in value]
        if kind is tuple:
            return {"$tuple": [self._value(part, where) for part in value]}
        if kind is dict:
            if all(type(key) is str and not key.startswith("$") for key in value):
                return {key: self._value(part, where) for key, part in value.items()}
            return {"$dict": [[self._value(key, where), self._value(part, where)] for key, part in value.items()]}
        if isinstance(value, np.generic) and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
            return {"$scalar": [value.dtype.name, self._value(value.item(), where)]}
        if kind is np.ndarray:
            return self._array(value, where)
        if hasattr(value, "tocsr"):
            return self._sparse(value, where)
        raise NotSupportedError(
            f"{where} is of type {kind.__name__}, which a file cannot carry; it takes text, numbers, booleans, None, lists, tuples, "
            "dicts, NumPy arrays and SciPy sparse matrices of these: convert or remove it before saving"
        )

    def _array(self, array: npt.NDArray[Any], where: str) -> Any:
        if array.dtype.kind == "U":
            self.asked.take(array.nbytes, where)
            return {"$text": {"shape": list(array.shape), "data": array.ravel().tolist()}}
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise NotSupportedError(
                f"{where} is an array of dtype {array.dtype}, which a file cannot carry; it takes booleans, integers, floats of up to 64 bits and text"
            )
        return {"$array": self._arrays.add(array)}

    def _sparse(self, matrix: Any, where: str) -> Any:
        csr = matrix.tocsr()
        if csr.ndim != 2:
            raise NotSupportedError(f"{where} is a sparse array with {csr.ndim} axis; a file carries sparse matrices")
        parts = {part: self._array(getattr(csr, part), where)["$array"] for part in ("data", "indices", "indptr")}
        self.asked.take(_sparse_bytes(csr, matrix.format), where)
        kind = "matrix" if type(matrix).__name__.endswith("_matrix") else "array"
        return {"$sparse": {"format": matrix.format, "kind": kind, "shape": list(csr.shape), **parts}}


class Decoder:
    """JSON to values; arrays come from the `ArrayReader`.  Raises `FileFormatError` for a tag or value that makes no sense."""

    def __init__(self, arrays: ArrayReader, allowance: Allowance) -> None:
        self._arrays = arrays
        self._allowance = allowance
        self._tags: dict[str, Callable[[Any], Any]] = {
            "$tuple": self._tuple,
            "$dict": self._dict,
            "$float": self._float,
            "$scalar": self._scalar,
            "$array": self._arrays.get,
            "$sparse": self._sparse,
            "$text": self._text,
        }

    def name(self, value: Any) -> Hashable:
        """A node's name."""
        if type(value) in _PLAIN:
            return value  # type: ignore[no-any-return]  # one of the plain types, all hashable
        name = self.value(value)
        try:
            hash(name)
        except TypeError:
            raise FileFormatError(
                f"a node is called {name!r}, which is not a name: names are text, numbers and tuples of these"
            ) from None
        return name  # type: ignore[no-any-return]  # hashable, as just seen

    def attributes(self, value: Any) -> dict[Any, Any]:
        """All attributes of a node, an edge or the graph."""
        data = self.value(value)
        if type(data) is not dict:
            raise FileFormatError(f"attributes must be an object, not {str(value)[:80]}")
        return data

    def value(self, value: Any) -> Any:
        """An attribute."""
        kind = type(value)
        if kind is list:
            return [self.value(part) for part in value]
        if kind is not dict:
            return value
        if len(value) == 1:
            (tag,) = value
            if tag in self._tags:
                try:
                    return self._tags[tag](value[tag])
                except FileFormatError:
                    raise
                except RecursionError:
                    raise
                except Exception as problem:  # whatever NumPy and SciPy find wrong with it
                    raise FileFormatError(f"the value {_shown(value)} is damaged: {problem}") from problem
        for key in value:
            if key[:1] == "$":
                raise FileFormatError(f"the value {_shown(value)} has a type that this version of graphbp does not know")
        return {key: part if type(part) in _ATOMS else self.value(part) for key, part in value.items()}

    def _tuple(self, parts: Any) -> tuple[Any, ...]:
        return tuple(self.value(_a(list, parts)))

    def _dict(self, pairs: Any) -> dict[Any, Any]:
        return {self.value(key): self.value(part) for key, part in _a(list, pairs)}

    def _float(self, text: Any) -> float:
        if text not in ("inf", "-inf", "nan"):
            raise ValueError(f"{text!r} is not inf, -inf or nan")
        return float(text)

    def _scalar(self, pair: Any) -> Any:
        name, number = _a(list, pair)
        dtype = np.dtype(_a(str, name))
        if dtype.kind not in "biuf" or dtype.itemsize > 8 or dtype.name != name:
            raise ValueError(f"{name!r} is not the dtype of a number")
        with np.errstate(over="raise"):  # else an infinity that nobody wrote
            return dtype.type(self.value(number))

    def _text(self, entry: Any) -> npt.NDArray[np.str_]:
        data, shape = _a(list, entry["data"]), entry["shape"]
        if len(data) != element_count(shape):
            raise ValueError(f"it has {len(data)} entries and shape {shape}")
        longest = max((len(_a(str, text)) for text in data), default=0)
        self._allowance.take(
            4 * len(data) * longest, f"a text array of {len(data):,} entries, the longest of {longest:,} characters,"
        )
        return np.array(data, np.str_).reshape(shape)

    def _sparse(self, entry: Any) -> Any:
        """A checked CSR matrix in the format it had."""
        from scipy import sparse  # imported on use

        data, indices, indptr = (self._arrays.get(entry[part]) for part in ("data", "indices", "indptr"))
        shape = tuple(entry["shape"])
        element_count(shape)
        if len(shape) != 2 or data.ndim != 1 or indices.shape != data.shape or indptr.shape != (shape[0] + 1,):
            raise ValueError(
                f"a sparse matrix of shape {shape} has data {data.shape}, indices {indices.shape}, indptr {indptr.shape}"
            )
        if indices.dtype.kind != "i" or indptr.dtype.kind != "i":
            raise ValueError("the indices of a sparse matrix must be integers")
        if indptr[0] != 0 or indptr[-1] != len(data) or (np.diff(indptr) < 0).any():
            raise ValueError("the row pointers of a sparse matrix must rise from 0 to the number of entries")
        if len(indices) and not (indices.min() >= 0 and indices.max() < shape[1]):
            raise ValueError(f"a sparse matrix with {shape[1]} columns has an entry in column {indices.max()} or {indices.min()}")
        make = sparse.csr_matrix if entry["kind"] == "matrix" else sparse.csr_array
        if entry["format"] not in _SPARSE_FORMATS:
            raise ValueError(f"{entry['format']!r} is not a sparse format")
        matrix = make((data, indices, indptr), shape=shape)
        self._allowance.take(
            _sparse_bytes(matrix, entry["format"]), f"a sparse matrix of shape {shape} in {entry['format']} format"
        )
        return matrix if entry["format"] == "csr" else matrix.asformat(entry["format"])


def _sparse_bytes(csr: Any, form: str) -> int:
    """What a CSR matrix takes in another format beyond its entries: some formats have a place for every row, column or diagonal."""
    rows, columns = (int(n) for n in csr.shape)
    if form == "csc":
        return 8 * (columns + 1)
    if form == "lil":
        return 128 * rows
    if form == "dok":
        return 256 * int(csr.nnz)
    if form == "dia":
        of_entry = csr.indices.astype(np.int64) - np.repeat(np.arange(rows), np.diff(csr.indptr))
        return len(np.unique(of_entry)) * columns * int(csr.dtype.itemsize)
    return 0


def _shown(value: Any) -> str:
    """The start of a value, without writing out the whole."""
    return reprlib.repr(value)[:80]


def _a(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value
