"""A schedule as tables on the device: what the kernels see as `const Network*`.

The tables are uploaded once, and one more array holds their addresses and the sizes in the order of `module.FIELDS`; every kernel
takes that array.  `Program` keeps the tables alive and never changes them, so calls from several threads share it.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import DenseBlock, ErrorFunction, NotSupportedError, Schedule, head_groups
from graphbp_cupy.formulas import Selection
from graphbp_cupy.module import FIELDS

__all__ = ["Program"]

CANONICAL, COUPLED = 1, 2
_TYPES = {"int": np.int32, "long long": np.int64, "unsigned char": np.uint8}

Array = npt.NDArray[Any]


class Program:
    """The tables of one schedule and error.

    Attributes
    ----------
    network : the device array that kernels take as `const Network*`.
    tables : the device arrays by name.
    tied : the parameters that fill more than one slot.
    """

    def __init__(
        self, cp: Any, schedule: Schedule, error: ErrorFunction, dtype: np.dtype[Any], rows: Selection, flat: bool
    ) -> None:
        self.schedule = schedule
        host = _host_tables(schedule, error, dtype, rows, flat)
        self.sizes = {name: int(value) for name, value in host.items() if not isinstance(value, np.ndarray)}
        self.tables = {name: cp.asarray(value) for name, value in host.items() if isinstance(value, np.ndarray)}
        words = [self.sizes[n] if n in self.sizes else self.tables[n].data.ptr if n in self.tables else 0 for n in FIELDS]
        self.network = cp.asarray(np.array(words, np.int64).view(np.uint64))
        self.dense_source = {
            block.slot: cp.asarray(block.src.astype(np.int64)) for block in schedule.dense_blocks if block.src_start < 0
        }
        self.output_rows = cp.asarray(schedule.output_rows)
        self.units = cp.asarray(np.arange(schedule.n_inputs, schedule.n_rows, dtype=np.int32))
        self.unit_ptr = host["unit_ptr"]
        self._host_source = _unit_source(schedule, host)
        self.first_block = _first_blocks(schedule)
        self.tied = np.flatnonzero(np.diff(host["owned_ptr"]) > 1)
        self._cp = cp

    @cached_property
    def unit_source(self) -> Any:
        """The source row of every slot in the order of `unit_slot`; a bias reads row n_rows, which the Hessian fills with ones."""
        source = self._cp.asarray(self._host_source)
        self._cp.cuda.get_current_stream().synchronize()
        return source

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        """(first, last) of neighbouring rows whose slots read the same sources in the same order: one matrix Z serves them all."""
        return _runs(self.schedule, self._host_source, self.unit_ptr)


def _host_tables(schedule: Schedule, error: ErrorFunction, dtype: np.dtype[Any], rows: Selection, flat: bool) -> dict[str, Any]:
    s, p = schedule, schedule.parameters
    kinds = np.array([rows.activations.index(row.name) for row in s.activations], np.int32)
    dst, src = _slot_ends(s)
    edges = len(dst) - int((src < 0).sum())
    by_unit = np.argsort(dst, kind="stable")
    row_position = np.full(s.n_rows, -1)
    row_position[s.output_rows] = np.arange(s.n_outputs)
    starts = np.arange(p.n_parameters) if p.starts is None else p.starts
    dense_in, dense_out = np.zeros(s.n_rows), np.zeros(s.n_rows)
    for block in s.dense_blocks:
        dense_in[block.start : block.stop] = 1
        dense_out[block.src] = 1
    tables: dict[str, Any] = {
        "n_rows": s.n_rows, "n_inputs": s.n_inputs, "n_outputs": s.n_outputs, "n_slots": p.n_slots,
        "n_parameters": p.n_parameters, "n_levels": s.depth, "n_sparse": s.n_sparse, "n_biases": p.n_slots - edges,
        "n_edges": edges, "error": rows.errors.index(error.name),
        "in_ptr": s.in_ptr, "in_src": s.in_src, "out_ptr": s.out_ptr, "out_dst": s.out_dst, "out_slot": s.out_slot,
        "bias_slot": s.bias_slot, "kind": kinds[s.row_activation], "row_position": row_position, "output_row": s.output_rows,
        "dense_in": dense_in, "dense_out": dense_out, "slot_dst": dst, "slot_src": src,
        "slot_parameter": p.slot_parameter, "slot_value": p.slot_value,
        "owned_ptr": np.append(starts, len(p.order)), "owned_slot": p.order,
        "unit_ptr": _pointers(dst, s.n_rows), "unit_slot": by_unit,
        "level_ptr": np.array([*(level.start for level in s.levels), s.n_rows]),
        **_items(s, error), **_combinations(s),
    }  # fmt: skip
    if flat:
        by_source = np.argsort(src[:edges], kind="stable")
        by_target = np.argsort(dst[:edges], kind="stable")
        tables |= {"all_ptr": _pointers(dst[:edges], s.n_rows), "all_src": src[by_target], "all_slot": by_target}
        tables |= {"rev_ptr": _pointers(src[:edges], s.n_rows), "rev_dst": dst[by_source], "rev_slot": by_source}
    return {
        name: np.ascontiguousarray(value, _dtype_of(FIELDS[name], dtype)) if isinstance(value, np.ndarray) else value
        for name, value in tables.items()
    }


def _dtype_of(kind: str, real: np.dtype[Any]) -> Any:
    return _TYPES.get(kind.removeprefix("const ").removesuffix("*"), real)


def _slot_ends(s: Schedule) -> tuple[Array, Array]:
    """(destination row, source row) of every slot; the source of a bias is −1."""
    dst = [np.repeat(np.arange(s.n_rows), np.diff(s.in_ptr))]
    src: list[Array] = [np.asarray(s.in_src)]
    for block in s.dense_blocks:
        m, n = block.shape
        dst.append(np.repeat(np.arange(block.start, block.stop), n))
        src.append(np.tile(block.src, m))
    biased = np.flatnonzero(s.bias_slot >= 0)
    return np.concatenate([*dst, biased]), np.concatenate([*src, np.full(len(biased), -1)])


def _combinations(s: Schedule) -> dict[str, Any]:
    """By row: the kind of its combination and the two sources; by source: the rows that combine it."""
    c = s.combinations
    of_row = np.full((3, s.n_rows), -1)
    of_row[:, c.rows] = c.kind, c.first, c.second
    source, second = np.concatenate([c.first, c.second]), np.repeat([0, 1], len(c))
    order = np.argsort(source, kind="stable")
    return {
        "n_combinations": len(c),
        "combination": of_row[0],
        "combination_first": of_row[1],
        "combination_second": of_row[2],
        "fed_ptr": _pointers(source, s.n_rows),
        "fed_row": np.concatenate([c.rows, c.rows])[order],
        "fed_second": second[order],
    }


def _pointers(rows: Array, n_rows: int) -> Array:
    return np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n_rows))])


def _items(s: Schedule, error: ErrorFunction) -> dict[str, Any]:
    """Each elementwise output by itself, then each softmax group: rows, output positions and flags."""
    members: list[Array] = []
    flags = []
    for head in head_groups(s, error):
        if head.coupled and head.canonical and error.name != "cross_entropy":
            raise NotSupportedError(f"backend 'cupy' has no joint form of error {error.name!r} with softmax; use another backend")
        groups = [head.positions] if head.coupled else [np.array([k]) for k in head.positions]
        members += groups
        flags += [CANONICAL * head.canonical + COUPLED * head.coupled] * len(groups)
    order = sorted(range(len(members)), key=lambda i: flags[i] & COUPLED)
    members, flags = [members[i] for i in order], [flags[i] for i in order]
    positions = np.concatenate(members)
    return {
        "n_single": sum(not flag & COUPLED for flag in flags),
        "n_items": len(members),
        "item_ptr": np.concatenate([[0], np.cumsum([len(group) for group in members])]),
        "item_row": s.output_rows[positions],
        "item_position": positions,
        "item_flags": np.array(flags),
    }


def _unit_source(s: Schedule, host: dict[str, Any]) -> Array:
    source = host["slot_src"][host["unit_slot"]].astype(np.int64)
    return np.where(source < 0, s.n_rows, source)


def _runs(s: Schedule, source: Array, ptr: Array) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for j in range(s.n_inputs, s.n_rows):
        mine = source[ptr[j] : ptr[j + 1]]
        if runs:
            first = runs[-1][0]
            if np.array_equal(source[ptr[first] : ptr[first + 1]], mine):
                runs[-1] = (first, j + 1)
                continue
        runs.append((j, j + 1))
    return runs


def _first_blocks(s: Schedule) -> dict[int, bool]:
    """slot of each dense block: True where it is the first to reach its rows (so it sets them; others add)."""
    seen: set[tuple[int, int]] = set()
    first = {}
    for block in s.dense_blocks:
        first[block.slot] = (block.start, block.stop) not in seen
        seen.add((block.start, block.stop))
    _check_disjoint(s.dense_blocks)
    return first


def _check_disjoint(blocks: tuple[DenseBlock, ...]) -> None:
    """Blocks reach equal or disjoint runs of rows; a schedule that breaks this would be computed wrongly, so it is refused."""
    spans = sorted({(block.start, block.stop) for block in blocks})
    for (_, stop), (start, _) in pairwise(spans):
        if start < stop:
            raise NotSupportedError(f"backend 'cupy': dense blocks overlap in part at row {start}; use another backend")
