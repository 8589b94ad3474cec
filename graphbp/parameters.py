"""The flat vector of free parameters θ = `net.weights`, and how it fills the weights of the network.

Order of θ: destination nodes in graph order; for each, its incoming edges in predecessor order (each edge's weight row by row,
(units_dst, units_src); a sparse one its stored entries in CSR order), then its bias.  Frozen ones are left out; those that share
a `tie` stand once, where the first of them stands.  The order depends on the user's graph alone, never on the schedule.

Inside the engine every single weight and bias has a *slot*, in the order the sweeps use them.  Slots and θ are related by

    w_slot = C θ + w₀,      gradient = Cᵀ ∂E/∂w_slot,      Hessian = Cᵀ H C,

where each row of C holds one 1 (free) or none (frozen).  A `ParameterMap` is this C and w₀.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import WeightError
from graphbp.spec import GraphSpec

__all__ = ["Layout", "ParameterMap", "lay_out"]

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ParameterMap:
    """w_slot = C θ + w₀.

    Attributes
    ----------
    n_parameters : W, the length of θ.
    slot_parameter : (S,) the position in θ that fills this slot, or −1 where it is frozen.  A parameter may fill several slots, or none.
    slot_value : (S,) w₀: the value of a frozen slot, 0 elsewhere.
    """

    n_parameters: int
    slot_parameter: Indices
    slot_value: npt.NDArray[np.float64]

    @property
    def n_slots(self) -> int:
        """S: every weight and bias, frozen ones too."""
        return len(self.slot_parameter)

    @cached_property
    def frozen(self) -> Indices:
        """The frozen slots."""
        return np.flatnonzero(self.slot_parameter < 0)

    @cached_property
    def order(self) -> Indices:
        """The free slots sorted by the parameter that fills them."""
        free = np.flatnonzero(self.slot_parameter >= 0)
        if not len(free):
            return free
        owner = self.slot_parameter[free]
        if self.one_to_one:  # the inverse permutation, without a sort
            order = np.empty(self.n_parameters, np.int64)
            order[owner] = free
            return order
        return free[np.argsort(owner, kind="stable")]

    @cached_property
    def counts(self) -> Indices:
        """(W,) how many slots each parameter fills."""
        return np.bincount(self.slot_parameter[self.slot_parameter >= 0], minlength=self.n_parameters)

    @cached_property
    def one_to_one(self) -> bool:
        """Every parameter fills one slot."""
        return bool((self.counts == 1).all())

    @cached_property
    def starts(self) -> Indices | None:
        """Where each parameter's slots begin in `order`; None where each has just one."""
        return None if self.one_to_one else np.cumsum(self.counts) - self.counts

    @cached_property
    def tied(self) -> bool:
        """Whether some parameter fills more than one slot."""
        return bool((self.counts > 1).any())

    def expand(self, theta: Array) -> Array:
        """C θ + w₀, in θ's dtype: the value of every slot."""
        w = theta[self.slot_parameter] if self.n_parameters else np.zeros(self.n_slots, theta.dtype)
        w[self.frozen] = self.slot_value[self.frozen]
        return w

    def expand_tangent(self, v: Array) -> Array:
        """C v along the first axis: a direction in θ as a direction in the slots."""
        if not self.n_parameters:
            return np.zeros((self.n_slots, *v.shape[1:]), v.dtype)
        w = v[self.slot_parameter]
        w[self.frozen] = 0
        return w

    def reduce(self, gradient: Array) -> Array:
        """Cᵀ g along the last axis: (..., S) by slot to (..., W) by parameter, tied slots summed in a fixed order."""
        taken = gradient[..., self.order]
        if self.starts is None:
            return taken
        filled = np.flatnonzero(self.counts)
        sums = np.add.reduceat(taken, self.starts[filled], axis=-1) if self.tied else taken
        if len(filled) == self.n_parameters:
            return sums
        out = np.zeros((*gradient.shape[:-1], self.n_parameters), gradient.dtype)
        out[..., filled] = sums
        return out


@dataclass(frozen=True)
class Layout:
    """Where each edge and bias stands among all *entries*, and which parameter fills each entry.

    An entry is one scalar weight or bias, in the order of the module's docstring before freezing and tying.

    Attributes
    ----------
    edge_start : (E + 1,)-like start of each edge's entries; edge_count their number.
    bias_start : (n_nodes,) start of each node's bias entries, −1 where it has none.
    entry_parameter : (P,) position in θ, −1 frozen.
    entry_value : (P,) the value that came with the graph.
    theta : (W,) the initial θ, float64.
    """

    edge_start: Indices
    edge_count: Indices
    bias_start: Indices
    entry_parameter: Indices
    entry_value: npt.NDArray[np.float64]
    theta: npt.NDArray[np.float64]

    def fill(self, theta: Array, entries: slice = slice(None)) -> npt.NDArray[np.float64]:
        """The entries' current values, a new array: θ where they are free, what came with the graph where they are frozen."""
        owner = self.entry_parameter[entries]
        if not len(theta):
            return self.entry_value[entries].copy()
        return np.where(owner >= 0, theta[owner], self.entry_value[entries])

    @cached_property
    def biases_alone(self) -> npt.NDArray[np.bool_]:
        """(W,) the parameters that fill biases and no weight of an edge."""
        ends = np.zeros(len(self.entry_value) + 1, np.int64)
        np.add.at(ends, self.edge_start, 1)
        np.add.at(ends, self.edge_start + self.edge_count, -1)
        owner = self.entry_parameter[np.cumsum(ends)[:-1] > 0]
        alone = np.ones(len(self.theta), bool)
        alone[owner[owner >= 0]] = False
        return alone

    @property
    def why_none(self) -> str:
        """Why θ is empty, where it is."""
        return (
            "every one is frozen (trainable=False)"
            if len(self.entry_value)
            else "its weights store no entry, and no unit has a bias"
        )


