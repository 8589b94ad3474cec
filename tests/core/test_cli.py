"""The command line: each command on small networks, what it prints and writes, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphbp as gb
from graphbp.cli import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with model.json (x1, x2 -> y) and data.csv, as the working directory."""
    monkeypatch.chdir(tmp_path)
    net().save("model.json")
    Path("data.csv").write_text("x1,x2,y\n1.0,0.5,0.25\n-0.3,0.8,1\n0.2,0.1,0\n", encoding="utf-8")
    return tmp_path


def net(**options) -> gb.Network:
    import networkx as nx

    g = nx.DiGraph()
    g.add_nodes_from(["x1", "x2"])
    g.add_node("h", activation="tanh", bias=0.1)
    g.add_node("y", bias=0.0)
    g.add_weighted_edges_from([("x1", "h", 0.4), ("x2", "h", -0.6), ("h", "y", 1.2), ("x1", "y", 0.3)])
    return gb.Network(g, **options)


X = np.array([[1.0, 0.5], [-0.3, 0.8], [0.2, 0.1]])
T = np.array([0.25, 1, 0])


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for command in (
        "backends",
        "info",
        "forward",
        "gradient",
        "jacobian",
        "hessian",
        "input-hessian",
        "check",
        "train",
        "parity",
        "convert",
        "draw",
    ):
        assert f"\n  {command} " in out


def commands():
    from graphbp.cli.program import program

    return list(program.commands)


@pytest.mark.parametrize("command", commands())
def test_every_command_has_help_with_examples(command, capsys):
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Examples:" in out
    assert f"graphbp {command}" in out
    assert "--json" in out
    assert "--debug" in out
    if command != "new":  # it computes nothing
        assert "--backend" in out
        assert "--dtype" in out


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("arguments", "quantity"),
    [
        (["forward"], lambda n: n.forward(X)),
        (["gradient"], lambda n: n.gradient(X, T)),
        (["gradient", "--per-sample"], lambda n: n.per_sample_gradient(X, T)),
        (["jacobian"], lambda n: n.jacobian(X)),
        (["jacobian", "--weights"], lambda n: n.weight_jacobian(X)),
        (["hessian"], lambda n: n.hessian(X, T)),
        (["hessian", "--kind", "outer-product"], lambda n: n.outer_product_hessian(X, T)),
        (["hessian", "--kind", "diagonal"], lambda n: n.hessian_diagonal(X, T)),
        (["input-hessian"], lambda n: n.input_hessian(X)),
        (["input-hessian", "--kind", "diagonal"], lambda n: n.input_hessian_diagonal(X)),
        (["input-hessian", "--kind", "laplacian"], lambda n: n.laplacian(X)),
    ],
    ids=["forward", "gradient", "per-sample", "jacobian", "weights", "hessian", "outer", "diagonal", "inputs", "own", "laplacian"],
)
def test_quantities_are_the_networks_own(arguments, quantity, dtype, folder):
    command = [arguments[0], "model.json", "data.csv", *arguments[1:], "--backend", "numpy", "--dtype", dtype]
    expected = quantity(net(backend="numpy", dtype=dtype))
    for suffix in ("npy", "npz"):
        assert main([*command, "-o", f"out.{suffix}"]) == 0
        with np.load("out.npz") if suffix == "npz" else Path("out.npy").open("rb") as file:
            found = next(iter(file.values())) if suffix == "npz" else np.load(file)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    assert main([*command, "-o", "out.csv"]) == 0
    lines = Path("out.csv").read_text(encoding="utf-8").splitlines()
    skip = {1: 1, 2: 0, 3: 2, 4: 3}[expected.ndim]
    numbers = np.array([[float(cell) for cell in line.split(",")[skip:]] for line in lines[1:]])
    np.testing.assert_array_equal(numbers.reshape(expected.shape), expected)


def test_readable_print_names_parameters_and_units(folder, capsys):
    assert main(["gradient", "model.json", "data.csv"]) == 0
    out = capsys.readouterr().out
    assert f"E = {net().error(X, T):.10g}" in out
    for name in ("x1->h", "x2->h", "bias of h", "h->y", "x1->y", "bias of y"):
        assert name in out
    assert main(["jacobian", "model.json", "data.csv"]) == 0
    assert "x2" in capsys.readouterr().out


def test_parameter_names_agree_with_parameter_index():
    from scipy import sparse

    g = gb.layered([3, 4, 2], skips=True)
    w = sparse.csr_matrix(g.edges["x", "y"]["weight"])
    w.data[1] = 0.0  # a stored zero is a parameter too
    g.edges["x", "y"]["weight"] = w
    g.nodes["h1"]["trainable"] = False
    network = gb.Network(g)
    names = network.model.parameter_labels("->")
    assert all(names)
    for edge in g.edges:
        part = names[network.parameter_index(*edge)]
        assert all(name.startswith(f"{edge[0]}->{edge[1]}[") for name in part)
    assert names[network.parameter_index("x", "h1")][4] == "x->h1[1,1]"
    assert names[network.parameter_index("y")] == ["bias of y[0]", "bias of y[1]"]


