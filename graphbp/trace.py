"""What a forward and a reverse sweep saw: a, z and δ of every node, by name."""

from __future__ import annotations

import numbers
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.combinations import COMBINATIONS
from graphbp.exceptions import DataError, printable, shown, unknown_name
from graphbp.scaling import Scaling
from graphbp.schedule import Schedule
from graphbp.spec import GraphSpec

__all__ = ["Trace", "rescaled", "whole_trace"]

Array = npt.NDArray[Any]


SHOWN = 40
"""Rows that a printed table has; the middle of a larger network is left out."""


class _ByNode(Mapping[Hashable, Array]):
    """node → (N,) for a unit, (N, units) for a layer.  Printed, it is a table of the first samples."""

    def __init__(self, spec: GraphSpec, schedule: Schedule, rows: Array, what: str = "value") -> None:
        self._spec, self._schedule, self._rows, self._what = spec, schedule, rows, what

    def __repr__(self) -> str:
        n = self._rows.shape[1]
        headings = [f"sample {k}" for k in range(min(n, 4))]
        more = [f"... {n - 4} more samples"] if n > 4 else []
        return _table(self._spec, self._schedule, [*headings, *more], self._rows[:, :4].T, self._what)

    def __getitem__(self, node: Hashable) -> Array:
        try:
            i = self._spec.index[node]
        except (KeyError, TypeError):  # TypeError: not hashable
            raise unknown_name("node", node, [str(n) for n in self._spec.names]) from None
        part = self._rows[self._schedule.rows_of(i)]
        return part[0] if self._spec.units[i] == 1 else part.T

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._spec.names)

    def __len__(self) -> int:
        return self._spec.n_nodes


def rescaled(scaling: Scaling, schedule: Schedule, x: Array, a: Array, z: Array, delta: Array) -> tuple[Array, Array, Array]:
    """(a, z, δ) of all rows with inputs and outputs in the caller's units, in copies; `x` (N, D) is raw."""
    a, z, delta = a.copy(), z.copy(), delta.copy()
    inputs, outputs = scaling.inputs, scaling.outputs
    if inputs is not None:
        n = schedule.n_inputs
        a[:n] = x.T
        delta[:n] /= inputs.scale[:, None].astype(delta.dtype)
    if outputs is not None:
        z[schedule.output_rows] = outputs.outward(z[schedule.output_rows].T, z.dtype).T
    return a, z, delta


class Trace:
    """a_j, z_j and δ_j = ∂E_n/∂a_j of every node and sample.

    Attributes
    ----------
    a, z, delta : mappings from a node's name to (N,) for a unit or (N, units) for a layer.  For an input, a = z = x and δ is
        ∂E_n/∂x; one with `shift` and `scale` has a = x, passes on z = (x − shift)/scale, and δ is ∂E_n/∂x still.  An output with them
        has z = y = shift + scale · h(a).  So z is what a node gives away, and δ = ∂E_n/∂a, of every node.
    """

    def __init__(self, spec: GraphSpec, schedule: Schedule, a: Array, z: Array, delta: Array) -> None:
        self.a = _ByNode(spec, schedule, a, "a")
        self.z = _ByNode(spec, schedule, z, "z")
        self.delta = _ByNode(spec, schedule, delta, "delta")
        self._spec, self._schedule, self._parts = spec, schedule, (a, z, delta)

    def sample(self, n: Any) -> str:
        """A table of a, z and δ of sample n (−1 is the last), in the order of the forward sweep.  Raises `DataError`: no such sample.

        >>> import networkx as nx, graphbp as gb
        >>> net = gb.Network(nx.DiGraph([("x", "y", {"weight": 2.0})]), backend="numpy")
        >>> net.trace([[1.0], [3.0]], [[0.5], [7.0]]).sample(1).splitlines()[-1].split()
        ['y', '6', '6', '-1']
        """
        count = self._parts[0].shape[1]
        if isinstance(n, bool) or not isinstance(n, numbers.Integral) or not -count <= int(n) < count:
            raise DataError(f"sample {shown(n)}; the trace has {count} samples, numbered from 0")
        at = int(n) % count
        return _table(
            self._spec, self._schedule, ["a", "z", "delta"], [part[:, at] for part in self._parts], f"(sample {at})", last=True
        )

    def __str__(self) -> str:
        """A table of the first sample, in the order of the forward sweep; `sample(n)` has the others'."""
        return self.sample(0)

    __repr__ = __str__


def _table(spec: GraphSpec, schedule: Schedule, headings: list[str], columns: Any, what: str, last: bool = False) -> str:
    """A line a row of the schedule; `what` stands at the end of the head where it is a remark, else before it."""
    own = schedule.own_rows
    total = len(own)
    rows = own.tolist() if total <= SHOWN else [*own[: SHOWN // 2].tolist(), *own[total - SHOWN // 2 :].tolist()]
    names = [_row_name(spec, schedule, row) for row in rows]
    width = max(16, *(len(name) for name in names))
    head = f"{'node' if last else what:>{width}s} " + " ".join(f"{head:>12s}" for head in headings)
    lines = [head + (f"   {what}" if last else "")]
    for k, (row, name) in enumerate(zip(rows, names, strict=True)):
        if total > SHOWN and k == SHOWN // 2:
            lines.append(f"{'...':>{width}s} {total - SHOWN:,} more units")
        lines.append(f"{name:>{width}s} " + " ".join(f"{column[row]:12.6g}" for column in columns))
    return "\n".join(lines)


def _row_name(spec: GraphSpec, schedule: Schedule, row: int) -> str:
    """The node's name, and [u] behind it inside a layer."""
    node, unit = schedule.node_of_row(row)
    name = printable(spec.names[node])
    return name if spec.units[node] == 1 else f"{name}[{unit}]"


def whole_trace(s: Schedule, theta: Array, a: Array, z: Array, delta: Array) -> tuple[Array, Array, Array]:
    """a, z and δ of all rows from those of the live part: a dead unit's a and z by their definition, its δ 0."""
    if s.live.part_of is None:
        return a, z, delta
    rows = s.live.part_of[1]
    all_a, all_z, all_delta = (np.zeros((s.n_rows, a.shape[1]), a.dtype) for _ in range(3))
    all_a[rows], all_z[rows], all_delta[rows] = a, z, delta
    w = s.parameters.expand(theta)
    with np.errstate(all="ignore"):  # it may overflow: nothing hangs on it
        for j in np.setdiff1d(np.arange(s.n_rows), rows).tolist():  # upwards: a row's sources stand before it
            all_a[j] = w[s.bias_slot[j]] if s.bias_slot[j] >= 0 else 0
            for source, slots in _incoming(s, j):
                all_a[j] += (w[slots, None] * all_z[source]).sum(axis=0)
            for c in s.combinations.of_rows(j, j + 1).tolist():
                u, v = all_z[s.combinations.first[c]], all_z[s.combinations.second[c]]
                all_a[j] += COMBINATIONS[s.combinations.kind[c]].g(u, v)
            all_z[j] = s.activations[s.row_activation[j]].f(all_a[j])
    return all_a, all_z, all_delta


def _incoming(s: Schedule, j: int) -> Iterator[tuple[Any, slice]]:
    """(sources, slots) of the edges that lead into row j."""
    edges = slice(int(s.in_ptr[j]), int(s.in_ptr[j + 1]))
    yield s.in_src[edges], edges
    for block in s.levels[int(s.row_level[j]) - 1].dense:
        if block.start <= j < block.stop:
            first = block.slot + (j - block.start) * len(block.src)
            yield block.source, slice(first, first + len(block.src))
