"""Second order: Hessians assembled from a backend's sweeps, products as operators, inverses and estimates.

=============  ====================================================================================
`tiles`        what a backend's sweeps hand over: the seam (`SecondOrderSweeps`)
`plan`         how parameters fall into groups that share their sources (`HessianPlan`)
`assembly`     tiles into the Hessian, as matrix products (`HessianAccumulator`)
`rows`         GᵀΛG by K reverse sweeps, where the outputs are few
`stacked`      GᵀΛG from stacked rows, where most units have sources of their own
`hessian`      the loops over tiles: Hessians, diagonal, unit blocks
`operators`    products as SciPy LinearOperators
`blocks`       the units' own blocks, node by node
`estimates`    Hutchinson's estimates of diagonal and trace
`inverse`      the inverse of the outer-product Hessian plus αI
=============  ====================================================================================
"""
