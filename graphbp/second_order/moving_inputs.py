"""A network whose inputs can be moved by parameters: behind each input x_i a unit x_i + b_i, the b behind θ and 0.

    x ──► h ──► y          x ──1──► x + b ──► h ──► y

Derivatives by b of one sample are those by its x.  So whoever has products with the Hessian by parameters has them by inputs too, and the
mixed ones, sample by sample: `graphbp.compose` does that for backends that leave them out.

`LINEAR` is the error E = Σ_k t_k y_k, whose derivatives are those of the outputs, weighed by T = V.  It is no error that one minimises,
and stands in no table.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.activations import get_activation
from graphbp.error_functions import ErrorFunction
from graphbp.levels import DenseBlock, build_levels
from graphbp.parameters import ParameterMap
from graphbp.schedule import Schedule

__all__ = ["LINEAR", "with_moving_inputs"]

Array = npt.NDArray[Any]


LINEAR = ErrorFunction("linear in y", lambda y, t: t * y, lambda y, t: t, lambda y, t: 0 * t, formula="Σ t y")


def with_moving_inputs(s: Schedule) -> Schedule:
    """The schedule with D more rows behind its inputs and D more parameters behind its W; all other rows move up by D."""
    d, edges = s.n_inputs, s.n_edges
    rows = np.arange(d)
    blocks = [_moved(block, d) for block in s.dense_blocks]
    activations, identity = _with_identity(s)
    row_level = np.concatenate([np.zeros(d), np.ones(d), s.row_level[d:] + 1]).astype(np.int32)
    row_activation = np.concatenate([s.row_activation[:d], np.full(d, identity), s.row_activation[d:]]).astype(np.int32)
    in_ptr = np.concatenate([np.zeros(d, np.int64), np.arange(d), d + s.in_ptr[d:]])
    old_bias = s.bias_slot[d:]
    bias_slot = np.concatenate([np.full(d, -1), d + edges + rows, np.where(old_bias >= 0, old_bias + 2 * d, -1)])
    parameter, value, w = s.parameters.slot_parameter, s.parameters.slot_value, s.n_parameters
    made = replace(
        s,
        n_rows=s.n_rows + d,
        node_row=np.where(s.node_row < d, s.node_row, s.node_row + d),
        row_level=row_level,
        levels=build_levels(row_level, row_activation, in_ptr, blocks),
        in_ptr=in_ptr,
        in_src=np.concatenate([rows, s.in_src + d]).astype(np.int32),
        out_ptr=np.concatenate([rows, d + s.out_ptr]),
        out_dst=np.concatenate([rows + d, s.out_dst + d]).astype(np.int32),
        out_slot=np.concatenate([rows, s.out_slot + d]),
        bias_slot=bias_slot,
        row_activation=row_activation,
        activations=activations,
        output_rows=s.output_rows + d,
        parameters=ParameterMap(
            w + d,
            np.concatenate([np.full(d, -1), parameter[:edges], w + rows, parameter[edges:]]),
            np.concatenate([np.ones(d), value[:edges], np.zeros(d), value[edges:]]),
        ),
        part_of=None,
        **_moved_combinations(s, d),
    )
    return made.live


def _moved(block: DenseBlock, d: int) -> DenseBlock:
    start = block.src_start + d if block.src_start >= 0 else -1
    return replace(
        block,
        start=block.start + d,
        stop=block.stop + d,
        src=(block.src + d).astype(np.int32),
        src_start=start,
        slot=block.slot + d,
    )


def _with_identity(s: Schedule) -> tuple[tuple[Any, ...], int]:
    """The activations with the identity among them, and its place."""
    for number, activation in enumerate(s.activations):
        if activation.builtin and activation.name == "identity":
            return s.activations, number
    return (*s.activations, get_activation("identity")), len(s.activations)


def _moved_combinations(s: Schedule, d: int) -> dict[str, Any]:
    """Rows that combine two others: every row of theirs moves up, and one level without any stands first."""
    c = s.combinations
    if not len(c):
        return {}
    ptr = np.concatenate([[0], c.ptr])
    return {"combinations": replace(c, rows=c.rows + d, first=c.first + d, second=c.second + d, ptr=ptr)}
