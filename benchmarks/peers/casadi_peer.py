"""CasADi: the error of one sample as an SX graph, its reverse-mode gradient, mapped over the samples by two threads.

Its virtual machine is measured, and the C code that it generates, compiled with the best flags (`compiled`).
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from benchmarks.networks import Array, UnitDag
from benchmarks.outcome import MissingError, Run
from benchmarks.peers import need
from benchmarks.peers.probe_peer import compiler


def dag_gradient(dag: UnitDag, X: Array, T: Array, *, compiled: bool) -> Run:
    """∂E/∂w, samples split over the threads, the sum of their gradients taken by CasADi."""
    casadi = need("casadi")
    theta = casadi.SX.sym("theta", dag.n_parameters)
    x, t = casadi.SX.sym("x", dag.n_inputs), casadi.SX.sym("t", dag.n_outputs)
    z: list[Any] = [x[i] for i in range(dag.n_inputs)]
    h = {"tanh": casadi.tanh, "softsign": lambda a: a / (1 + casadi.fabs(a))}[dag.activation]
    for j in range(dag.n_units):
        edges = range(int(dag.ptr[j]), int(dag.ptr[j + 1]))
        a = theta[int(dag.bias_position[j])]
        for e in edges:
            a += theta[int(dag.weight_position[e])] * z[dag.src[e]]
        z.append(a if j >= dag.n_units - dag.n_outputs else h(a))
    error = 0.5 * casadi.sumsqr(casadi.vertcat(*z[-dag.n_outputs :]) - t)
    options: dict[str, Any] = {}
    if compiled:
        if compiler() is None:
            raise MissingError("no C compiler", "apt install gcc")
        options = {"jit": True, "compiler": "shell", "jit_options": {"flags": ["-O3", "-march=native"], "compiler": compiler()}}
    gradient = casadi.Function("gradient", [theta, x, t], [casadi.gradient(error, theta)], options)
    threads = int(os.environ["OMP_NUM_THREADS"])
    parts = np.array_split(np.arange(len(X)), threads)
    if len({len(part) for part in parts}) != 1:
        raise ValueError("give CasADi a number of samples that the threads divide")
    serial = gradient.map("part", "serial", len(parts[0]), [0], [0])
    whole = serial.map(threads, "thread")
    repeated = np.tile(dag.flat(dag.weight, dag.bias)[:, None], (1, threads))
    arguments = casadi.DM(repeated), casadi.DM(np.ascontiguousarray(X.T)), casadi.DM(np.ascontiguousarray(T.T))
    return Run(lambda: whole(*arguments), lambda g: np.asarray(g).reshape(dag.n_parameters, threads).sum(1))
