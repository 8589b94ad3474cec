"""The benchmarks' own arithmetic, on fake contenders and a fake clock: medians, ratios, verdicts, who is not timed, what is written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphbp as gb
from benchmarks import __main__ as command
from benchmarks import machine, ontology, pictures, report, threads, timing, workloads
from benchmarks.outcome import Contender, Context, MissingError, Row, Run, Target, Workload
from benchmarks.peers import need


class Clock:
    """Time that passes only where a contender says so; `waited`: shares of it that other programs took, one a sample."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waited: list[float] = []

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Nobody is waited for."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    monkeypatch.setattr(timing, "_waited", lambda: 0.0)
    return clock


class Fake:
    """A contender whose calls take the given seconds (the last ones repeated) and give one value."""

    def __init__(self, clock: Clock, name: str, seconds: Iterable[float], value: Any = (1.0, 2.0)) -> None:
        self.clock, self.name, self.seconds, self.value = clock, name, list(seconds), value
        self.calls = 0

    def __call__(self) -> Any:
        self.clock.now += self.seconds[min(self.calls, len(self.seconds) - 1)]
        self.calls += 1
        return self.value

    def contender(self) -> Contender:
        return Contender(self.name, lambda: Run(self) if self.value is not None else Run(self, None))


def race(fakes: list[Fake | Contender], targets: list[Target] | None = None, **options: Any) -> dict[str, Row]:
    said: list[str] = []
    context = Context(rounds=options.pop("rounds", 3), patience=options.pop("patience", 100.0), say=said.append)
    contenders = [fake.contender() if isinstance(fake, Fake) else fake for fake in fakes]
    rows = timing.race(context, "work", contenders, tolerance=1e-6, targets=targets or [], **options)
    assert [row.what for row in rows] == [contender.name for contender in contenders], "one row each, in their order"
    return {row.what: row for row in rows}


def ready(*samples: float) -> list[float]:
    """The first call compiles, the second says how long a call takes, then the rounds."""
    return [0.5, samples[0], *samples]


def test_median_range_ratio_and_rate(clock: Clock) -> None:
    rows = race([Fake(clock, "graphbp", ready(0.1, 0.3, 0.2)), Fake(clock, "peer", ready(1.0, 0.6, 0.9))], work=1e9, size=7)
    ours, peer = rows["graphbp"], rows["peer"]
    assert (ours.seconds, ours.low, ours.high) == pytest.approx((0.2, 0.1, 0.3))
    assert (peer.seconds, peer.low, peer.high) == pytest.approx((0.9, 0.6, 1.0))
    assert (peer.ratio, peer.ratio_of_lows) == pytest.approx((4.5, 6.0))
    assert (ours.ratio, ours.reference, peer.reference) == (1.0, True, False)
    assert (ours.rounds, ours.rate, peer.size) == (3, pytest.approx(5e9), 7)


def test_short_calls_are_repeated_and_warmed(clock: Clock) -> None:
    fake = Fake(clock, "graphbp", [0.5, 2**-10])
    rows = race([fake])
    assert rows["graphbp"].seconds == 2**-10
    assert fake.calls == 2 + 3 * (1 + 5), "each round: one call that is not timed, then 5 ms of them"


def test_a_slow_contender_runs_three_rounds(clock: Clock) -> None:
    slow, fast = Fake(clock, "graphbp", [2.0]), Fake(clock, "peer", [0.2])
    rows = race([slow, fast], rounds=9, patience=3.0)
    assert (rows["graphbp"].rounds, rows["peer"].rounds) == (3, 9)


