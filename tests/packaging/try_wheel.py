"""Use an installed wheel from an empty folder, with only its own dependencies; fails on the first thing that is not right.

    python try_wheel.py dist/graphbp-0.1.0-py3-none-any.whl

Run by .ci/run outside the repository; it imports nothing from it.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path


def main(wheel: str) -> None:
    if any(Path().iterdir()):
        sys.exit("run this in an empty folder: what lies around might be imported instead of the wheel")

    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    for unwanted in ("tests", "benchmarks", "examples", "docs", "backends", "plugins"):
        assert unwanted not in top, f"the wheel installs a top-level {unwanted!r}"
    assert "graphbp/py.typed" in names, "the wheel has no graphbp/py.typed"

    import graphbp as gb

    assert "site-packages" in str(gb.__file__), f"graphbp comes from {gb.__file__}, not from the wheel"
    optional = {"numba", "matplotlib", "sklearn", "safetensors", "cupy"}
    assert not optional & sys.modules.keys(), f"importing graphbp imports {optional & sys.modules.keys()}"

    entries = distribution("graphbp").entry_points
    groups = {entry.group for entry in entries}
    wanted = {"console_scripts", "graphbp.backends", "graphbp.importers", "graphbp.exporters", "graphbp.activations"}
    assert wanted <= groups, f"the wheel has no entry points in {wanted - groups}"
    for entry in entries:
        package = entry.value.split(":")[0].split(".")[0]
        assert package in top, f"entry point {entry.name!r} of {entry.group} names {package}, which is not in the wheel"
        entry.load()  # no optional library is needed to import a backend or a plugin

    print(gb.backends())
    rows = gb.backends()
    assert rows["numpy"].available
    assert not rows["numba"].available, "Numba is not installed here, and the backend claims to be available"
    assert "pip install" in rows["numba"].install

    net = gb.Network(gb.random_dag(3, 20, 2, seed=1))
    assert net.backend == "numpy"
    X, T = [[0.1, 0.2, 0.3]], [[1.0, 0.0]]
    report = net.check(X, T)
    assert report.ok, report
    gb.train(net, X, T, optimizer="lbfgs", epochs=5)
    net.save("model.json")
    assert (gb.load("model.json").weights == net.weights).all()

    Path("data.csv").write_text("x1,x2,x3,y1,y2\n0.1,0.2,0.3,1,0\n", encoding="utf-8")
    command = Path(sys.executable).with_name("graphbp")
    for arguments, code in (
        (["--version"], 0),
        (["backends"], 0),
        (["info", "model.json"], 0),
        (["forward", "model.json", "data.csv", "-o", "Y.npy"], 0),
        (["check", "model.json", "data.csv"], 0),
        (["forward", "absent.json", "data.csv"], 2),
        (["forward", "model.json", "data.csv", "--backend", "numba"], 2),
        (["draw", "model.json", "-o", "model.png"], 2),  # Matplotlib is not installed here
    ):
        done = subprocess.run([command, *arguments], capture_output=True, text=True, check=False)
        shown = f"graphbp {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode == code, shown
        assert "Traceback" not in done.stderr, shown
    print(f"{Path(wheel).name} works on its own, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main(sys.argv[1])