def lay_out(spec: GraphSpec) -> Layout:
    """Number all entries and parameters of a checked graph.  Raises `WeightError` for ties that do not match."""
    edge_count = spec.edge_entries()
    bias_count = np.array([0 if b is None else len(b) for b in spec.bias], np.int64)
    edges_before = np.concatenate([[0], np.cumsum(edge_count)])
    bias_before = np.concatenate([[0], np.cumsum(bias_count)])
    edge_start = edges_before[:-1] + bias_before[spec.edge_dst]
    last_edge = np.searchsorted(spec.edge_dst, np.arange(spec.n_nodes), side="right")
    bias_start = np.where(bias_count > 0, edges_before[last_edge] + bias_before[:-1], -1)
    total = int(edges_before[-1] + bias_before[-1])

    value = np.empty(total)
    scalar = np.isfinite(spec.edge_weight)
    value[edge_start[scalar]] = spec.edge_weight[scalar]
    for e, array in spec.edge_array.items():
        value[edge_start[e] : edge_start[e] + edge_count[e]] = array.data if hasattr(array, "nnz") else array.ravel()
    for i, b in enumerate(spec.bias):
        if b is not None:
            value[bias_start[i] : bias_start[i] + len(b)] = b

    free = np.ones(total, bool)
    for e in np.flatnonzero(spec.edge_frozen).tolist():
        free[edge_start[e] : edge_start[e] + edge_count[e]] = False
    for i in np.flatnonzero(spec.bias_frozen).tolist():
        free[bias_start[i] : bias_start[i] + bias_count[i]] = False
    leader = _follow_ties(spec, edge_start, edge_count, bias_start, bias_count, value, free)
    stands = free if leader is None else free & (leader == np.arange(total))
    parameter = np.where(stands, np.cumsum(stands) - 1, -1)
    if leader is not None:
        parameter = np.where(free, parameter[leader], -1)
    return Layout(edge_start, edge_count, bias_start, parameter, value, value[stands])


def _follow_ties(
    spec: GraphSpec,
    edge_start: Indices,
    edge_count: Indices,
    bias_start: Indices,
    bias_count: Indices,
    value: npt.NDArray[np.float64],
    free: npt.NDArray[np.bool_],
) -> Indices | None:
    """(P,) the entry that leads each entry's tie (itself where it is not tied), or None where nothing is tied."""
    if not spec.edge_tie and not spec.bias_tie:
        return None
    members: dict[str, list[tuple[int, int, str, Any]]] = {}
    for e, tie in spec.edge_tie.items():
        members.setdefault(tie, []).append((int(edge_start[e]), int(edge_count[e]), spec.edge_name(e), _pattern(spec, e)))
    for i, tie in spec.bias_tie.items():
        n = int(bias_count[i])
        members.setdefault(tie, []).append((int(bias_start[i]), n, f"the bias of node {spec.names[i]!r}", () if n == 1 else (n,)))
    leader = np.arange(len(value))
    for tie, group in members.items():
        group.sort(key=lambda member: member[0])
        start, count, name, pattern = group[0]
        for other, n, other_name, other_pattern in group[1:]:
            here, there = slice(start, start + count), slice(other, other + n)
            joins = f"tie {tie!r} joins {name} and {other_name}, "
            if n != count or other_pattern != pattern:
                raise WeightError(f"{joins}whose shapes differ; only equal shapes can share weights")
            if not np.array_equal(value[there], value[here]):
                raise WeightError(f"{joins}whose values differ; give both the same value to start from")
            if not np.array_equal(free[there], free[here]):
                raise WeightError(f"{joins}and only one of them is frozen; set trainable= on both alike")
            leader[there] = np.arange(start, start + count)
    return leader


def _pattern(spec: GraphSpec, e: int) -> Any:
    """What must agree for two edges to share weights: their shape, and a sparse one's pattern."""
    array = spec.edge_array.get(e)
    if array is None or array.shape == (1, 1):
        return ()
    if hasattr(array, "nnz"):
        return (array.shape, array.indptr.tobytes(), array.indices.tobytes())
    return array.shape
