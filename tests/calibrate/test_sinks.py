"""Sinks: they hear every record, and never stop a run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from budgetplan.calibrate.run_folder import RunFolder
from budgetplan.calibrate.sinks.sink import sinks, watching
from budgetplan.calibrate.work import work
from budgetplan.core.errors import MissingPackage, UnknownName
from tests.calibrate.worlds import fake, store_of


def test_wandb_hears_every_record_and_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []
    service = SimpleNamespace(
        log=lambda values, step: heard.append((step, values)),
        summary=SimpleNamespace(update=lambda values: heard.append(values["status"])),
        finish=lambda *, exit_code: heard.append(exit_code),
    )
    begun: dict[str, Any] = {}

    def init(**more: Any) -> Any:
        begun.update(more)
        return service

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    _, (run,) = store_of(tmp_path, 1, steps=2, evaluate_at=())

    @contextmanager
    def watchers(run: RunFolder) -> Iterator[None]:
        with watching(run, names=["wandb"], tell=lambda text: None):
            yield

    work([run], trainer=fake(), watchers=watchers)
    assert begun["id"] == run.id
    assert begun["resume"] == "allow"
    assert begun["config"]["steps"] == 2
    assert [each[0] for each in heard[:3]] == [1, 2, 2]
    assert heard[0][1]["loss"] == pytest.approx(2 + 100 / 512**0.5)
    assert "validation_loss" in heard[2][1]
    assert heard[3:] == ["finished", 0]


def test_a_sink_that_fails_is_left_out_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("no network")

    service = SimpleNamespace(init=lambda **_: SimpleNamespace(log=fail, finish=fail))
    monkeypatch.setitem(sys.modules, "wandb", service)
    _, (run,) = store_of(tmp_path, 1)
    told: list[str] = []
    with watching(run, names=["wandb"], tell=told.append):
        run.append({"step": 1, "loss": 1.0})
        run.append({"step": 2, "loss": 1.0})
    assert told == [
        f"note: wandb is left out of the rest of run {run.id}: ConnectionError: no network"
    ]
    assert len(run.metrics()) == 2


@pytest.mark.parametrize("at", ["init", "finish"])
def test_a_sink_that_does_not_open_or_close_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError("nobody is logged in\nmore words")

    opened = SimpleNamespace(log=lambda *_, **__: None, finish=fail,
                             summary=SimpleNamespace(update=lambda _: None))  # fmt: skip
    service = SimpleNamespace(init=fail if at == "init" else lambda **_: opened)
    monkeypatch.setitem(sys.modules, "wandb", service)
    _, (run,) = store_of(tmp_path, 1)
    told: list[str] = []
    tally = work(
        [run], trainer=fake(), watchers=lambda run: watching(run, names=["wandb"], tell=told.append)
    )
    assert tally.made == [run.id]
    assert len(told) == 1
    assert told[0].endswith("RuntimeError: nobody is logged in")


def test_a_sink_that_is_not_there_is_named_before_and_stops_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, (run,) = store_of(tmp_path, 1)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingPackage, match=r"pip install 'budgetplan\[wandb\]'"):
        sinks["wandb"].needed()
    with pytest.raises(UnknownName, match="Did you mean tensorboard"):
        _ = sinks["tensorbord"]
    told: list[str] = []
    with watching(run, names=["wandb"], tell=told.append):
        run.append({"step": 1, "loss": 1.0})
    assert len(told) == 1
    assert "MissingPackage" in told[0]
