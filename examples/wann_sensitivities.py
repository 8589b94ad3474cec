"""What an evolved controller looks at: ∂(force)/∂(state) of a weight-agnostic network champion.

    python examples/wann_sensitivities.py

The network (an .out file of google/brain-tokyo-workshop) swings a pole up and balances it; its graph was evolved, with several
activations and no layers.  The example reads it, compares its outputs with those of its authors' evaluator, and asks for the Jacobian:
how the force reacts to each part of the state, at the top, at the bottom, and on average.

The data are read from $GRAPHBP_DATA, else from ../shared/data beside the project.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np

import graphbp as gb

STATE = ("position", "velocity", "cos(angle)", "sin(angle)", "angular velocity")


def data_folder() -> Path:
    folder = Path(os.environ.get("GRAPHBP_DATA", Path(__file__).parents[2] / "shared" / "data")) / "wann"
    if not (folder / "swing.out").is_file():
        sys.exit(f"this example reads {folder / 'swing.out'}, which is not there; set GRAPHBP_DATA to the folder that has wann/")
    return folder


def main() -> None:
    folder = data_folder()
    net = gb.load(folder / "swing.out", inputs=5, outputs=1)
    print(net)

    recorded = json.loads((folder / "reference_io.json").read_text(encoding="utf-8"))["swing"]
    difference = np.abs(net.forward(recorded["X"]) - np.array(recorded["Y"])).max()
    print(f"largest difference from the authors' evaluator on {len(recorded['X'])} states: {difference:.1e}")

    rng = np.random.default_rng(0)
    angle = rng.uniform(-np.pi, np.pi, 5000)
    other = rng.normal(size=(5000, 3))
    states = np.column_stack([other[:, 0], other[:, 1], np.cos(angle), np.sin(angle), other[:, 2]])
    rest = np.array([[0, 0, 1, 0, 0], [0, 0, -1, 0, 0]], float)
    upright, hanging = net.jacobian(rest)[:, 0]
    typical = np.abs(net.jacobian(states)[:, 0]).mean(axis=0)
    print(f"\n{'∂(force)/∂':>18s} {'upright':>10s} {'hanging':>10s} {'mean |.| over 5000 states':>27s}")
    for name, *values in zip(STATE, upright, hanging, typical, strict=True):
        print(f"{name:>18s} {values[0]:10.4f} {values[1]:10.4f} {values[2]:27.4f}")
    print(f"it looks most at the {STATE[int(typical.argmax())]}")

    step = 1e-6  # the same column by differencing, as a check
    moved = states.copy()
    moved[:, 4] += step
    slope = (net.forward(moved) - net.forward(states))[:, 0] / step
    print(
        f"angular velocity: median difference from forward differences {np.median(np.abs(slope - net.jacobian(states)[:, 0, 4])):.1e}"
    )


if __name__ == "__main__":
    main()
