"""Collect: milestones of finished runs as a table that `fit` reads, at any number of runs."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from budgetplan.calibrate.collect import HEADER, as_csv, measurements, of_kind, outcomes, rows
from budgetplan.calibrate.fake import Fake
from budgetplan.calibrate.kinds.kind import Outcome
from budgetplan.calibrate.result import Evaluation, Result
from budgetplan.calibrate.run_folder import OtherSpec
from budgetplan.calibrate.spec import RunSpec
from budgetplan.calibrate.store import Store
from budgetplan.cli.app import main
from budgetplan.core.architecture import Architecture
from budgetplan.core.errors import BadValue
from budgetplan.laws.fit import ensemble
from budgetplan.laws.fit.reading import read
from budgetplan.laws.fit.study import runs_of, study
from tests.calibrate.worlds import spec, truth


def ended(*, noise: float = 0.0, **changes: object) -> Outcome:
    made = spec(**changes)
    trainer = Fake(truth=truth, noise=noise)
    return Outcome(
        spec=made,
        result=Result(
            status="finished",
            evaluations=tuple(
                Evaluation(step, step * made.batch_tokens, trainer.loss(made, step))
                for step in made.evaluate_at
            ),
        ),
    )


def test_every_milestone_of_a_constant_run_is_a_run() -> None:
    """20 steps of 512 tokens, measured at 10 and 20: 2 + 100 / sqrt(5120) and sqrt(10240)."""
    found = list(rows([ended()]))
    assert [row.tokens for row in found] == [5120, 10240]
    assert [row.loss for row in found] == pytest.approx([2 + 100 / 5120**0.5, 2 + 100 / 10240**0.5])


def test_runs_that_an_older_version_planned_are_left_out_and_told(tmp_path: Path) -> None:
    store = Store(tmp_path)
    result = ended().result
    for seed in (0, 1):
        store.add(spec(seed=seed)).finish(result)
    old = store.add(spec(seed=1)).path / "spec.json"
    old.write_text(json.dumps({**json.loads(old.read_text()), "version": 1}))
    told: list[str] = []
    assert [each.spec.seed for each in outcomes(store, tell=told.append)] == [0]
    assert told == [f"{old}: a spec of version 1, older than 2: left out"]
    with pytest.raises(OtherSpec):
        outcomes(store)


def test_a_decaying_run_counts_only_at_its_end() -> None:
    found = list(rows([ended(schedule="cosine")]))
    assert [row.step for row in found] == [20]


def test_nothing_is_measured_inside_the_warmup() -> None:
    found = list(rows([ended(warmup_tokens=6000.0)]))
    assert [row.tokens for row in found] == [10240]


def test_diverged_runs_have_no_rows() -> None:
    one = ended()
    lost = Outcome(spec=one.spec, result=one.result.model_copy(update={"status": "diverged"}))
    assert list(rows([lost])) == []
    with pytest.raises(BadValue, match="no finished run"):
        measurements([lost], counting="total")


def test_counts_by_hand() -> None:
    """Width 64, 2 layers, vocabulary 256: head 256 x 64, body 2 x (4 x 64^2 + 3 x 64 x 256)."""
    numbers = next(rows([ended()])).numbers()
    body, head = 2 * (4 * 64**2 + 3 * 64 * 256), 256 * 64
    assert numbers["params_kaplan"] == body
    assert numbers["params_with_head"] == body + head
    assert numbers["params_total"] == body + 2 * head + 5 * 64  # and five norms


def test_the_csv_says_what_the_measurements_say(tmp_path: Path) -> None:
    """Read back by the reader of `fit`, which keeps every milestone as a run of its own."""
    runs = [
        ended(steps=steps, evaluate_at=(steps // 2, steps), seed=seed, noise=0.01)
        for seed, steps in enumerate((100, 200, 400, 800))
    ]
    path = tmp_path / "runs.csv"
    path.write_text(as_csv(runs), encoding="utf-8")
    back, own = read([path], counting="with_head"), measurements(runs, counting="with_head")
    assert len(back) == len(own) == 8
    for name in ("params", "tokens", "loss", "learning_rate", "width", "vocab"):
        assert back[name] == pytest.approx(own[name])
    assert back.counting == own.counting == "with_head"
    [header, *_] = csv.reader(io.StringIO(as_csv(runs)))
    assert tuple(header) == HEADER


def test_a_run_that_measures_speed_has_no_loss_for_a_law(tmp_path: Path) -> None:
    """Its twenty steps are below any run that a law knows, and would stop the fit."""
    both = [ended(), ended(kind="throughput")]
    assert [each.spec.kind for each in of_kind(both)] == ["isoflop"]
    assert [each.spec.kind for each in of_kind(both, ("throughput",))] == ["throughput"]


def test_the_plans_own_count_comes_first_and_is_the_one_that_fit_takes(tmp_path: Path) -> None:
    runs = [
        ended(steps=steps, evaluate_at=(steps,), seed=steps, noise=0.01)
        for steps in (100, 200, 400, 800)
    ]
    path = tmp_path / "runs.csv"
    for counting in ("total", "kaplan", "with_head"):
        path.write_text(as_csv(runs, counting=counting), encoding="utf-8")
        back = read([path])
        assert back.counting == counting
        own = runs[0].spec.architecture.params(seq_len=64).counted(counting)
        assert back["params"][0] == own


def test_collect_feeds_fit_through_a_pipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one types it: budgetplan calibrate collect | budgetplan fit -, with nothing to add."""
    filled(tmp_path, 40)
    assert main(["calibrate", "collect", "--folder", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    pipe = io.TextIOWrapper(io.BytesIO(said.encode()))
    monkeypatch.setattr("sys.stdin", pipe)
    assert main(["fit", "-", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["design"]["runs"] == 40
    assert found["law"]["counting"] == "with_head"
    assert found["law"]["source"]["title"] == "standard input"


def spread_specs(count: int) -> list[RunSpec]:
    shapes = [
        Architecture(layers=2, width=width, heads=2, vocab=256) for width in range(32, 192, 16)
    ]
    return [
        spec(
            architecture=shapes[number % len(shapes)], steps=40 + number, evaluate_at=(40 + number,)
        )
        for number in range(count)
    ]


def surface(made: RunSpec, tokens: float) -> float:
    size = made.architecture.params().counted("with_head")
    return float(1.0 + 20 / size**0.3 + 60 / tokens**0.3)


def filled(folder: Path, count: int) -> Store:
    """A store of finished runs, written without going through their steps."""
    store, trainer = Store(folder), Fake(truth=surface, noise=0.003)
    home = folder / "runs"
    for made in spread_specs(count):
        path = home / made.id
        path.mkdir(parents=True)
        (path / "spec.json").write_text(made.model_dump_json(), encoding="utf-8")
        loss = trainer.loss(made, made.steps)
        result = Result(status="finished", evaluations=(Evaluation(made.steps, made.tokens, loss),))
        (path / "result.json").write_text(result.model_dump_json(), encoding="utf-8")
    return store


def test_the_cost_of_collecting_and_fitting_is_linear(tmp_path: Path) -> None:
    """Four times the runs cost four times the work; noise of a busy machine allows for eight."""
    costs = []
    for count in (250, 1000):
        store = filled(tmp_path / str(count), count)
        began = time.process_time()
        assert set(store.states().values()) == {"finished"}
        found = measurements(outcomes(store), counting="with_head")
        draws = ensemble.fit(runs_of(found), resamples=0)
        costs.append(time.process_time() - began)
        assert len(found) == count
        assert np.isfinite(draws.E).all()
    assert costs[1] < 8 * costs[0]


@pytest.mark.slow
@pytest.mark.skipif("BUDGETPLAN_SLOW" not in os.environ, reason="BUDGETPLAN_SLOW is not set")
def test_ten_thousand_runs(tmp_path: Path) -> None:
    """Through store, status, collect and fit: status and collect take seconds."""
    from budgetplan.cli.calibrated.standing import standing

    store = filled(tmp_path, 10_000)
    began = time.monotonic()
    found = standing(store, None)
    told = time.monotonic() - began
    assert found.states == {"isoflop": {"finished": 10_000}}
    ended_runs = outcomes(store)
    text = as_csv(ended_runs)
    collected = time.monotonic() - began - told
    measured = measurements(ended_runs, counting="with_head")
    sizes, tokens = measured["params"], measured["tokens"]
    draws = study(measured, year=2026).law.draws
    assert draws is not None
    fitted = time.monotonic() - began - told - collected
    print(json.dumps({"status": told, "collect": collected, "fit": fitted}))
    assert text.count("\n") == 10_001
    # The truth of the optimum: N* = (A / B)^(1 / 0.6) (C / 6)^0.5 for equal exponents.
    budget = float(6 * (sizes * tokens).max())
    truth_size = (20 / 60) ** (1 / 0.6) * (budget / 6) ** 0.5
    best = np.median(draws.optimal_params(flops=np.array([budget])))
    assert best == pytest.approx(truth_size, rel=0.35)
