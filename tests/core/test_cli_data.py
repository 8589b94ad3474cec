"""How the command line reads X and T: columns, headers, labels, scaling."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

import graphbp as gb
from graphbp.cli import main
from graphbp.cli.common import load_network
from graphbp.cli.data import SKLEARN, read_batch, read_table


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gb.Network(gb.layered([2, 3, 1], units="units")).save("one.json")  # x1, x2 -> y1
    gb.Network(gb.layered([2, 3, 3], output_activation="softmax"), error="cross_entropy").save("classes.json")
    return tmp_path


def read(model, data, text=None, **options):
    if text is not None:
        Path(data).write_text(text, encoding="utf-8")
    return read_batch(load_network(model), data, **options)


def written(path, text):
    Path(path).write_text(text, encoding="utf-8")
    return path


def test_columns_by_name_in_the_networks_order(folder, capsys):
    text = "y1,x2,other,x1\n9,2,7,1\n8,4,7,3\n"
    batch = read("one.json", "d.csv", text, ignore_extra=True)
    np.testing.assert_array_equal(batch.X, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(batch.targets(), [9, 8])
    said = capsys.readouterr().err
    assert "x1, x2 are the inputs; not read: y1, other" in said
    assert "y1 are the targets" in said
    with pytest.raises(gb.DataError, match="a column that no input reads: 'other'; --ignore-extra"):
        read("one.json", "d.csv")


def test_by_position_ignores_names(folder):
    batch = read("one.json", "d.csv", "y1,x2,x1\n9,2,1\n", by_position=True)
    np.testing.assert_array_equal(batch.X, [[9, 2]])
    np.testing.assert_array_equal(batch.targets(), [1])


def test_a_missing_input_name_is_refused(folder):
    with pytest.raises(gb.DataError, match="no column 'x2'"):
        read("one.json", "d.csv", "x1,z,y1\n1,2,3\n")


@pytest.mark.parametrize("text", ["1,2,3\n4,5,6\n", "1;2;3\n4;5;6\n", "1\t2\t3\n4\t5\t6\n", "# a comment\n1 2 3\n\n4  5  6\n"])
def test_without_a_header_by_position(text, folder):
    batch = read("one.json", "d.csv", text)
    np.testing.assert_array_equal(batch.X, [[1, 2], [4, 5]])
    np.testing.assert_array_equal(batch.targets(), [3, 6])


@pytest.mark.parametrize("name", ["0", "-3"])
def test_target_by_number(name, folder):
    batch = read("one.json", "d.csv", "1,2,3\n4,5,6\n", target=[name])
    np.testing.assert_array_equal(batch.X, [[2, 3], [5, 6]])
    np.testing.assert_array_equal(batch.targets(), [1, 4])


def test_header_can_be_told(folder):
    with pytest.warns(gb.DataWarning, match="'1' is x1, '2' is x2"):
        assert len(read("one.json", "d.csv", "1,2,3\n4,5,6\n", header=True).X) == 1
    with pytest.raises(gb.DataError, match="text"):
        read("one.json", "d.csv", "a,b,c\n4,5,6\n", header=False)


def test_only_inputs_have_no_targets(folder):
    batch = read("one.json", "d.csv", "1,2\n")
    assert batch.T is None
    with pytest.raises(gb.DataError, match="--target"):
        batch.targets()


def test_too_many_columns_are_the_networks_message(folder, capsys):
    Path("d.csv").write_text("1,2,3,4\n", encoding="utf-8")
    assert main(["forward", "one.json", "d.csv"]) == 2
    assert "4 columns; the network has 2 inputs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no rows"),
        ("a,b,c\n", "text"),
        ("1,2,3\n4,5\n", "line 2 has 2 fields"),
        ("x1,x2,y1\n1,two,3\n", "text"),
        ("x1,x2,y1\n1,nan,3\n", "column 'x2' is missing in line 2"),
    ],
)
def test_a_bad_table_is_refused(text, says, folder, capsys):
    Path("d.csv").write_text(text, encoding="utf-8")
    assert main(["gradient", "one.json", "d.csv"]) == 2
    assert says in capsys.readouterr().err


def test_numpy_files(folder):
    X, T = np.arange(6.0).reshape(3, 2), np.arange(3.0)
    np.save("X.npy", X)
    np.save("T.npy", T)
    np.savez("both.npz", X=X, T=T, other=T + 1)
    for options in ({"data": "X.npy", "target_file": "T.npy"}, {"data": "both.npz"}):
        batch = read("one.json", **options)
        np.testing.assert_array_equal(batch.X, X)
        np.testing.assert_array_equal(batch.targets(), T)
    np.testing.assert_array_equal(read("one.json", "both.npz", target=["other"]).T, T + 1)
    np.savez("bad.npz", A=X)
    with pytest.raises(gb.DataError, match="must be called X"):
        read("one.json", "bad.npz")
    for other in (T[:2], np.arange(4.0)):
        np.save("T.npy", other)
        with pytest.raises(gb.DataError, match=rf"T.npy has {len(other)} rows and X.npy has 3"):
            read("one.json", "X.npy", target_file="T.npy")


@pytest.mark.parametrize("cell", ["", "NA", "nan", "NaN", "null"])
def test_a_missing_cell_is_named_with_its_column_and_line(cell, folder):
    with pytest.raises(gb.DataError, match=r"d.csv: column 'x2' is missing in line 5.*; drop such rows"):
        read("one.json", "d.csv", f"x1,x2,y1\n# a comment\n1,2,3\n\n4,{cell},6\n")
    with pytest.raises(gb.DataError, match="column 'kind' is missing in line 3"):
        read("classes.json", "d.csv", f"x_0,x_1,kind\n1,2,a\n1,2,{cell}\n", target=["kind"]).targets()


def test_a_quoted_line_end_does_not_move_the_count(folder):
    with pytest.raises(gb.DataError, match=r"column 'x1' holds text .'two' in line 4."):
        read("one.json", "d.csv", 'x1,x2,y1\n1,2,"a\nb"\ntwo,2,3\n')


def test_booleans_are_numbers(folder):
    assert read("one.json", "d.csv", "x1,x2,y1\nTrue,2,3\nFalse,1,0\n").X.tolist() == [[1, 2], [0, 1]]


def test_a_header_with_one_name_twice_is_refused(folder):
    with pytest.raises(gb.DataError, match="two columns called 'x1'"):
        read("one.json", "d.csv", "x1,x2,x1\n1,2,3\n")


@pytest.mark.parametrize("header", [",x1,x2,y1", ",a,b,y1"])
def test_an_index_that_was_written_is_no_input(header, folder, capsys):
    text = header + "\n0,1,2,3\n1,4,5,6\n"
    with pytest.raises(gb.DataError, match="the index that to_csv wrote"):
        read("one.json", "d.csv", text, target=["y1"])
    if "x1" in header:
        assert read("one.json", "d.csv", text, ignore_extra=True).X.tolist() == [[1, 2], [4, 5]]
    else:
        with pytest.warns(gb.DataWarning, match="by position"):
            assert read("one.json", "d.csv", text, target=["y1"], ignore_extra=True).X.tolist() == [[1, 2], [4, 5]]
    assert "not read" in capsys.readouterr().err


def test_a_table_of_something_else_is_refused(folder):
    with pytest.raises(gb.DataError, match=r"30 columns.*the network has 2 inputs"):
        read("one.json", "sklearn:breast_cancer")


def test_a_first_line_of_words_and_numbers_is_said_to_be_data(folder, capsys):
    with pytest.raises(gb.DataError, match="'a' in line 1"):
        read("one.json", "d.csv", "a,1,2\n3,4,5\n")
    assert "taken as data, not as a header" in capsys.readouterr().err


def test_the_first_rows_of_both(folder):
    np.savez("both.npz", X=np.arange(6.0).reshape(3, 2), T=np.arange(3.0))
    batch = read("one.json", "both.npz", rows=2)
    assert (batch.X.tolist(), batch.targets().tolist()) == ([[0, 1], [2, 3]], [0, 1])


@pytest.mark.parametrize("number", ["3", "-4"])
def test_the_first_column_that_is_not_there(number, folder):
    with pytest.raises(gb.DataError, match=rf"--target {number}: d.csv has 3 columns, 0 to 2"):
        read("one.json", "d.csv", "1,2,3\n4,5,6\n", target=[number])


def test_a_byte_order_mark_is_no_part_of_the_first_name(folder):
    Path("d.csv").write_bytes(b"\xef\xbb\xbfx1,x2,y1\n1,2,3\n")
    assert read("one.json", "d.csv").X.tolist() == [[1, 2]]


def test_a_column_that_is_constant_is_only_centred(folder):
    net = gb.load("one.json")
    net.fit_scaling([[5.0, 1.0], [5.0, 3.0]])
    assert net.trace([[5.0, 1.0], [6.0, 3.0]], [0.0, 0.0]).z["x1"].tolist() == [0, 1]


def test_pickled_arrays_are_refused(folder):
    np.save("evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(gb.DataError, match="cannot be read"):
        read("one.json", "evil.npy")


def test_text_labels_sorted_then_kept_by_the_model(folder, capsys):
    rows = "".join(f"{i},{i % 3},{('b', 'c', 'a')[i % 3]}\n" for i in range(12))
    Path("train.csv").write_text("u,v,kind\n" + rows, encoding="utf-8")
    arguments = ["train", "classes.json", "train.csv", "--target", "kind", "--epochs", "2", "--standardize", "-o", "trained.json"]
    assert main(arguments) == 0
    assert "a = 0, b = 1, c = 2" in capsys.readouterr().err
    net = gb.load("trained.json")
    assert net.classes == ("a", "b", "c")
    batch = read("trained.json", "new.csv", "v,kind,u\n2,c,1\n4,b,3\n")  # any order: the names of the columns are kept too
    np.testing.assert_array_equal(batch.targets(), [2, 1])  # not 1, 0, as sorting what is here would give
    np.testing.assert_array_equal(batch.X, [[1, 2], [3, 4]])
    train = np.array([[i, i % 3] for i in range(12)], float)
    np.testing.assert_allclose(net.trace(batch.X, ["c", "b"]).z["x"], (batch.X - train.mean(axis=0)) / train.std(axis=0))
    with pytest.raises(gb.DataError, match="line 2 is 'd', which is not one of the network's classes: 'a', 'b', 'c'"):
        read("trained.json", "new.csv", "u,v,kind\n1,2,d\n", target=["kind"]).targets()


def test_the_scale_is_fitted_without_the_held_out_rows(folder):
    rng = np.random.default_rng(0)
    np.savez("d.npz", X=rng.normal(3, 2, (40, 2)), T=rng.normal(size=40))
    arguments = ["train", "one.json", "d.npz", "--epochs", "1", "--standardize", "--validation-split", "0.5", "-o", "t.json"]
    assert main(arguments) == 0
    from graphbp.cli.training import _split

    rows, held_out = _split(40, 0.5, 0)
    assert sorted([*rows, *held_out]) == list(range(40))
    X, nodes = np.load("d.npz")["X"], gb.load("t.json").to_networkx().nodes
    np.testing.assert_allclose([nodes["x1"]["shift"], nodes["x2"]["shift"]], X[rows].mean(axis=0))
    np.testing.assert_allclose(nodes["y1"]["scale"], np.load("d.npz")["T"][rows].std())
    same = gb.Network(gb.layered([2, 3, 1], units="units"))
    gb.train(same, X, np.load("d.npz")["T"], epochs=1, validation_split=0.5, standardize=True, progress=False)
    assert np.array_equal(same.weights, gb.load("t.json").weights)


def test_what_a_format_cannot_keep_is_refused(folder, capsys):
    Path("d.csv").write_text("u,v,kind\n1,2,a\n3,1,b\n4,4,c\n", encoding="utf-8")
    assert main(["train", "classes.json", "d.csv", "--target", "kind", "-o", "t.nnet"]) == 2
    said = capsys.readouterr().err
    assert "format 'nnet' cannot hold" in said
    assert "classes=['a', 'b', 'c']" in said
    assert "graphbp convert t.json t.nnet --to-option drop=" in said


@pytest.mark.parametrize("name", SKLEARN)
def test_every_bundled_set(name, folder):
    from sklearn import datasets

    X, T = getattr(datasets, SKLEARN[name])(return_X_y=True)
    k = {"linnerud": 3, "diabetes": 1}.get(name)
    classes = k is None
    g = gb.layered([X.shape[1], 4, k or len(set(T))], output_activation="softmax" if classes else "identity")
    gb.Network(g, error="cross_entropy" if classes else "sum_of_squares").save("net.json")
    with pytest.warns(gb.DataWarning, match="by position"):
        batch = read("net.json", f"sklearn:{name}", rows=50)
    np.testing.assert_array_equal(batch.X, X[:50])
    assert np.isfinite(gb.load("net.json").error(batch.X, batch.targets()))


@pytest.mark.parametrize("where", [2, 0])
def test_the_text_that_spoils_a_column_is_named_with_its_row(where, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    gb.Network(gb.layered([2, 1])).save("model.json")
    rows = [["1", "2", "3"], ["4", "5", "6"]]
    rows[1][where] = "oops"
    Path("data.csv").write_text("a,b,c\n" + "\n".join(",".join(row) for row in rows) + "\n", encoding="utf-8")
    assert main(["gradient", "model.json", "data.csv", "--target", "c"]) == 2
    assert "'oops' in line 3" in capsys.readouterr().err


NUMBERED = {
    "0,1,2\n1,2,3\n4,5,6\n": True,  # what pandas writes of a frame whose columns have no names
    "1,2,0\n1,2,3\n4,5,6\n": False,
    "0,1,3\n1,2,3\n4,5,6\n": False,
}


@pytest.mark.parametrize(("text", "header"), NUMBERED.items())
def test_a_line_that_numbers_the_columns_is_no_sample(text, header, folder, capsys):
    batch = read("one.json", "d.csv", text)
    np.testing.assert_array_equal(batch.X[-2:], [[1, 2], [4, 5]])
    assert len(batch.X) == (2 if header else 3)
    assert ("numbers the columns" in capsys.readouterr().err) == header
    assert len(read("one.json", "d.csv", header=False).X) == 3


def test_numbers_above_some_columns_are_their_names(folder):
    inputs, target = read_table(written("d.csv", "0,1,2,kind\n1,2,9,a\n4,5,9,b\n"), None, ["kind"])
    assert (inputs.names, inputs.n_rows, target.load(0).values.tolist()) == (("0", "1", "2"), 2, ["a", "b"])


def test_two_columns_of_zero_and_one_are_data(folder):
    np.testing.assert_array_equal(read("one.json", "d.csv", "0,1\n1,0\n").X, [[0, 1], [1, 0]])


def test_a_header_alone_is_asked_about(folder):
    with pytest.raises(gb.DataError, match="'x1' in line 1, the only one: a header without rows"):
        read("one.json", "d.csv", "x1,x2\n")
    assert read("classes.json", "e.csv", "1,2\n", target_file="d.csv").T.names is None


@pytest.mark.parametrize("rows", [False, True])
def test_quoted_names_between_blanks_as_r_writes_them(rows, folder, capsys):
    names = ['"1" ', '"2" '] if rows else ["", ""]
    Path("d.txt").write_text(f'"x1" "y1" "x2"\n{names[0]}1 9 2\n{names[1]}3 8 4\n', encoding="utf-8")
    if rows:
        with pytest.raises(gb.DataError, match="no input reads: ''"):
            read("one.json", "d.txt")
    batch = read("one.json", "d.txt", ignore_extra=rows)
    np.testing.assert_array_equal(batch.X, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(batch.targets(), [9, 8])
    Path("e.txt").write_text('"the first" b\n1 "a ""b"" c"\n', encoding="utf-8")
    table = read_table("e.txt", None, ["b"])
    assert [part.names for part in table] == [("the first",), ("b",)]
    assert table[1].load(0).values.tolist() == ['a "b" c']


def test_underscores_make_no_number(folder):
    with pytest.raises(gb.DataError, match="'1_000' in line 3"):
        read("one.json", "d.csv", "x1,x2\n1,2\n1_000,3\n")
    assert read("one.json", "d.csv", "2019_2020,2020_2021\n1,2\n", by_position=True).X.tolist() == [[1, 2]]


def test_the_remedy_is_one_for_the_shell(folder, capsys, monkeypatch):
    Path("d.csv").write_text("u,v,kind\n1,2,a\n3,1,b\n4,4,c\n", encoding="utf-8")
    assert main(["train", "classes.json", "d.csv", "--target", "kind", "--epochs", "1", "-o", "t.json"]) == 0
    assert main(["convert", "t.json", "t.nnet"]) == 2
    assert '--to-option drop="error,columns,target,classes" writes the file without' in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"x1,x2\n1,NA\n")))
    assert main(["forward", "one.json", "-"]) == 2
    assert "'x2' is missing in line 2 ('NA'); drop such rows or fill them in first" in capsys.readouterr().err
