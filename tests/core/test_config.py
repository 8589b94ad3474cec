"""Options: where each comes from, and what is refused."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphbp as gb

module = import_module("graphbp.config")  # `graphbp.config` itself is the class


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No setting of the machine, and none left behind."""
    for name in module.OPTIONS:
        monkeypatch.delenv(f"GRAPHBP_{name.upper()}", raising=False)
    monkeypatch.setattr(module, "_base", {})
    monkeypatch.setattr(module, "_calls", [])
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    gb.config.reload()
    yield
    gb.config.reload()


def test_order_of_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gb.config.get("backend") == "auto"
    (tmp_path / "pyproject.toml").write_text('[tool.graphbp]\nbackend = "from file"\n')
    gb.config.reload()
    assert gb.config.get("backend") == "from file"
    monkeypatch.setenv("GRAPHBP_BACKEND", "from environment")
    assert gb.config.get("backend") == "from environment"
    gb.config(backend="from config")
    assert gb.config.get("backend") == "from config"
    with gb.config(backend="from block"):
        assert gb.config.get("backend") == "from block"
        assert module.option("backend", "from argument") == "from argument"
    assert gb.config.get("backend") == "from config"
    assert module.describe_config()["backend"] == ("from config", "gb.config")


@pytest.mark.skipif(sys.platform != "linux", reason="XDG_CONFIG_HOME leads platformdirs on Linux only")
def test_users_file(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "graphbp"
    folder.mkdir(parents=True)
    (folder / "graphbp.toml").write_text("threads = 3\n")
    gb.config.reload()
    assert gb.config.get("threads") == 3


def test_users_file_with_an_unknown_option_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import platformdirs

    monkeypatch.setattr(platformdirs, "user_config_dir", lambda name: str(tmp_path))
    (tmp_path / "graphbp.toml").write_text("thread = 3\n")
    gb.config.reload()
    with pytest.raises(gb.ConfigError, match=r"'thread'.*did you mean 'threads'") as caught:
        gb.config.get("dtype")
    assert "graphbp.toml" in str(caught.value)


def test_nearest_project_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project without a table has no settings: those of a folder further up are another project's."""
    (tmp_path / "pyproject.toml").write_text("[tool.graphbp]\nthreads = 5\n")
    inner = tmp_path / "empty" / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    assert gb.config.get("threads") == 5
    (tmp_path / "empty" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    gb.config.reload()
    assert gb.config.get("threads") == 0


def test_a_file_is_read_once_until_it_is_reloaded(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text("[tool.graphbp]\nthreads = 5\n")
    assert gb.config.get("threads") == 5
    path.write_text("[tool.graphbp]\nthreads = 6\n")
    assert gb.config.get("threads") == 5
    gb.config.reload()
    assert gb.config.get("threads") == 6
    path.unlink()
    gb.config.reload()
    assert gb.config.get("threads") == 0


def test_an_empty_variable_is_as_if_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHBP_THREADS", "")
    assert gb.config.get("threads") == 0


def test_the_last_call_wins_while_both_are_held() -> None:
    first, second = gb.config(threads=1, dtype="float32"), gb.config(threads=2)
    assert (gb.config.get("threads"), gb.config.get("dtype")) == (2, "float32")
    del first, second
    gb.config(memory=10**9)
    assert (gb.config.get("threads"), gb.config.get("dtype")) == (2, "float32")


def test_blocks_nest_and_one_object_opens_twice() -> None:
    block = gb.config(dtype="float32")
    with block, gb.config(threads=2), block:
        assert (gb.config.get("dtype"), gb.config.get("threads")) == ("float32", 2)
    assert (gb.config.get("dtype"), gb.config.get("threads")) == ("float64", 0)


def test_block_is_left_on_error() -> None:
    with pytest.raises(KeyError), gb.config(dtype="float32"):
        raise KeyError
    assert gb.config.get("dtype") == "float64"


def test_blocks_opened_out_of_order_leave_nothing_behind() -> None:
    """Two threads between `config(...)` and `with`: whoever enters last must not restore what the first one set."""
    one, other = gb.config(backend="one"), gb.config(backend="other")
    with one:
        pass
    with other:
        pass
    assert gb.config.get("backend") == "auto"


def test_block_belongs_to_its_thread() -> None:
    seen: list[Any] = []
    with gb.config(dtype="float32"):
        thread = threading.Thread(target=lambda: seen.append(gb.config.get("dtype")))
        thread.start()
        thread.join()
    assert seen == ["float64"]


def test_many_threads_in_blocks() -> None:
    wrong: list[Any] = []

    def work(number: int) -> None:
        for _ in range(300):
            with gb.config(threads=number):
                if gb.config.get("threads") != number:
                    wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert gb.config.get("threads") == 0


def test_calls_do_not_pile_up() -> None:
    for number in range(1000):
        gb.config(threads=number)
    assert gb.config.get("threads") == 999
    assert len(module._calls) <= 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bakend": "numpy"}, ("'bakend'", "did you mean 'backend'")),
        ({"threads": -1}, ("threads=-1", "0 or more")),
        ({"threads": 1.5}, ("threads=1.5", "whole number")),
        ({"threads": True}, ("threads=True",)),
        ({"threads": float("inf")}, ("threads=inf",)),
        ({"memory": "much"}, ("memory='much'",)),
        ({"dtype": "float16"}, ("gb.config", "float16")),
        ({"backend": 3}, ("backend=3",)),
    ],
    ids=str,
)
def test_refused(options: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(gb.ConfigError) as caught:
        gb.config(**options)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert gb.config.get("threads") == 0


def test_unknown_option_is_named() -> None:
    with pytest.raises(gb.ConfigError, match=r"'dtyp'.*did you mean 'dtype'"):
        gb.config.get("dtyp")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DTYPE", "float16"),
        ("DTYPE", "f4,,"),
        ("THREADS", "two"),
        ("THREADS", "1.5"),
        ("THREADS", "1_0"),
        ("THREADS", "9999999"),
        ("MEMORY", "-4"),
        ("MEMORY", "nan"),
        ("MEMORY", "1e9"),
    ],
)
def test_bad_environment_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"GRAPHBP_{name}", value)
    with pytest.raises(gb.ConfigError, match=f"GRAPHBP_{name}.*{value}"):
        gb.config.get(name.lower())


