"""Which columns of a table a network reads: by name in any order, or by position where no name is known; what is left over is refused."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Hashable, Sequence

from graphbp.config import option
from graphbp.exceptions import DataError, DataWarning, callers_level, listed
from graphbp.tables.table import Table

__all__ = ["by_position", "extra_columns", "index_columns", "match", "surplus", "warn_of_surplus"]


def match(
    table: Table,
    wanted: Sequence[Sequence[Hashable]],
    what: str,
    *,
    known: Sequence[Hashable] = (),
    ignore_extra: bool | None = None,
) -> list[int] | None:
    """Positions of the wanted columns, or None where none of their names is in the table.

    Parameters
    ----------
    wanted : for each column the names it may have.
    what : "input" or "output", for messages.
    known : columns that may be there besides.
    ignore_extra : leave out columns that are not wanted; else they are refused.  None asks `gb.config`.

    Raises
    ------
    DataError : a name that is there twice, one that is not there, one that nothing reads.
    """
    if table.names is None:
        return None
    exact = {name: i for i, name in enumerate(table.names)}
    text = {str(name): i for name, i in exact.items()}
    if len(text) < table.n_columns:
        twice = next(name for i, name in enumerate(table.names) if str(name) in {str(other) for other in table.names[:i]})
        raise DataError(f"{table.source} has two columns called {str(twice)!r}; give each a name of its own")
    found = [next((at for name in names if (at := exact.get(name, text.get(str(name)))) is not None), None) for names in wanted]
    if all(at is None for at in found):
        return None
    shared = [at for k, at in enumerate(found) if at is not None and at in found[:k]]
    if shared:
        raise DataError(
            f"{table.source}: {table.name(shared[0])} would be two {what}s of the network, whose names are alike as text"
        )
    lacking = [str(names[0]) for names, at in zip(wanted, found, strict=True) if at is None]
    if lacking:
        near = difflib.get_close_matches(lacking[0], text, n=1)
        guess = f" (there is {near[0]!r})" if near else ""
        raise DataError(
            f"{table.source} has no column {lacking[0]!r}, an {what} of the network{guess}"
            + (f"; {len(lacking)} are missing: {listed(lacking)}" if len(lacking) > 1 else "")
        )
    place = [at for at in found if at is not None]
    if (extra := surplus(table, place, known)) and not option("ignore_extra", ignore_extra):
        raise DataError(extra_columns(table, extra, what))
    return place


def surplus(table: Table, place: Sequence[int], known: Sequence[Hashable]) -> tuple[Hashable, ...]:
    """The columns that are neither at these positions nor known."""
    told = {str(name) for name in known}
    return tuple(name for i, name in enumerate(table.names or ()) if i not in place and str(name) not in told)


def warn_of_surplus(table: Table, extra: Sequence[Hashable], what: str) -> None:
    """Say which columns are left out."""
    warnings.warn(
        f"{table.source}: left out, since no {what} reads them: {listed([repr(name) for name in extra])}",
        DataWarning,
        stacklevel=callers_level(),
    )


def by_position(table: Table, wanted: Sequence[Sequence[Hashable]], what: str, told: bool = False) -> None:
    """Warn (unless `told`) that names play no part; refuse where the count does not agree."""
    named = [str(names[0]) for names in wanted]
    if unnamed := index_columns(table):
        raise DataError(extra_columns(table, [(table.names or ())[i] for i in unnamed], what))
    if table.n_columns != len(named):
        came = "" if table.names is None else f" ({listed([repr(n) for n in table.names])})"
        raise DataError(
            f"{table.source} has {table.n_columns} columns{came}; the network has {len(named)} {what}s, in this order: {listed(named, 20)}"
        )
    if table.names is not None and not told:
        warnings.warn(
            f"no column of {table.source} is called like an {what} of the network, so they are taken by position: "
            + listed([f"{name!r} is {to}" for name, to in zip(table.names, named, strict=True)]),
            DataWarning,
            stacklevel=callers_level(),
        )


_INDEX = ("", "Unnamed: 0", "__index_level_0__")  # what an index is called after a trip through a file


def index_columns(table: Table) -> list[int]:
    """Positions of the columns that are called like the index of a frame that was written to a file."""
    return [i for i, name in enumerate(table.names or ()) if str(name).strip() in _INDEX]


def extra_columns(table: Table, extra: Sequence[Hashable], what: str) -> str:
    """The message for columns that nothing reads."""
    one = len(extra) == 1
    unnamed = [name for name in extra if str(name).strip() in _INDEX]
    index = "; a column without a name is the index that to_csv wrote: to_csv(index=False)" if unnamed else ""
    them = "it" if one else "them"
    remedy = f"; --ignore-extra leaves {them} out, --target NAME says that it is the target"
    if table.source == "X":
        remedy = f"; select those that are: X[net.columns], or leave {them} out: gb.config(ignore_extra=True)"
    elif table.source == "T":
        remedy = f"; gb.config(ignore_extra=True) leaves {them} out"
    return f"{table.source} has {'a column' if one else f'{len(extra)} columns'} that no {what} reads: {listed([repr(n) for n in extra])}{index}{remedy}"
