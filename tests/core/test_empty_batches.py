"""No samples, no answers: every quantity of an empty batch has the shape that it has, N = 0, on every backend."""

from __future__ import annotations

import numpy as np
import pytest

import graphbp as gb

D, K = 3, 2


def network(backend: str, dtype: str, heads: str) -> gb.Network:
    """Layers with a skip; one error for all, outputs with errors of their own, or targets that may be missing."""
    g = gb.layered([D, 4, K], skips=True, output_activation="sigmoid" if heads == "mixed" else None)
    g.nodes["x"]["scale"] = 2.0
    if heads == "mixed":
        g.nodes["y"]["error"], g.nodes["y"]["error_weight"] = "binary_cross_entropy", 0.5
    return gb.Network(g, backend=backend, dtype=dtype, missing="skip" if heads == "gaps" else "refuse")


@pytest.fixture(params=["one", "mixed", "gaps"], scope="module")
def net(request):
    return network("numpy", "float64", request.param)


def quantities(net: gb.Network, X, T) -> dict[str, np.ndarray]:
    w = np.ones(net.n_parameters)
    V, U = np.empty((len(X), K)), np.empty((len(X), D))
    return {
        "forward": net.forward(X),
        "error": np.asarray(net.error(X, T)),
        "gradient": net.gradient(X, T),
        "weighted": net.gradient(X, T, np.empty(len(X))),
        "per_sample_gradient": net.per_sample_gradient(X, T),
        "numerical_gradient": net.numerical_gradient(X, T),
        "jacobian": net.jacobian(X),
        "sparse jacobian": net.jacobian(X, sparse=True).toarray(),
        "weight_jacobian": net.weight_jacobian(X),
        "vjp": net.vjp(X, V),
        "weight_vjp": net.weight_vjp(X, V),
        "jvp": net.jvp(X, U),
        "weight_jvp": net.weight_jvp(X, w),
        "hessian": net.hessian(X, T),
        "outer_product_hessian": net.outer_product_hessian(X, T),
        "hessian_diagonal": net.hessian_diagonal(X, T),
        "hessian_blocks": sum(block.block.sum() for block in net.hessian_blocks(X, T).values()),
        "hessian_operator": net.hessian_operator(X, T) @ w,
        "outer_product_operator": net.outer_product_operator(X, T) @ w,
        "input_hessian": net.input_hessian(X),
        "input_hessian of V": net.input_hessian(X, V),
        "input_hessian_diagonal": net.input_hessian_diagonal(X),
        "laplacian": net.laplacian(X),
        "input_hvp": net.input_hvp(X, V, U),
        "mixed_jvp": net.mixed_jvp(X, T, w),
        "mixed_vjp": net.mixed_vjp(X, T, U),
        "trace": net.trace(X, T).delta["h1"],
        "predict": np.asarray(net.predict(X)),
    }


def shapes(w: int) -> dict[str, tuple[int, ...]]:
    n = 0
    return {
        "forward": (n, K), "error": (), "gradient": (w,), "weighted": (w,), "per_sample_gradient": (n, w), "numerical_gradient": (w,),
        "jacobian": (n, K, D), "sparse jacobian": (n, D), "weight_jacobian": (n, K, w), "vjp": (n, D), "weight_vjp": (w,), "jvp": (n, K),
        "weight_jvp": (n, K), "hessian": (w, w), "outer_product_hessian": (w, w), "hessian_diagonal": (w,), "hessian_blocks": (),
        "hessian_operator": (w,), "outer_product_operator": (w,), "input_hessian": (n, K, D, D), "input_hessian of V": (n, D, D),
        "input_hessian_diagonal": (n, K, D), "laplacian": (n, K), "input_hvp": (n, D), "mixed_jvp": (n, D), "mixed_vjp": (w,),
        "trace": (n, 4), "predict": (n, K),
    }  # fmt: skip


def test_every_quantity_of_no_samples_is_empty_or_zero(net):
    found = quantities(net, np.empty((0, D)), np.empty((0, K)))
    assert {name: np.shape(value) for name, value in found.items()} == shapes(net.n_parameters)
    assert all(not np.any(value) for value in found.values())


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_on_numba_too(dtype):
    pytest.importorskip("numba")
    net = network("numba", dtype, "one")  # no kernel is compiled for it
    found = quantities(net, np.empty((0, D), dtype), np.empty((0, K), dtype))
    assert {name: np.shape(value) for name, value in found.items()} == shapes(net.n_parameters)
    assert found["forward"].dtype == found["gradient"].dtype == np.dtype(dtype)


def test_a_table_of_no_rows_is_an_empty_batch():
    pandas = pytest.importorskip("pandas")
    net = network("numpy", "float64", "one")
    frame = pandas.DataFrame({f"x_{i}": np.empty(0) for i in range(D)})
    assert net.forward(frame).shape == (0, K)
    assert net.predict(frame, as_frame=True).shape == (0, K)


def test_labels_of_no_samples():
    net = gb.Network(gb.layered([D, 3], error="cross_entropy"), error="cross_entropy", backend="numpy")
    assert net.error(np.empty((0, D)), np.empty(0, int)) == 0.0
    assert net.predict(np.empty((0, D))).shape == (0,)