@pytest.mark.parametrize(
    "text",
    [
        "[tool.graphbp\n",
        "[tool.graphbp]\nbackends = 'numpy'\n",
        "[tool.graphbp]\nthreads = -1\n",
        "[tool.graphbp]\nthreads = true\n",
        "[tool.graphbp]\nthreads = [1]\n",
        "tool = 3\n",
        "[[tool]]\n",
        "[[tool.graphbp]]\nthreads = 1\n",
        "[tool]\ngraphbp = 'numpy'\n",
        "threads = " + "9" * 5000,
        "a = " + "[" * 100_000,
    ],
)
def test_bad_file_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    gb.config.reload()
    with pytest.raises(gb.ConfigError, match=r"pyproject\.toml"):
        gb.config.get("threads")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows deletes no folder that is in use")
def test_deleted_working_folder(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    assert gb.config.get("backend") == "auto"


def test_dtype_in_every_spelling() -> None:
    for spelling in ("float32", np.float32, np.dtype("f4"), "f4", "single"):
        gb.config(dtype=spelling)
        assert gb.config.get("dtype") == "float32"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"\xff\xfe")
    gb.config.reload()
    with pytest.raises(gb.ConfigError, match=r"pyproject\.toml cannot be read as TOML"):
        gb.config.get("threads")

    def denied(*_: Any, **__: Any) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(gb.ConfigError, match=r"pyproject\.toml cannot be read as TOML: .*Permission denied"):
        gb.config.get("threads")


def test_tools_of_others_are_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.other]\ngraphbp = 3\n[[tool.more]]\nname = 1\n")
    gb.config.reload()
    assert gb.config.get("threads") == 0