def test_a_disturbed_sample_is_taken_again_and_the_calmest_is_kept(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = iter([0.0, 0.05, 0.0, 0.001] + [0.0] * 20)  # before and after: half of the first try, then next to nothing
    monkeypatch.setattr(timing, "_waited", lambda: next(waited))
    rows = race([Fake(clock, "graphbp", [0.5, 0.1, 0.17, 0.1, 0.1, 0.1])])
    assert (rows["graphbp"].high, rows["graphbp"].rounds) == (pytest.approx(0.1), 3)


def test_missing_failing_and_disagreeing_contenders_are_named_and_not_timed(clock: Clock) -> None:
    def missing() -> Run:
        raise MissingError("thing is not installed", "pip install thing")

    def failing() -> Run:
        raise ValueError("no\nway")

    wrong = Fake(clock, "wrong", [0.1], value=(1.0, 2.1))
    shape = Fake(clock, "shape", [0.1], value=(1.0,))
    nan = Fake(clock, "nan", [0.1], value=(1.0, float("nan")))
    near = Fake(clock, "near", [0.1], value=(1.0, 2.0 + 1e-7))
    ours = Fake(clock, "graphbp", [0.1])
    rows = race([ours, Contender("thing", missing), Contender("broken", failing), wrong, shape, nan, near])
    assert (rows["thing"].value, rows["thing"].note) == ("missing", "thing is not installed: pip install thing")
    assert (rows["broken"].value, rows["broken"].note) == ("failed", "ValueError: no way")
    for fake in (wrong, shape, nan):
        row = rows[fake.name]
        assert (row.value, row.seconds, row.ratio, fake.calls) == ("disagrees", None, None, 2)
        assert "not timed" in row.note
    assert rows["wrong"].difference == pytest.approx(0.05)
    assert rows["near"].ratio == pytest.approx(1.0)
    assert rows["near"].difference == pytest.approx(5e-8)


def test_a_roofline_has_no_result_to_agree(clock: Clock) -> None:
    assert race([Fake(clock, "graphbp", [0.1]), Fake(clock, "roofline", [0.05], value=None)])["roofline"].ratio == pytest.approx(
        0.5
    )


@pytest.mark.parametrize(
    ("target", "peer", "met"),
    [
        (Target.faster("peer", 2), 0.25, True),
        (Target.faster("peer", 2), 0.24, False),
        (Target.within("peer", 2), 0.0625, True),
        (Target.within("peer", 2), 0.06, False),
        (Target(("peer",), 1.5, "no slower than", at_most=True), 0.1875, True),
        (Target(("peer",), 1.5, "no slower than", at_most=True), 0.19, False),
    ],
)
def test_verdicts(target: Target, peer: float, met: bool, clock: Clock) -> None:
    rows = race([Fake(clock, "graphbp", [0.125]), Fake(clock, "peer", [peer])], [target])
    assert (rows["peer"].met, rows["peer"].target) == (met, target.text)
    assert rows["graphbp"].met is None


def test_the_target_stands_beside_the_fastest_of_those_it_names(clock: Clock) -> None:
    both = Target(("slow", "fast"), 2, "≥ 2 ×")
    rows = race([Fake(clock, "graphbp", [0.1]), Fake(clock, "slow", [0.9]), Fake(clock, "fast", [0.15])], [both])
    assert (rows["slow"].target, rows["fast"].target, rows["fast"].met) == ("", "≥ 2 ×", False)


def test_no_verdict_without_whom_it_is_about(clock: Clock) -> None:
    """Where the first contender or the peer is missing, the target is written and nothing is claimed."""

    def missing() -> Run:
        raise MissingError("it is not installed")

    target = [Target.faster("peer", 2)]
    rows = race([Fake(clock, "graphbp", [0.1]), Contender("peer", missing)], target)
    assert (rows["peer"].target, rows["peer"].met) == ("≥ 2 ×", None)
    rows = race([Contender("graphbp numba", missing), Fake(clock, "graphbp numpy", [0.1]), Fake(clock, "peer", [0.9])], target)
    assert (rows["peer"].target, rows["peer"].met, rows["peer"].ratio) == ("≥ 2 ×", None, pytest.approx(9))


def test_a_library_that_is_missing_says_how_to_get_it() -> None:
    with pytest.raises(MissingError, match="no_such_library is not installed") as caught:
        need("no_such_library.part")
    assert "pip install" in caught.value.install


ROWS = [
    Row("first", "graphbp", 0.002, 0.001, 0.003, rounds=3, ratio=1.0, reference=True, date="2026-01-01T00:00"),
    Row("first", "a|b", 0.02, 0.01, 0.03, 3, 10.0, 10.0, "≥ 4 ×", True, rate=2e9, date="2026-01-02T00:00"),
    Row("first", "gone", value="missing", note="gone is not installed", target="≥ 2 ×"),
    Row("second-float32", "graphbp", 1.5, 1.5, 1.5, size=1000),
]
TITLES = {"first": "The first", "second": "The second"}


@pytest.mark.parametrize(("value", "text"), [(2.0, "2 s"), (0.0123, "12.3 ms"), (4.56e-5, "45.6 µs"), (7e-9, "7 ns"), (None, "")])
def test_seconds_in_a_fitting_unit(value: float | None, text: str) -> None:
    assert report.seconds(value) == text


def test_tables() -> None:
    text = report.markdown(ROWS, TITLES)
    assert "**The first**" in text
    assert "**The second, as float32: size 1,000**" in text
    assert r"| a\|b | 20 ms | 10 ms – 30 ms | 10 × | 10 × | 2 G/s | ≥ 4 × | reached |  |" in text
    assert {line.replace(r"\|", "").count("|") for line in text.splitlines() if line.startswith("|")} == {len(report.HEAD) + 1}
    lines = report.summary(ROWS, TITLES).splitlines()
    assert lines[2:] == [
        r"| The first | a\|b | 10 × | 10 × | ≥ 4 × | reached |",
        "| The first | gone | missing |  | ≥ 2 × | not measured |",
    ]


def test_saved_rows_come_back(tmp_path: Path) -> None:
    report.save(tmp_path / "r.json", ROWS, TITLES, {"cores": 2}, "python -m benchmarks")
    head, rows = report.load(tmp_path / "r.json")
    assert rows == ROWS
    assert head == {"command": "python -m benchmarks", "machine": {"cores": 2}, "titles": TITLES}


def test_merging_replaces_the_workloads_measured_again() -> None:
    fresh = [Row("first", "graphbp", 9.0)]
    order = ["second", "first"]
    merged = report.merge(ROWS, fresh, order)
    assert merged == [ROWS[3], fresh[0]]
    assert report.merge(ROWS, [Row("unknown", "x")], order)[-1].what == "x"


def test_a_document_changes_between_its_marks_only(tmp_path: Path) -> None:
    path = tmp_path / "d.md"
    path.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
    report.refresh(path, "new")
    assert path.read_text(encoding="utf-8") == f"before\n{report.BEGIN}\n\nnew\n{report.END}\nafter\n"
    path.write_text(f"no end {report.BEGIN}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"d\.md has no lines"):
        report.refresh(path, "new")
    assert "no end" in path.read_text(encoding="utf-8")


def test_a_workload_that_fails_leaves_a_row() -> None:
    def broken(_: Context) -> list[Row]:
        raise RuntimeError("out of luck")

    (row,) = report.run(Workload("w", "W", broken), Context())
    assert (row.workload, row.value, row.note) == ("w", "failed", "RuntimeError: out of luck")
    assert row.date


def test_the_slope_is_the_exponent_of_the_largest_half() -> None:
    sizes = [1, 10, 100, 1000, 10_000]
    assert pictures.slope(sizes, [5.0, 5.0, 100.0**1.5, 1000.0**1.5, 10_000.0**1.5]) == pytest.approx(1.5)
    workload = next(iter(pictures.AXES))
    rows = [Row(workload, "a", float(s), size=s) for s in (100, 10)] + [Row(workload, "once", 1.0, size=3), Row(workload, "b")]
    assert pictures.lines(rows, workload) == {"a": [(10, 10.0), (100, 100.0)]}
    assert pictures.slopes(rows) == [f"{workload}: a grows as size^1.00 (largest half of 2 sizes)"]


def test_the_command_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Two runs of one workload each, merged into one file; the document and the tables have both."""
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setattr(threads, "cap", lambda n: f"not capped at {n}")
    made: Callable[[str, float], Workload] = lambda name, seconds: Workload(  # noqa: E731  # a constructor of two
        name, name.upper(), lambda context: [Row(name, "graphbp", seconds, seconds, seconds, context.rounds, target="t", met=False)]
    )
    monkeypatch.setattr(workloads, "all_workloads", lambda: [made("one", 1.0), made("two", 2.0)])
    document = tmp_path / "d.md"
    document.write_text(f"{report.BEGIN}\n{report.END}\n", encoding="utf-8")
    out = ["--json", str(tmp_path / "r.json"), "--merge", "--document", str(document), "--markdown", str(tmp_path / "t.md")]
    assert command.main(["--only", "tw*", "--quick", *out]) == 0
    assert command.main(["--only", "one", "--rounds", "1", *out]) == 0
    head, rows = report.load(tmp_path / "r.json")
    assert [(row.workload, row.rounds) for row in rows] == [("one", 3), ("two", 3)]
    assert head["command"].startswith("python -m benchmarks --only one")
    for path in (document, tmp_path / "t.md"):
        text = path.read_text(encoding="utf-8")
        assert "ONE" in text
        assert "TWO" in text
    assert "not capped at 2" in document.read_text(encoding="utf-8")
    assert "targets reached: 0, missed: 1" in capsys.readouterr().out
    assert command.main(["--only", "three"]) == 2
    assert "no workload is called three" in capsys.readouterr().err


def test_every_workload_has_a_name_of_its_own() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks", "--list"], capture_output=True, text=True, check=True, timeout=120)
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert len(names) == len(set(names)) > 10


def test_the_machine_in_one_line() -> None:
    described = machine.describe(2, "nothing")
    assert "2 of" in machine.line(described)
    assert described["versions"]["numpy"] == np.__version__  # type: ignore[index]


def test_a_term_network_is_laid_out_as_graphbp_lays_it_out() -> None:
    rng, genes, children = np.random.default_rng(0), ((0, 2), (1,), ()), ((), (0,), (0, 1))
    weights = tuple(rng.normal(size=(2, len(own) + 2 * len(below))) for own, below in zip(genes, children, strict=True))
    biases, head = tuple(rng.normal(size=2) for _ in genes), rng.normal(size=(1, 2))
    net = ontology.TermNetwork(3, tuple(np.array(own, np.int64) for own in genes), children, weights, biases, head)
    ours = gb.Network(net.graph(), backend="numpy")
    assert np.array_equal(ours.weights, net.flat(list(weights), list(biases), head, np.zeros(1)))
    X, z = rng.normal(size=(5, 3)), list[Any]()
    for own, below, w, b in zip(genes, children, weights, biases, strict=True):
        z.append(np.tanh(np.hstack([X[:, list(own)], *(z[child] for child in below)]) @ w.T + b))
    np.testing.assert_allclose(ours.forward(X), z[-1] @ head.T, rtol=1e-12)
