"""The blocks of single units on the Hessian's diagonal: ∂²E/∂w_ji∂w_jk = Σ_n B_jj z_i z_k, without W × W storage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.second_order.operators import MATMAT_COLUMNS
from graphbp.second_order.plan import HessianPlan

__all__ = ["UnitBlocks", "blocks_by_node"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class UnitBlocks:
    """The parts of the Hessian that belong to the units of one node, each over its own weights and bias.

    Attributes
    ----------
    index : (units, p) positions in θ of each unit's free weights and bias, ascending; −1 pads units that have fewer than p.
    block : (units, p, p): block[j] is H[index[j]][:, index[j]]; 0 where index is −1.
    """

    index: npt.NDArray[np.int64]
    block: Array


def blocks_by_node(
    plan: HessianPlan, groups: Sequence[Array], product: Callable[[Array], Array], dtype: np.dtype[Any]
) -> dict[Hashable, UnitBlocks]:
    """Node → its `UnitBlocks`, from Σ_n B_jj z zᵀ of every group of the plan; of units that its schedule leaves out as dead, zeros.

    A tied parameter has cross terms with its other slots, which B_jj does not hold, and so have the weights of a unit that multiplies or
    chooses, which stand in several rows: their rows and columns are taken from `product`, the Hessian times (W, B), one product a parameter.
    """
    s, rows = plan.schedule.part_of or (plan.schedule, np.arange(plan.schedule.n_rows))
    whole = plan if plan.schedule is s else HessianPlan.of(s)
    owner = list(zip(*(part.tolist() for part in s.owners[:2]), strict=True))
    positions = _positions_by_unit(whole, owner)
    spread = _in_several_rows(whole, owner)
    wanted = np.unique(np.concatenate([whole.tied_positions, *(positions[unit] for unit in spread)]).astype(np.int64))
    tied = _columns_of(wanted, product, whole.n_parameters, dtype)
    found: dict[Hashable, list[tuple[npt.NDArray[np.int64], Array]]] = {
        s.names[node]: [(np.empty(0, np.int64), np.empty((0, 0), dtype))] * int(s.units[node])
        for node in dict.fromkeys(node for node, _ in owner[s.n_inputs :])
    }
    swept = {
        int(rows[group.start + j]): (group.index[j], values[j])
        for group, values in zip(plan.groups, groups, strict=True)
        for j in range(group.n_units)
    }
    for group in whole.groups:
        for j, row in enumerate(range(group.start, group.stop)):
            dead = (group.index[j], np.zeros((group.n_sources, group.n_sources), dtype))
            index, values = swept.get(row, dead)
            position = np.unique(index[index >= 0])
            at = [int(np.flatnonzero(index == a)[0]) for a in position]
            block = values[np.ix_(at, at)]
            if owner[row] in spread:
                position = positions[owner[row]]
                block = np.zeros((len(position), len(position)), dtype)
            for k, a in enumerate(position.tolist()):
                if a in tied:
                    block[k] = block[:, k] = tied[a][position]
            node, unit = owner[row]
            found[s.names[node]][unit] = (position, block)
    return {name: _padded(units, dtype) for name, units in found.items()}


_Unit = tuple[int, int]


def _positions_by_unit(plan: HessianPlan, owner: list[_Unit]) -> dict[_Unit, npt.NDArray[np.int64]]:
    """(node, unit) → positions in θ of its free weights and bias, in whatever rows they stand."""
    found: dict[_Unit, list[npt.NDArray[np.int64]]] = {}
    for group in plan.groups:
        for j, row in enumerate(range(group.start, group.stop)):
            found.setdefault(owner[row], []).append(group.index[j])
    return {unit: np.unique(np.concatenate(parts)[np.concatenate(parts) >= 0]) for unit, parts in found.items()}


def _in_several_rows(plan: HessianPlan, owner: list[_Unit]) -> set[_Unit]:
    """The units whose weights stand in more than one row."""
    count = Counter(owner[row] for group in plan.groups for row in range(group.start, group.stop))
    return {unit for unit, rows in count.items() if rows > 1}


def _columns_of(
    which: npt.NDArray[np.int64], product: Callable[[Array], Array], n_parameters: int, dtype: np.dtype[Any]
) -> dict[int, Array]:
    columns: dict[int, Array] = {}
    for start in range(0, len(which), MATMAT_COLUMNS):
        some = which[start : start + MATMAT_COLUMNS]
        unit = np.zeros((n_parameters, len(some)), dtype)
        unit[some, np.arange(len(some))] = 1
        values = product(unit)
        columns.update((int(a), values[:, k]) for k, a in enumerate(some))
    return columns


def _padded(units: list[tuple[npt.NDArray[np.int64], Array]], dtype: np.dtype[Any]) -> UnitBlocks:
    p = max(len(position) for position, _ in units)
    index = np.full((len(units), p), -1, np.int64)
    block = np.zeros((len(units), p, p), dtype)
    for j, (position, values) in enumerate(units):
        index[j, : len(position)] = position
        block[j, : len(position), : len(position)] = values
    return UnitBlocks(index, block)
