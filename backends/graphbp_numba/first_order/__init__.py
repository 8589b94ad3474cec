"""The kernels that first-order sweeps share: runs, samples, weights."""
