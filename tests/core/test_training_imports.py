"""What training and Laplace load: nothing optional, and nothing at all before they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

OPTIONAL = ("matplotlib", "sklearn", "rich", "cupy", "torch")


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import graphbp as gb", ("graphbp.training", "graphbp.uncertainty", "scipy.optimize", *OPTIONAL)),
        (
            "import graphbp as gb, numpy as np\n"
            "net = gb.Network(gb.layered([2, 3, 1]), backend='numpy')\n"
            "X = np.eye(2)\n"
            "gb.train(net, X, X[:, 0], optimizer='adam', epochs=1)\n"
            "gb.train(net, X, X[:, 0], optimizer='lbfgs', epochs=1)\n"
            "gb.train(net, X, X[:, 0], optimizer='levenberg_marquardt', epochs=1)",
            ("scipy.optimize", "graphbp.uncertainty", *OPTIONAL),
        ),
        (
            "import graphbp as gb, numpy as np\n"
            "net = gb.Network(gb.layered([2, 3, 1]), backend='numpy')\n"
            "X = np.eye(2)\n"
            "gb.laplace(net, X, X[:, 0], noise=1.0).predict(X)",
            ("scipy.optimize", "graphbp.training", *OPTIONAL),
        ),
    ],
    ids=["import", "train", "laplace"],
)
def test_loaded_modules(code, absent):
    check = f"{code}\nimport sys\nprint([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
