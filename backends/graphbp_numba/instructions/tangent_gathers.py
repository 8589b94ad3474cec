"""Two gathers along the same edges at once, for derivatives along a direction v in the weights: one pass where there would be two.

    gather_both        out = init + Σ_e (w_e x_e + v_e y_e)                        forward: ȧ_j = Σ_i (w_ji ż_i + v_ji z_i) + v_j
    gather_both_sums   the same backwards, and for every edge                      Rβ_i = Σ_k (w_ki Rδ_k + v_ki δ_k)
                       sums_e += Σ_lanes (x_e z + y_e ż)                           (H v)_ki = Σ_n (Rδ_k z_i + δ_k ż_i)

x and y are two arrays of rows in one layout, `apart` bytes from each other; `Both` names them, with w and v.  An edge's two products are
added before the sum over lanes, which costs as much as the edge.  Conventions are those of `graphbp_numba.instructions.rows`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba.core import cgutils

from graphbp_numba.instructions.operation import operation
from graphbp_numba.instructions.shapes import Shape, const, edge_operands, flush_sums, loop
from graphbp_numba.machine.functions import VECTOR_BYTES

__all__ = ["Both", "gather_both", "gather_both_sums"]


def _both(
    shape: Any, builder: Any, base: Any, apart: Any, index: Any, w: Any, v: Any, e: Any
) -> tuple[Any, Any, list[Any], list[Any]]:
    """(w_e, v_e, the vectors of x_e, those of y_e)."""
    one, place = edge_operands(shape, builder, base, index, w, e)
    item = builder.load(shape.pointer(builder, builder.add(v, builder.mul(e, const(shape.item))), shape.real))
    places = [builder.add(place, const(VECTOR_BYTES * k)) for k in range(shape.count)]
    x = [shape.load(builder, at) for at in places]
    y = [shape.load(builder, builder.add(at, apart)) for at in places]
    return one, shape.splat(builder, item), x, y


def _store(shape: Any, builder: Any, sums: list[Any], out: Any) -> None:
    for k, value in enumerate(sums):
        shape.store(builder, value, builder.add(out, const(VECTOR_BYTES * k)))


class Both(NamedTuple):
    """Addresses of rows x and of weights w and v, and the bytes from x to y."""

    x: int
    apart: int
    w: int
    v: int


@operation
def gather_both(builder: Any, shape: Shape, both: Any, index: Any, first: Any, stop: Any, init: Any, out: Any) -> None:
    """out = init + Σ_{first ≤ e < stop} (w[e] · x[index[e]] + v[e] · y[index[e]]), one row."""
    x, apart, w, v = cgutils.unpack_tuple(builder, both)  # type: ignore[no-untyped-call]
    count = shape.count

    def step(e: Any, sums: list[Any]) -> list[Any]:
        one, two, xs, ys = _both(shape, builder, x, apart, index, w, v, e)
        by_w = [shape.multiply_add(builder, one, value, total) for value, total in zip(xs, sums[:count], strict=True)]
        by_v = [shape.multiply_add(builder, two, value, total) for value, total in zip(ys, sums[count:], strict=True)]
        return by_w + by_v

    start = [shape.splat(builder, init)] * count + [shape.zero] * count
    _, sums = loop(builder, first, stop, 1, start, step)
    _store(shape, builder, [builder.fadd(a, b) for a, b in zip(sums[:count], sums[count:], strict=True)], out)


@operation
def gather_both_sums(
    builder: Any, shape: Shape, both: Any, index: Any, first: Any, stop: Any, row: Any, row_dot: Any, out: Any, edges: Any
) -> None:
    """out = Σ_e (w[e] · x_e + v[e] · y_e), and edges.sums[e] += Σ_lanes (x_e · row + y_e · row_dot); `finish_sums` adds the last group."""
    x, apart, w, v = cgutils.unpack_tuple(builder, both)  # type: ignore[no-untyped-call]
    sums, aside = cgutils.unpack_tuple(builder, edges)  # type: ignore[no-untyped-call]
    count, last = shape.count, shape.width - 1
    offsets = [const(VECTOR_BYTES * k) for k in range(count)]
    z = [[shape.load(builder, builder.add(base, offset)) for offset in offsets] for base in (row, row_dot)]

    def step(e: Any, totals: list[Any]) -> list[Any]:
        one, two, xs, ys = _both(shape, builder, x, apart, index, w, v, e)
        by_w = [shape.multiply_add(builder, one, value, total) for value, total in zip(xs, totals[:count], strict=True)]
        by_v = [shape.multiply_add(builder, two, value, total) for value, total in zip(ys, totals[count:], strict=True)]
        product = builder.fmul(xs[0], z[0][0])
        for value, other in [*zip(xs[1:], z[0][1:], strict=True), *zip(ys, z[1], strict=True)]:
            product = shape.multiply_add(builder, value, other, product)
        slot = builder.and_(e, const(last))
        shape.store(builder, product, builder.add(aside, builder.mul(slot, const(VECTOR_BYTES))))
        with builder.if_then(builder.icmp_signed("==", slot, const(last)), likely=False):
            flush_sums(shape, builder, aside, builder.add(sums, builder.mul(builder.sub(e, const(last)), const(shape.item))))
        return by_w + by_v

    _, totals = loop(builder, first, stop, 1, [shape.zero] * (2 * count), step)
    _store(shape, builder, [builder.fadd(a, b) for a, b in zip(totals[:count], totals[count:], strict=True)], out)
