"""What is kept for the next call is bounded, however many sizes of batches come."""

from __future__ import annotations

import numpy as np

import graphbp as gb
from graphbp_numba.work.pools import Pool


def test_the_oldest_goes_where_all_would_be_too_much():
    pool = Pool(100)
    for key, size in (("a", 40), ("b", 50), ("a", 30)):
        pool.give(key, key + str(size), size)
    assert [memory for _, memory in pool] == ["b50", "a30"]
    assert pool.bytes == 80
    assert pool.take("a") == "a30"
    assert pool.take("a") is None
    assert pool.bytes == 50


def test_what_is_larger_than_all_that_may_be_kept_is_not():
    pool = Pool(100)
    pool.give("a", "a", 100)
    pool.give("b", "b", 101)
    pool.give("c", "c", 0)
    assert [memory for _, memory in pool] == ["a"]
    pool.clear()
    assert (list(pool), pool.bytes) == ([], 0)


def test_batches_of_many_sizes(usable):
    """Each number of samples has gradient sums of its own shape: together they stay within the limit."""
    net = gb.Network(gb.random_dag(20, 2000, 5, fan_in=20, seed=0), backend=usable("numba"))
    kept = net.model.run.executable.work.pool
    kept.limit = 4 << 20
    for n in (40, 64, 100, 150, 200, 300, 400, 500):
        X, T = np.ones((n, 20)), np.zeros((n, 5))
        net.gradient(X, T)
        assert 0 < kept.bytes <= kept.limit
        assert kept.bytes == sum(memory.nbytes for _, memory in kept)
