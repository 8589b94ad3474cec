"""What a forward and a reverse sweep saw: a, z and δ of every node, by name."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import unknown_name
from graphbp.graph import GraphSpec
from graphbp.scaling import Scaling
from graphbp.schedule import Schedule

__all__ = ["Trace", "rescaled"]

Array = npt.NDArray[Any]


class _ByNode(Mapping[Hashable, Array]):
    """node → (N,) for a unit, (N, units) for a layer."""

    def __init__(self, spec: GraphSpec, schedule: Schedule, rows: Array) -> None:
        self._spec, self._schedule, self._rows = spec, schedule, rows

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
        self.a = _ByNode(spec, schedule, a)
        self.z = _ByNode(spec, schedule, z)
        self.delta = _ByNode(spec, schedule, delta)
        self._order = [spec.names[i] for i in np.argsort(schedule.node_row, kind="stable")]

    def __str__(self) -> str:
        """A table of the first sample, in the order of the forward sweep."""
        lines = [f"{'node':>16s} {'a':>12s} {'z':>12s} {'delta':>12s}   (sample 0)"]
        for node in self._order:
            for u, triple in enumerate(zip(*(np.atleast_1d(part[node][0]) for part in (self.a, self.z, self.delta)), strict=True)):
                name = str(node) if np.ndim(self.a[node]) == 1 else f"{node}[{u}]"
                lines.append(f"{name:>16s} " + " ".join(f"{v:12.6g}" for v in triple))
        return "\n".join(lines)
