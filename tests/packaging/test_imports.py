"""What importing graphbp imports, and backends from other people's wheels.  Everything runs in a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from textwrap import dedent

OPTIONAL = ("numba", "llvmlite", "cupy", "cupyx", "matplotlib", "sklearn", "click", "rich", "safetensors", "scipy.optimize")


def run(code: str, folder: Path | None = None) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GRAPHBP_")}
    if folder is not None:
        environment["PYTHONPATH"] = str(folder)
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)], capture_output=True, text=True, env=environment, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def imported(statement: str) -> list[str]:
    return run(f"import sys\n{statement}\nprint(*(name for name in {OPTIONAL!r} if name in sys.modules))").split()


def test_graphbp_imports_no_optional_library() -> None:
    assert imported("import graphbp") == []


def test_extend_imports_no_optional_library() -> None:
    assert imported("import graphbp.extend") == []


def test_the_instrument_sees_an_import() -> None:
    assert imported("import graphbp, click") == ["click"]


def test_the_backends_entry_points_import_no_optional_library() -> None:
    modules = [entry.value.split(":")[0] for entry in entry_points(group="graphbp.backends")]
    assert {"graphbp_numpy", "graphbp_numba", "graphbp_cupy"} <= set(modules)
    assert imported(f"import {', '.join(modules)}") == []


def test_listing_the_backends_imports_none_of_their_libraries() -> None:
    assert [name for name in imported("import graphbp; repr(graphbp.backends())") if name in ("numba", "llvmlite")] == []


def wheel(folder: Path, module: str, entries: str, source: str) -> Path:
    """What installing a wheel leaves: a module and a dist-info with entry points."""
    (folder / f"{module}.py").write_text(dedent(source))
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(dedent(entries))
    return folder


THIRD_PARTY = """
    import numpy as np
    from graphbp.extend import Availability, get_activation

    class Executable:
        def __init__(self, schedule, error, dtype):
            self.s, self.dtype = schedule, dtype

        def forward(self, theta, X):
            s, w = self.s, self.s.parameters.expand(theta)
            z = np.zeros((s.n_rows, len(X)), self.dtype)
            z[: s.n_inputs] = X.T
            for j in range(s.n_inputs, s.n_rows):
                a = sum((w[e] * z[s.in_src[e]] for e in range(s.in_ptr[j], s.in_ptr[j + 1])), np.zeros(len(X)))
                z[j] = s.activations[s.row_activation[j]].f(a + (w[s.bias_slot[j]] if s.bias_slot[j] >= 0 else 0))
            return np.ascontiguousarray(z[s.output_rows].T)

        def error_and_gradient(self, theta, X, T, sample_weight):
            raise NotImplementedError

        vjp = error_and_gradient

    class Slow:
        name = "slow"
        def availability(self): return Availability(True, device="abacus", version="1.0")
        def compile(self, schedule, error, dtype): return Executable(schedule, error, dtype)
        def owns(self, array): return False
        def asarray(self, array, dtype): return np.ascontiguousarray(array, dtype)
        def to_numpy(self, array): return array

    backend = Slow()
"""


def test_a_third_partys_backend_joins(tmp_path: Path) -> None:
    wheel(tmp_path, "graphbp_slow", "[graphbp.backends]\nslow = graphbp_slow:backend\n", THIRD_PARTY)
    out = run(
        """
        import sys, networkx as nx, graphbp as gb
        assert "graphbp_slow" not in sys.modules, "imported before use"
        g = nx.DiGraph([("x", "h", {"weight": 2.0}), ("h", "y", {"weight": 3.0})])
        g.nodes["h"]["activation"] = "tanh"
        net, definition = gb.Network(g, backend="slow"), gb.Network(g, backend="numpy")
        assert abs(net.forward([[0.3]]) - definition.forward([[0.3]])).max() < 1e-15
        print(gb.backends()["slow"].device, net.backend, definition.to("slow").backend)
        """,
        tmp_path,
    )
    assert out.split() == ["abacus", "slow", "slow"]


BROKEN = {
    "lacking": ("import a_library_that_is_not_here", "a_library_that_is_not_here"),
    "unloadable": ("raise OSError('libdevice.so: cannot open')", "libdevice.so"),
    "nothing": ("backend = None", "is not a backend"),
    "unnamed": ("other = None", "names nothing"),
    "misnamed": (THIRD_PARTY.replace('name = "slow"', 'name = "other"'), "calls itself 'other'"),
    "raising": (
        THIRD_PARTY.replace('"slow"', '"raising"').replace("return Availability(True", "return 1 / 0, Availability(True"),
        "division by zero",
    ),
}


def test_broken_backends_show_their_reasons(tmp_path: Path) -> None:
    for name, (source, _) in BROKEN.items():
        wheel(tmp_path, f"graphbp_{name}", f"[graphbp.backends]\n{name} = graphbp_{name}:backend\n", source)
    out = run(
        f"""
        import graphbp as gb
        table = gb.backends()
        assert table["numpy"].available
        for name in {list(BROKEN)}:
            assert not table[name].available
            assert name in repr(table)
            print(ascii(table[name].reason))
        """,
        tmp_path,
    ).splitlines()
    assert [reason in line for (_, reason), line in zip(BROKEN.values(), out, strict=True)] == [True] * len(BROKEN), out


def test_a_plugins_activation_joins(tmp_path: Path) -> None:
    source = """
        import numpy as np
        from graphbp.extend import register_activation

        def register():
            register_activation("cubic", lambda a: a**3, lambda a: 3 * a**2, lambda a: 6 * a)
    """
    wheel(tmp_path, "graphbp_cubic", "[graphbp.activations]\ncubic = graphbp_cubic:register\n", source)
    out = run(
        """
        import networkx as nx, graphbp as gb
        g = nx.DiGraph([("x", "y", {"weight": 2.0})])
        g.nodes["y"]["activation"] = "cubic"
        net = gb.Network(g, backend="numpy")
        print(net.forward([[1.0]])[0, 0], net.jacobian([[1.0]])[0, 0, 0])
        """,
        tmp_path,
    )
    assert out.split() == ["8.0", "24.0"]
