"""What a person who waits is told, where somebody looks, and that nothing is said elsewhere."""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import graphbp as gb
from graphbp import progress
from graphbp.progress import line_of, shows, status

X, T = np.arange(12.0).reshape(6, 2) / 10, np.arange(6.0)[:, None] / 6


class Terminal(io.StringIO):
    """A stderr that somebody looks at."""

    def isatty(self) -> bool:
        return True


def waited(condition: Callable[[], object]) -> bool:
    """Whether it comes true, in ten seconds at most."""
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(condition())


@pytest.mark.parametrize("option", ["auto", "on", "off"])
@pytest.mark.parametrize("terminal", [True, False])
def test_it_shows_where_somebody_looks_unless_told(option, terminal, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    with gb.config(progress=option):
        assert shows() is {"auto": terminal, "on": True, "off": False}[option]
        assert shows(True) is True
        assert shows(False) is False


def test_a_notebook_is_looked_at(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    assert shows()


def test_without_stderr_nobody_looks(monkeypatch):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.setattr(sys, "stderr", None)
    with status("working", after=0):
        assert not shows()


def test_elsewhere_nothing_is_written_and_no_timer_started(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(progress.threading, "Timer", None)
    with status("working", after=0):
        pass
    assert sys.stderr.getvalue() == ""


def test_told_to_show_on_a_pipe_it_says_it_once(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with gb.config(progress="on"), status("working", after=0):
        assert waited(lambda: "graphbp: working ..." in sys.stderr.getvalue())
    assert sys.stderr.getvalue().count("working") == 1


def test_what_is_done_at_once_says_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    for _ in range(3):
        with status("working", after=60):
            pass
    assert sys.stderr.getvalue() == ""
    assert progress._open == []


def test_beside_a_bar_it_is_said_there():
    said: list[str] = []
    with gb.config(progress="on"), line_of(said.append), status("compiling", after=0):
        assert waited(lambda: said == ["compiling"])
    assert said == ["compiling", ""]


def test_one_line_at_a_time_the_inner_one(monkeypatch):
    said: list[str] = []
    with gb.config(progress="on"), line_of(said.append), status("outer", after=0):
        assert waited(lambda: said == ["outer"])
        with status("inner", after=0):
            assert waited(lambda: "inner" in said)
        assert said == ["outer", "", "inner", "", "outer"]


def test_an_error_takes_it_away_and_passes():
    with gb.config(progress="on"), line_of(lambda _: None), pytest.raises(ZeroDivisionError), status("working", after=0):
        _ = 1 / 0
    assert progress._open == []


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_on_a_terminal_it_appears_and_vanishes():
    shown = on_a_terminal(
        "import time, graphbp as gb\n"
        "from graphbp.progress import status\n"
        "with status('weighing [red]δ', after=0.05) as line:\n"
        "    time.sleep(0.6); line.say('weighing more'); time.sleep(0.6)\n"
        "with gb.config(progress='off'), status('never', after=0): time.sleep(0.3)\n"
        "print('done')\n"
    )
    assert "graphbp: weighing [red]δ" in shown
    assert "graphbp: weighing more" in shown
    assert "\x1b[2K" in shown.rpartition("weighing more")[2]  # the line is erased
    assert "never" not in shown
    assert shown.rstrip().endswith("done")


def on_a_terminal(code: str) -> str:
    """What a pseudo-terminal shows of a program."""
    import pty

    master, slave = pty.openpty()
    settings = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8", "COLUMNS": "100"}
    for name in ("NO_COLOR", "GRAPHBP_PROGRESS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        settings.pop(name, None)
    program = subprocess.Popen([sys.executable, "-c", code], stdin=slave, stdout=slave, stderr=slave, env=settings)
    os.close(slave)
    parts = []
    try:
        while part := os.read(master, 4096):
            parts.append(part)
    except OSError:  # Linux: the other end has gone
        pass
    os.close(master)
    assert program.wait() == 0
    return b"".join(parts).decode()


@pytest.fixture
def said(monkeypatch):
    """The texts of every status that is opened, in order."""
    texts: list[str] = []

    @contextmanager
    def recorder(text: str, after: float = 1.0) -> Any:
        texts.append(text)
        yield type("Line", (), {"say": staticmethod(texts.append)})

    for module in ("graphbp.verification.run", "graphbp.derivatives", "graphbp.testing.parity", "graphbp.uncertainty.entry"):
        monkeypatch.setattr(importlib.import_module(module), "status", recorder)
    return texts


def test_check_and_laplace_say_what_they_do(said):
    net = gb.Network(gb.layered([2, 3, 1]), backend="numpy")
    net.check(X, T)
    assert said == ["checking derivatives"]
    gb.train(net, X, T, optimizer="lbfgs", l2=0.1)
    said.clear()
    gb.laplace(net, X, T)
    assert len(said) == 2
    assert "Laplace" in said[0]


def test_parity_names_the_network_that_is_compared(said):
    from graphbp.testing import run_parity

    run_parity(["numpy"], [names()[0]], ["gradient"], ["float64"])
    assert said[0] == "comparing backends"
    assert said[1].startswith("comparing backends, network 1 of 1: ")


def names() -> list[str]:
    from graphbp.testing import zoo

    return [case.name for case in zoo()]


@pytest.mark.parametrize(("hidden", "expected"), [(3, 0), (80, 1)])
def test_only_large_square_results_open_a_status(hidden, expected, said):
    """A timer costs more than a small network's Hessian."""
    net = gb.Network(gb.layered([2, hidden, 1]), backend="numpy")
    net.hessian(X, T)
    net.outer_product_hessian(X, T)
    assert len(said) == 2 * expected


@pytest.mark.parametrize(("hidden", "expected"), [(3, 0), (80, 1)])
def test_so_do_the_other_second_derivatives(hidden, expected, said):
    net = gb.Network(gb.layered([2, hidden, 1]), backend="numpy")
    net.hessian_diagonal(X, T), net.hessian_blocks(X, T), net.hessian_estimate(X, T, n_probes=2)
    assert len(said) == 3 * expected
