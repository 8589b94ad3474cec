"""Plain .npz archives: arrays of numbers, each a stored (uncompressed) .npy member, read from their bytes without believing them.

Reading allocates no more than the archive's own bytes: members are not compressed, and their sizes add up to no more than the whole, so
that they cannot overlap.  There is no pickle.
"""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import FileFormatError
from graphbp.files.reading import element_count, reading

__all__ = ["npz_bytes", "parse_npz"]

Array = npt.NDArray[Any]

_DTYPE = re.compile(r"[<|][biufc][0-9]+|[<|][US][0-9]+")


def npz_bytes(arrays: Mapping[str, Array]) -> bytes:
    """An uncompressed .npz with fixed dates, so that equal arrays give equal bytes."""
    buffer = io.BytesIO()
    archive = _Archive(buffer, "w", zipfile.ZIP_STORED)
    for key, array in arrays.items():
        with archive.open(zipfile.ZipInfo(f"{key}.npy"), "w", force_zip64=True) as member:
            np.lib.format.write_array(member, np.asarray(array, order="C"), allow_pickle=False)
    archive.close()  # not by `with`: after Ctrl-C, closing what is half written would raise something else instead
    return buffer.getvalue()


class _Archive(zipfile.ZipFile):
    """An archive in memory, which may be dropped as it stands: there is nothing to close, and no complaint that a member is still open."""

    def __del__(self) -> None:
        pass


def parse_npz(content: bytes, file: str | os.PathLike[str], *, fortran: bool = False) -> dict[str, Array]:
    """The arrays of an archive, those in Fortran order too where `fortran` allows them.

    Raises
    ------
    FileFormatError : no archive, a damaged one, a member that is compressed, overlaps another, is there twice or is no array of
        numbers in C order; names the file and the array.
    """
    arrays: dict[str, Array] = {}
    with reading(file), zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
                raise FileFormatError(f"{file}: array {member.filename!r} is compressed; graphbp reads plain archives only")
        if sum(member.file_size for member in members) > len(content):
            raise FileFormatError(f"{file} is damaged: its arrays overlap, for together they are larger than the file")
        for member in members:
            key = member.filename.removesuffix(".npy")
            if key in arrays:
                raise FileFormatError(f"{file} has the array {key!r} twice")
            with reading(f"{file}: array {key!r}"), archive.open(member) as stream:
                arrays[key] = _read_npy(f"{file}: array {key!r}", stream, member.file_size, fortran)
    return arrays


def _read_npy(where: str, stream: Any, size: int, fortran: bool) -> Array:
    """One .npy member, allocated only once its header's claim is seen to equal the bytes that follow."""
    start: BinaryIO = stream
    version = np.lib.format.read_magic(start)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = header(start)
    if dtype.hasobject or not _DTYPE.fullmatch(dtype.str) or (by_columns and not fortran):
        raise FileFormatError(f"{where} is {dtype}; graphbp stores plain numbers in C order")
    claimed = element_count(tuple(int(n) for n in shape)) * dtype.itemsize
    body = start.read(size)
    if claimed != len(body):
        raise FileFormatError(f"{where} claims {claimed:,} bytes and has {len(body):,}")
    return np.frombuffer(body, dtype).reshape(shape, order="F" if by_columns else "C").copy()
