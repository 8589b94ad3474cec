"""What is measured: each module offers `WORKLOADS`; `all_workloads` is the list that the command line runs."""

from __future__ import annotations

from benchmarks.outcome import Workload


def all_workloads() -> list[Workload]:
    """Every workload, in the order of the table."""
    from benchmarks.workloads import building, by_inputs, evolved, first_order, scaling, second_order, sparse_layers, visible

    modules = (first_order, visible, evolved, sparse_layers, building, second_order, by_inputs, scaling)
    return [workload for module in modules for workload in module.WORKLOADS]
