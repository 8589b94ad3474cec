"""Where the numbers of a file are: inline in the JSON, or in an .npz or .safetensors file beside it.

The JSON lists every array with its dtype and shape (the *manifest*) whatever the storage.  On reading, a weights file must have the
size and SHA-256 that the JSON says, hold exactly the arrays of the manifest, and declare for each the same dtype and shape; only
then is anything allocated, and never more than the file's own bytes: the .npz is plain (`graphbp.files.archive`).

A weights file is named after its contents (`model.0123456789abcdef.npz`), so that writing a new one cannot damage the model that is
there: the JSON, written last, decides which of them counts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import DataError, FileFormatError, NotSupportedError, unknown_name
from graphbp.files.archive import npz_bytes, parse_npz
from graphbp.files.reading import Allowance, element_count, read_file, reading

__all__ = ["INLINE_LIMIT", "STORAGES", "ArrayReader", "ArrayWriter", "WeightsFileError", "weights_stem"]

Array = npt.NDArray[Any]

STORAGES = ("inline", "npz", "safetensors")
INLINE_LIMIT = 10_000
"""Numbers up to which the weights stand inline in the JSON by default."""

_DTYPE = re.compile(r"<[iuf][248]|\|[biu]1")
_NOT_PORTABLE = re.compile(r"[\\:]")  # what a path may be made of on some system, so what a reader refuses
_FILE_NAME = re.compile(r"[^/\\:\0]+\.(npz|safetensors)")


class WeightsFileError(FileFormatError):
    """The weights file is not the one that the JSON means; if the JSON has been replaced meanwhile, the new one's may be there."""


def weights_stem(path: Path) -> str:
    """How the weights files of the model at `path` begin."""
    return _NOT_PORTABLE.sub("_", path.stem)


class ArrayWriter:
    """Collects arrays, each under a key, and turns them into what a file holds."""

    def __init__(self) -> None:
        self._arrays: dict[str, Array] = {}

    def add(self, array: Array) -> str:
        """Take an array (as little-endian C-contiguous values); returns its key."""
        # safetensors writes the buffer of an array as it lies, whatever its strides: contiguous, or the values come back shuffled
        plain = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
        key = f"a{len(self._arrays)}"
        self._arrays[key] = plain
        return key

    def stored(self, path: Path, storage: str | None) -> tuple[dict[str, Any], bytes]:
        """The "weights" entry of the JSON at `path`, and the contents of the file beside it that the entry names (b"": inline)."""
        if storage is None:
            storage = "inline" if sum(a.size for a in self._arrays.values()) <= INLINE_LIMIT else "npz"
        if storage not in STORAGES:
            raise unknown_name("weights storage", storage, STORAGES)
        manifest: dict[str, dict[str, Any]] = {
            key: {"dtype": array.dtype.str, "shape": list(array.shape)} for key, array in self._arrays.items()
        }
        if storage == "inline":
            for key, array in self._arrays.items():
                manifest[key]["data"] = _numbers(array)
            return {"storage": storage, "arrays": manifest}, b""
        content = npz_bytes(self._arrays) if storage == "npz" else _safetensors_bytes(self._arrays)
        digest = hashlib.sha256(content).hexdigest()
        name = f"{weights_stem(path)}.{digest[:16]}.{storage}"
        return {"storage": storage, "file": name, "bytes": len(content), "sha256": digest, "arrays": manifest}, content


def _numbers(array: Array) -> list[Any]:
    """The values in C order; what JSON has no number for as text."""
    values = array.ravel().tolist()
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return [v if np.isfinite(v) else repr(v) for v in values]
    return values


def _safetensors_bytes(arrays: Mapping[str, Array]) -> bytes:
    return bytes(_safetensors().save(dict(arrays)))


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as problem:
        raise NotSupportedError(
            "weights in .safetensors need the package safetensors: pip install 'graphbp[safetensors]', or use weights='npz'"
        ) from problem
    return safetensors.numpy


