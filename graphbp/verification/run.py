"""`check`: one run over a batch, first and second order, and of a scaled network the Jacobian between raw x and y."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp import foreign
from graphbp.compose import ComposedWarning
from graphbp.data import require_samples
from graphbp.exceptions import NumericalWarning
from graphbp.network import engine_of
from graphbp.numerical import difference_jacobian, lengths
from graphbp.progress import status
from graphbp.registry import get_backend
from graphbp.verification.by_inputs import check_by_inputs, compare_input_hessian
from graphbp.verification.checker import WEIGHT_BY_WEIGHT, Checker
from graphbp.verification.first_order import DIRECTIONS, SUSPECTS, check_first_order
from graphbp.verification.kinks import near_kinks, no_second_derivative
from graphbp.verification.report import Report, Row
from graphbp.verification.second_order import check_second_order

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["check"]

Array = npt.NDArray[Any]


def check(
    net: Network,
    X: Any,
    T: Any,
    sample_weight: Any = None,
    *,
    method: str | None = None,
    tolerance: float | None = None,
    second_order: bool = True,
    seed: int = 0,
) -> Report:
    """Compare gradient, Jacobians, Hessians and products with numerical differentiation and with each other.

    Parameters
    ----------
    method : "forward", "central" or "complex_step"; default the complex step where every activation is analytic, else central.
    tolerance : relative difference above which a comparison with differencing is wrong.
    second_order : false leaves Hessians out.
    seed : of the random directions.

    Examples
    --------
    >>> import networkx as nx, graphbp as gb
    >>> net = gb.Network(nx.DiGraph([("x", "y", {"weight": 2.0})]), backend="numpy")
    >>> bool(net.check([[3.0]], [[1.0]]))
    True
    """
    with warnings.catch_warnings(), status("checking derivatives"):
        warnings.simplefilter("ignore", ComposedWarning)
        warnings.simplefilter("ignore", NumericalWarning)  # the report says so
        x, t, s = net.model.batch(X, T, sample_weight, get_backend("numpy"))
        require_samples(x, "X", "a check")
        report = _run(Checker(engine_of(net), x, t, s, method, tolerance, seed), second_order)
        return _with_scaling(report, net, X, (x, t, s), method, tolerance, second_order) if net.model.meaning.scaling else report


def _run(checker: Checker, second_order: bool) -> Report:
    net = checker.net
    if not len(checker.x):
        checker.rows.append(Row("everything", checker.method, "void", note="every sample is at a kink; choose other samples"))
        return Report(repr(net), checker.rows, checker.notes)
    if not checker.by_weight:
        checker.notes.append(
            f"W = {net.n_parameters:,} is more than {WEIGHT_BY_WEIGHT}: differenced along {DIRECTIONS} random directions, and for "
            f"the {min(SUSPECTS, net.n_parameters)} weights with the largest gradient one by one"
        )
    check_first_order(checker)
    if second_order:
        checker.notes += no_second_derivative(net)
        check_second_order(checker)
        check_by_inputs(checker)
    return Report(repr(net), checker.rows, checker.notes)


def _with_scaling(
    report: Report,
    net: Network,
    X: Any,
    batch: tuple[Array, Array, Array | None],
    method: str | None,
    tolerance: float | None,
    second_order: bool,
) -> Report:
    """The engine's report, and the derivatives by x between raw x and y against differences in raw x."""
    checker = Checker(engine_of(net), *batch, method, tolerance, 0)
    checker.net = net
    x = batch[0]
    exact = checker.method == "complex_step" and not len(net.schedule.live.combinations.choices)
    kept = np.ones(len(x), bool) if exact else ~near_kinks(engine_of(net), x)[0]
    raw = foreign.host_array(net.model.read(X), "X")[kept]
    if len(raw):
        scale = 1.0 if net.model.meaning.scaling.inputs is None else net.model.meaning.scaling.inputs.scale
        checker.by_input = lengths(engine_of(net), x[kept].astype(np.float64))[1] * scale
        checker.compare(
            "jacobian, raw x and y",
            checker.method,
            lambda net, _: net.jacobian(raw),
            lambda: difference_jacobian(net, raw, method=checker.method),
            checker.jacobian_entry,
            checker.jacobian_size,
        )
        if second_order:
            compare_input_hessian(checker, "input_hessian, raw", raw)
    notes = [
        *report.notes,
        f"{net.model.meaning}: the rows are of the scaled numbers that the engine computes with, but for those that say raw",
    ]
    return Report(repr(net), [*report.rows, *checker.rows], notes)
