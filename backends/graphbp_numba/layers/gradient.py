"""∂E/∂θ of layers, summed over batches."""

from __future__ import annotations

import numpy as np

from graphbp_numba.layers.blocks import Array, Layout, Net, Onto, Rows, Weights
from graphbp_numba.layers.sweeps import bias_sums, gradient_strip, sparse_sums
from graphbp_numba.layers.work import LayerWork
from graphbp_numba.work.tasks import Group

__all__ = ["Gradient"]


class Gradient:
    """∂E/∂θ, summed over batches, a strip of a block a task."""

    def __init__(self, work: LayerWork, layout: Layout, net: Net, weights: Weights) -> None:
        self.work, self.layout, self.net, self.weights = work, layout, net, weights
        s = work.schedule
        self.direct = work.regular and s.parameters.one_to_one
        self.theta = np.empty(s.n_parameters if self.direct else 0, work.dtype)
        self.slots = np.zeros(0 if self.direct and not s.n_sparse else s.parameters.n_slots, work.dtype)
        self.biases = np.zeros(s.n_rows, work.dtype)
        self.begun = False

    def sums(self, count: int, rows: Rows, chunks: Group, also: Rows | None = None) -> Group:
        """The tasks that sum δ zᵀ over one batch of `count` samples, once its chunks are done.

        also : rows whose δ zᵀ is added, with z = 0 at the inputs and no gradient of biases.
        """
        work, layout, strips, more = self.work, self.layout, self.layout.strips, self.begun
        self.begun = True

        def task(number: int) -> None:
            chunks.wait()
            if number < len(strips):
                block, first, stop = strips[number]
                place = work.places[block]
                onto = (
                    Onto(self.theta, place.first, place.stride)
                    if self.direct
                    else Onto(self.slots, place.block.slot, place.block.shape[1])
                )
                operands = (
                    [(rows.D, rows.S, more)]
                    if also is None or place.from_inputs
                    else [(rows.D, rows.S, more), (also.D, also.S, True)]
                )
                for delta, z, on_top in operands:
                    gradient_strip(layout.tag, layout.blocks[block], work.zeros, delta, z, count, onto, first, stop, on_top)
            elif number == len(strips):
                bias_sums(layout.tag, rows.D, self.biases, work.schedule.n_inputs)
            else:
                start, stop = work.sparse_parts[number - len(strips) - 1]
                for operand in (rows,) if also is None else (rows, also):
                    sparse_sums(layout.tag, self.net, self.weights, operand, work.schedule.out_slot, self.slots, start, stop)

        return Group(len(strips) + 1 + len(work.sparse_parts), task)

    def finish(self) -> Array:
        """(W,)."""
        work, s = self.work, self.work.schedule
        if not self.begun:
            return np.zeros(s.n_parameters, work.dtype)
        sums = self.biases[work.biased]
        if not self.direct:
            self.slots[work.bias_slots] = sums
            return np.ascontiguousarray(s.parameters.reduce(self.slots))
        for values, slots in ((sums, work.bias_slots), (self.slots[: s.n_sparse], np.arange(s.n_sparse))):
            owner = s.parameters.slot_parameter[slots]
            self.theta[owner[owner >= 0]] = values[owner >= 0]
        return self.theta