class ArrayReader:
    """The arrays of a file, all checked when it is made.  An array that is used again counts against the allowance."""

    def __init__(self, entry: Any, path: Path, allowance: Allowance) -> None:
        self.size = 0  # bytes of the weights file
        self._used: set[str] = set()
        self._allowance = allowance
        if not isinstance(entry, dict) or not isinstance(entry.get("arrays"), dict):
            raise FileFormatError(f'{path}: "weights" must be an object with an object "arrays"')
        storage, manifest = entry.get("storage"), entry["arrays"]
        if storage not in STORAGES:
            raise FileFormatError(f"{path}: weights are stored as {storage!r}; this version of graphbp reads {', '.join(STORAGES)}")
        declared = {key: _declared(path, key, what) for key, what in manifest.items()}
        if storage == "inline":
            self._arrays = {key: _inline(path, key, *declared[key], manifest[key].get("data")) for key in manifest}
            return
        file, content = _weights_file(path, storage, entry)
        self.size = len(content)
        self._arrays = parse_npz(content, file) if storage == "npz" else _read_safetensors(file, content)
        surplus = next((key for key in self._arrays if key not in declared), None)
        if surplus is not None:
            raise FileFormatError(f"{file} has an array {surplus!r} that the JSON does not list")
        for key, (dtype, shape) in declared.items():
            if key not in self._arrays:
                raise FileFormatError(f"{file} lacks the array {key!r} that {path.name} lists")
            array = self._arrays[key]
            if array.dtype != dtype or array.shape != shape:
                raise FileFormatError(
                    f"{file}: array {key!r} is {array.dtype} of shape {array.shape}; {path.name} says {dtype} of shape {shape}"
                )

    def get(self, key: Any) -> Array:
        """The array with this key."""
        if not isinstance(key, str) or key not in self._arrays:
            raise FileFormatError(f"the file refers to the array {key!r}, which it does not have")
        array = self._arrays[key]
        if key in self._used:
            self._allowance.take(array.nbytes, f"the array {key!r}, used again,")
        self._used.add(key)
        return array


def _declared(path: Path, key: str, what: Any) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Dtype and shape of one entry of the manifest."""
    try:
        if not _DTYPE.fullmatch(what["dtype"]):
            raise ValueError(f"{what['dtype']!r} is not a dtype of numbers")
        element_count(what["shape"])
        return np.dtype(what["dtype"]), tuple(what["shape"])
    except (TypeError, ValueError, KeyError) as problem:
        raise FileFormatError(f"{path}: array {key!r} is not described as a dtype and a shape: {problem}") from problem


def _inline(path: Path, key: str, dtype: np.dtype[Any], shape: tuple[int, ...], data: Any) -> Array:
    count = element_count(shape)
    if not isinstance(data, list) or len(data) != count:
        came = f"{len(data):,} numbers" if isinstance(data, list) else repr(data)[:40]
        raise FileFormatError(f"{path}: array {key!r} has shape {shape}, that is {count:,} numbers, and its data is {came}")
    if dtype.kind == "f":
        data = [float(v) if v in ("nan", "inf", "-inf") else v for v in data] if any(type(v) is str for v in data) else data
        allowed: tuple[type, ...] = (int, float)
    else:
        allowed = (bool,) if dtype.kind == "b" else (int,)
    odd = next((v for v in data if type(v) not in allowed), None) if data else None
    if odd is not None or None in data:
        raise FileFormatError(f"{path}: array {key!r} of {dtype} holds {odd!r}, which is not a number of that kind")
    try:
        return np.array(data, dtype).reshape(shape)
    except (OverflowError, ValueError) as problem:
        raise FileFormatError(f"{path}: array {key!r} holds a number that does not fit {dtype}: {problem}") from problem


def _weights_file(path: Path, storage: str, entry: Mapping[str, Any]) -> tuple[Path, bytes]:
    """The weights file and its bytes: in the JSON's own folder, of the size and SHA-256 that the JSON says."""
    name, size, digest = entry.get("file"), entry.get("bytes"), entry.get("sha256")
    if not isinstance(name, str) or not _FILE_NAME.fullmatch(name) or not name.endswith(storage):
        raise FileFormatError(
            f"{path}: the weights file {name!r} must be a name ending in .{storage}, in the same folder, without a path"
        )
    file = path.with_name(name)
    try:
        content = read_file(file)
    except DataError as problem:
        raise WeightsFileError(f"{path}: its weights file cannot be read ({problem}); keep both in one folder") from problem
    if len(content) != size:
        raise WeightsFileError(
            f"{file} has {len(content):,} bytes and {path.name} says {size!r}; it is truncated, or belongs to another save"
        )
    if hashlib.sha256(content).hexdigest() != digest:
        raise WeightsFileError(f"{file} has the wrong checksum; it was changed or damaged after {path.name} was written")
    return file, content


def _read_safetensors(file: Path, content: bytes) -> dict[str, Array]:
    library = _safetensors()
    with reading(file):
        return {key: np.array(array) for key, array in library.load(content).items()}  # writeable copies
