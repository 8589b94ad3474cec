"""What a weight-agnostic controller looks at: ∂(force)/∂(state), for whatever weight its connections share.

    python examples/wann_sensitivities.py

A weight-agnostic network (Gaier and Ha 2019) does its task by its wiring: every connection has the same weight, and a range of them
serves.  The one below keeps a pole upright; it is small enough to be typed in, so that nothing is downloaded, and goes through the file
format of the search that such networks come from (google/brain-tokyo-workshop): one row a node, its outgoing weights, its activation.
The example reads that file, lets the network balance the pole with several shared weights, and asks for the Jacobian: how the force
reacts to each part of the state, upright, hanging, and on average.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import graphbp as gb

STATE = ("cos(angle)", "sin(angle)", "angular velocity")
NODES = {"bias": 1, "cos(angle)": 1, "sin(angle)": 1, "angular velocity": 1, "h1": 5, "h2": 7, "force": 5}
"""Each node's activation, by its number in such a file: 1 identity, 5 tanh, 7 negation."""
EDGES = [
    ("sin(angle)", "h1"),
    ("angular velocity", "h1"),
    ("sin(angle)", "h2"),
    ("h1", "h2"),
    ("h2", "force"),
]
SHARED = (3.0, 2.0, 1.5, 1.0)


def write(path: Path, shared: float) -> None:
    """The table of weights, from row to column, with the activations as its last column."""
    names, table = list(NODES), np.zeros((len(NODES), len(NODES) + 1))
    for source, destination in EDGES:
        table[names.index(source), names.index(destination)] = shared
    table[:, -1] = list(NODES.values())
    np.savetxt(path, table, delimiter=",", fmt="%.17g")


def by_hand(x: np.ndarray, w: float) -> np.ndarray:
    """The force for states (N, 3), written out: what the network must agree with."""
    lean = w * (x[:, 1] + x[:, 2])
    return np.tanh(-w * (w * x[:, 1] + w * np.tanh(lean)))


def farthest(net: gb.Network, start: float, seconds: float = 20.0, step: float = 0.02) -> float:
    """The largest angle from upright in the second half of a run: θ'' = sin θ + 10 · force, from a standing start at `start`."""
    angle, velocity, seen = start, 0.0, []
    for _ in range(int(seconds / step)):
        force = net.forward([[np.cos(angle), np.sin(angle), velocity]]).item()
        velocity += step * (np.sin(angle) + 10 * force)
        angle += step * velocity
        seen.append(abs(angle))
    return max(seen[len(seen) // 2 :])


def main() -> None:
    angle, velocity = np.random.default_rng(0).uniform([[-np.pi], [-2]], [[np.pi], [2]], (2, 5000))
    states = np.column_stack([np.cos(angle), np.sin(angle), velocity])
    rest = np.array([[1.0, 0, 0], [-1.0, 0, 0]])
    with TemporaryDirectory() as folder:
        for w in SHARED:
            path = Path(folder, f"pole_{w:g}.out")
            write(path, w)
            net = gb.load(path, inputs=3, outputs=1, backend="numpy")
            print(f"shared weight {w:g}: pushed over by 0.5, it ends within {farthest(net, 0.5):.1e} of upright")
            print(
                f"  largest difference from the formula on {len(states)} states: {np.abs(net.forward(states)[:, 0] - by_hand(states, w)).max():.1e}"
            )
    upright, hanging = net.jacobian(rest)[:, 0]
    J = net.jacobian(states)[:, 0]
    typical = np.abs(J).mean(axis=0)
    print(f"\n{net}\n\n{'∂(force)/∂':>18s} {'upright':>10s} {'hanging':>10s} {'mean |.| over 5000 states':>27s}")
    for name, *values in zip(STATE, upright, hanging, typical, strict=True):
        print(f"{name:>18s} {values[0]:10.4f} {values[1]:10.4f} {values[2]:27.4f}")
    print(f"it looks most at the {STATE[int(typical.argmax())]}")

    step = 1e-6  # the same column by differencing, as a check
    moved = states.copy()
    moved[:, 2] += step
    slope = (net.forward(moved) - net.forward(states))[:, 0] / step
    print(f"angular velocity: median difference from forward differences {np.median(np.abs(slope - J[:, 2])):.1e}")


if __name__ == "__main__":
    main()