def test_names_of_tied_and_sparse_parameters():
    """A tie has the name of its first use; the stored entries of a CSR matrix go row by row."""
    import networkx as nx
    from scipy import sparse

    g = nx.DiGraph()
    g.add_node("x", units=2)
    g.add_node("h", units=2)
    g.add_edge("x", "h", weight=sparse.csr_array([[4.0, 5.0], [0.0, 3.0]]))
    for name in ("a", "b"):
        g.add_edge("h", name, weight=[[1.0, 2.0]], tie="shared")
    assert gb.Network(g, backend="numpy").model.parameter_labels("->") == [
        "x->h[0,0]",
        "x->h[0,1]",
        "x->h[1,1]",
        "h->a[0,0]",
        "h->a[0,1]",
    ]


def test_options_of_formats_become_numbers_words_and_underscores():
    from graphbp.cli.common import key_values

    found = key_values(None, None, ("inputs=5", "scale=0.5", "name=a=b", "keep=True", "none=none", "to-option=1e3"))
    assert found == {"inputs": 5, "scale": 0.5, "name": "a=b", "keep": True, "none": None, "to_option": 1000.0}
    assert type(found["inputs"]) is int


def test_labels_of_what_is_printed(folder, capsys):
    """Two samples of three outputs would print three; the last axis of --weights are the parameters."""
    Path("two.csv").write_text("1.0,0.5\n-0.3,0.8\n", encoding="utf-8")
    assert main(["jacobian", "model.json", "two.csv", "--weights"]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("sample")] == ["sample 0", "sample 1"]
    assert "bias of h" in out
    assert "more samples" not in out
    assert main(["jacobian", "model.json", "two.csv", "--weights", "-o", "J.csv"]) == 0
    header = Path("J.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "sample,output,x1->h,x2->h,bias of h,h->y,x1->y,bias of y"


def test_a_backend_that_is_missing_is_exit_code_1(folder, capsys, monkeypatch):
    from graphbp import registry
    from graphbp.protocols import Availability
    from helpers.backends import HostBackend

    class Absent(HostBackend):
        name = "absent"

        def availability(self):
            return Availability(False, "no such hardware")

    monkeypatch.setattr(registry, "_added", {"absent": Absent()})
    assert main(["backends", "--backend", "absent"]) == 1
    captured = capsys.readouterr()
    assert "no such hardware" in captured.out
    assert "'absent' is not available" in captured.err


def test_a_backend_that_disagrees_is_exit_code_1(folder, capsys, monkeypatch):
    from graphbp.testing import ParityTable

    monkeypatch.setattr(ParityTable, "ok", False)
    assert main(["parity", "model.json", "--backend", "numpy", "--quantity", "gradient", "--dtype", "float32"]) == 1
    assert "comparisons" in capsys.readouterr().err


def test_check_passes_and_fails_by_its_exit_code(folder, capsys, monkeypatch):
    assert main(["check", "model.json", "data.csv"]) == 0
    true = gb.Network.gradient
    pair = gb.Network.error_and_gradient

    def wrong(self, *args, **kwargs):
        error, gradient = pair(self, *args, **kwargs)
        gradient[0] += 1e-3
        return error, gradient

    monkeypatch.setattr(gb.Network, "error_and_gradient", wrong)
    assert gb.Network.gradient is true
    assert main(["check", "model.json", "data.csv"]) == 1
    captured = capsys.readouterr()
    assert "x1" in captured.out
    assert "Failed:" in captured.err


def test_info_prints_the_schedule(folder, capsys):
    assert main(["info", "model.json", "--samples", "7", "--backend", "numpy"]) == 0
    out = capsys.readouterr().out
    assert "N = 7" in out
    assert "inputs   x1, x2" in out
    assert "numpy" in out


def test_backends_says_which_take_the_network(folder, capsys):
    assert main(["backends", "model.json"]) == 0
    out = capsys.readouterr().out
    assert "numpy  available" in out.replace("   ", "  ")
    assert "numpy takes model.json" in out


def test_train_writes_model_curves_and_history(folder, capsys):
    arguments = ["train", "model.json", "data.csv", "--optimizer", "lbfgs", "--epochs", "30", "--no-progress"]
    assert main([*arguments, "-o", "trained.json", "--history", "h.csv", "--plot", "c.png", "--set", "l2=0.001"]) == 0
    trained = gb.load("trained.json")
    assert trained.error(X, T) < 0.1 * net().error(X, T)
    assert Path("c.png").read_bytes().startswith(b"\x89PNG")
    assert Path("h.csv").read_text(encoding="utf-8").startswith("epoch,error")


def test_parity_of_one_network(folder, capsys):
    assert main(["parity", "model.json", "--backend", "numpy", "--quantity", "gradient", "--dtype", "float32"]) == 0
    assert "gradient" in capsys.readouterr().out


def test_convert_keeps_weights_error_and_metadata(folder):
    gb.Network(gb.layered([2, 3, 1], error="poisson"), error="poisson").save("own.json", metadata={"about": "mine"})
    assert main(["convert", "own.json", "npz.json", "--to-option", "weights=npz"]) == 0
    back = gb.load("npz.json")
    assert back.error_function.name == "poisson"
    np.testing.assert_array_equal(back.weights, gb.load("own.json").weights)
    assert json.loads(Path("npz.json").read_text(encoding="utf-8"))["metadata"]["about"] == "mine"
    assert list(folder.glob("npz.*.npz"))


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_draw(suffix, folder):
    assert main(["draw", "model.json", "-o", f"out.{suffix}"]) == 0
    head = Path(f"out.{suffix}").read_bytes()[:200]
    assert {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix] in head


def test_draw_a_large_network_by_levels(folder, capsys):
    gb.Network(gb.random_dag(30, 500, 5, fan_in=10)).save("large.json")
    assert main(["draw", "large.json", "-o", "large.svg"]) == 0
    assert "levels" in capsys.readouterr().err
    assert Path("large.svg").stat().st_size < 1_000_000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["forward", "absent.json", "data.csv"], "absent.json is not a file"),
        (["forward", "model.json", "absent.csv"], "absent.csv is not a file"),
        (["forward", "model.json", "sklearn:digit"], "did you mean 'digits'"),
        (["forward", "model.json", "sklearn:digits"], "64 columns"),
        (["forward", "model.json", "data.csv", "--backend", "nump"], "did you mean"),
        (["forward", "model.json", "data.csv", "-o", "Y.txt"], ".npy"),
        (["forward", "model.json", "data.csv", "-o", "nowhere/Y.npy"], "folder"),
        (["gradient", "model.json", "data.csv", "--target", "z"], "column of data.csv"),
        (["gradient", "model.json", "data.csv", "--target", "x1"], "cannot be the target"),
        (["gradient", "model.json", "data.csv", "--target", "7"], "3 columns"),
        (["gradient", "model.json", "data.csv", "--error", "poison"], "did you mean 'poisson'"),
        (["forward", "model.json", "data.csv", "--option", "inputs"], "name=value"),
        (["forward", "model.json", "data.csv", "--option", "inputs=2"], "no option 'inputs'"),
        (["train", "model.json", "data.csv", "-o", "t.json", "--optimizer", "adm"], "did you mean 'adam'"),
        (["train", "model.json", "data.csv", "-o", "t.json", "--set", "rate=1"], "rate"),
        (["train", "model.json", "data.csv", "-o", "t.json", "--validation-split", "1.5"], "1.5"),
        (["train", "model.json", "data.csv", "-o", "no/t.json"], "folder"),
        (["train", "model.json", "data.csv", "-o", "t.xyz"], "t.xyz"),
        (["train", "model.json", "data.csv", "-o", "t.nnet"], "the graph has 2 input nodes"),
        (["train", "model.json", "data.csv", "-o", "."], "is a folder"),
        (["train", "model.json", "data.csv", "-o", "t.json", "--plot", "c.gif"], "c.gif: pictures"),
        (["draw", "model.json", "-o", "out.gif"], ".png"),
        (["convert", "model.json", "out.xyz"], "xyz"),
        (["parity", "--quantity", "gradeint"], "did you mean 'gradient'"),
        (["backends", "--backend", "nump"], "did you mean 'numpy'"),
        (["forwards"], "forwards"),
        (["forward"], "NETWORK"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_message_and_exit_code_2(arguments, says, folder, capsys):
    before = sorted(folder.iterdir())
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert sorted(folder.iterdir()) == before


def test_debug_shows_where(folder):
    with pytest.raises(gb.GraphbpError):
        main(["forward", "model.json", "absent.csv", "--debug"])


def test_a_bug_is_exit_code_3(folder, monkeypatch, capsys):
    def broken(self, X):
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(gb.Network, "forward", broken)
    assert main(["forward", "model.json", "data.csv"]) == 3
    assert "Unexpected ZeroDivisionError: planted" in capsys.readouterr().err


def test_a_warning_is_one_line(folder, monkeypatch, capsys):
    import warnings

    true = gb.Network.forward

    def warns(self, X):
        warnings.warn("look out", UserWarning, stacklevel=2)
        return true(self, X)

    monkeypatch.setattr(gb.Network, "forward", warns)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["forward", "model.json", "data.csv"]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "Warning: look out"


def test_starting_imports_nothing_heavy():
    code = (
        "import sys; from graphbp.cli import main; main(['--help']); "
        "heavy = {'numba', 'matplotlib', 'sklearn', 'rich', 'cupy', 'scipy.optimize', 'torch'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_installed_command_and_exit_code(folder):
    command = Path(sys.executable).with_name("graphbp")
    done = subprocess.run([command, "forward", "absent.json", "data.csv"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: absent.json")
