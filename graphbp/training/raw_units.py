r"""The parameters of a scaled network in the units of the table: an affine map of θ.

    x ──(x − m)/s──► w, b ──M + S · z──► y         w' = S_j w_ji / s_i,     b'_j = M_j + S_j (b_j − Σ_i w_ji m_i / s_i)

with m, s only where i is an input and M, S only where j is an output.  w' and b' are the weights and biases of the same function of raw x
(`graphbp.folding.fold_scaling`); θ' = A θ + c, so that the covariance of θ' is A cov(θ) Aᵀ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.lookup import positions

if TYPE_CHECKING:
    from graphbp.network import Network
    from graphbp.scaling import Affine

__all__ = ["raw_units"]

Vector = npt.NDArray[np.float64]


def raw_units(net: Network) -> tuple[Any, Vector] | None:
    """(A (W, W) in CSR, c (W,)), or None where a tied parameter would be several numbers, or a scaled input or output feeds, or is, a
    node that aggregates otherwise than by a sum.
    """
    from scipy.sparse import coo_array

    spec, layout = net.model.spec, net.model.layout
    scaled = [spec.index[name] for name in net.inputs] if net.model.meaning.scaling.inputs is not None else []
    ends = [spec.index[name] for name in net.outputs] if net.model.meaning.scaling.outputs is not None else []
    if spec.aggregation[spec.edge_dst[np.isin(spec.edge_src, scaled)]].any() or spec.aggregation[ends].any():
        return None
    count = len(layout.entry_value)
    into, outof = (
        _by_node(net, net.model.meaning.scaling.inputs, net.inputs),
        _by_node(net, net.model.meaning.scaling.outputs, net.outputs),
    )
    factor, constant = np.ones(count), np.zeros(count)
    rows, columns, values = [np.arange(count)], [np.arange(count)], [factor]
    for i, bias in enumerate(spec.bias):
        if bias is not None and i in outof:
            here = slice(int(layout.bias_start[i]), int(layout.bias_start[i]) + len(bias))
            constant[here], factor[here] = outof[i]
    for e, (i, j) in enumerate(zip(spec.edge_src.tolist(), spec.edge_dst.tolist(), strict=True)):
        if i not in into and j not in outof:
            continue
        to, source = positions(spec.edge_array.get(e))
        entries = int(layout.edge_start[e]) + np.arange(int(layout.edge_count[e]))
        shift, scale = into.get(i, (np.zeros(1), np.ones(1)))
        at = source if i in into else np.zeros_like(source)
        factor[entries] = (outof[j][1][to] if j in outof else 1.0) / scale[at]
        if i in into and layout.bias_start[j] >= 0:
            rows.append(int(layout.bias_start[j]) + to)
            columns.append(entries)
            values.append(-factor[entries] * shift[at])
    owner = layout.entry_parameter
    whole = coo_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(count, count)).tocsr()
    free = np.flatnonzero(owner >= 0)
    fill = coo_array((np.ones(len(free)), (free, owner[free])), shape=(count, net.n_parameters)).tocsr()
    slope, constant = (whole @ fill).tocsr(), constant + whole @ np.where(owner < 0, layout.entry_value, 0.0)
    first = free[np.unique(owner[free], return_index=True)[1]]
    of_entry, of_first = slope[free], slope[first][owner[free]]
    if abs(of_entry - of_first).max() > 0 or (constant[free] != constant[first][owner[free]]).any():
        return None
    return slope[first], constant[first]


def _by_node(net: Network, affine: Affine | None, nodes: tuple[Any, ...]) -> dict[int, tuple[Vector, Vector]]:
    """Node → its units' (shift, scale)."""
    found: dict[int, tuple[Vector, Vector]] = {}
    at = 0
    if affine is None:
        return found
    for name in nodes:
        i = net.model.spec.index[name]
        here = slice(at, at + int(net.model.spec.units[i]))
        found[i] = affine.shift[here], affine.scale[here]
        at = here.stop
    return found
