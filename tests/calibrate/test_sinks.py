"""Sinks: they hear every record, and never stop a run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from budgetplan.calibrate.run_folder import RunFolder
from budgetplan.calibrate.sinks.sink import sinks, watching
from budgetplan.calibrate.spec import RunSpec
from budgetplan.calibrate.work import Stop, work
from budgetplan.calibrate.worker import Work, perform
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


def test_a_sink_that_did_not_open_is_not_tried_for_every_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """W&B takes a minute and a half to find that its service cannot be reached."""
    tried = []

    def init(**_: Any) -> None:
        tried.append(True)
        raise TimeoutError

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    _, runs = store_of(tmp_path, 3)
    names = tuple(run.id for run in runs)
    todo = Work(store=str(tmp_path), ids=names, trainer="fake:besiroglu2024", sinks=("wandb",))
    assert perform(todo, names, stop=Stop()).made == list(names)
    assert tried == [True]
    assert "wandb is left out from run" in capsys.readouterr().err


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


class Page:
    """A writer of event files as torch has one, that only remembers; one more for each start."""

    pages: ClassVar[list[Page]] = []

    def __init__(self, folder: str, *, purge_step: int) -> None:
        self.folder, self.purge_step, self.told = folder, purge_step, list[tuple[str, int]]()
        Page.pages.append(self)

    def add_scalar(self, name: str, value: float, *, global_step: int) -> None:
        assert isinstance(value, float)
        self.told.append((name, global_step))

    def add_text(self, name: str, text: str) -> None:
        self.told.append((text, -1))

    def close(self) -> None:
        self.told.append(("closed", -1))


def test_tensorboard_is_told_again_what_a_killed_worker_may_not_have_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Page))
    Page.pages.clear()
    _, (run,) = store_of(tmp_path, 1, steps=4, evaluate_at=())
    for step in (1, 2, 3):  # 3 comes again: the checkpoint was written after 2
        run.append({"step": step, "tokens": 512 * step, "loss": 1.0})
    run.checkpoint_path.write_text('{"step": 2}')
    work(
        [run],
        trainer=fake(),
        watchers=lambda run: watching(run, names=["tensorboard"], tell=pytest.fail),
    )
    (page,) = Page.pages
    assert page.purge_step == 1, "what former files say is replaced as a whole"
    assert [step for name, step in page.told if name == "loss"] == [1, 2, 3, 4]
    assert [step for name, step in page.told if name == "tokens"] == [1, 2, 3, 4]
    assert [step for name, step in page.told if name == "validation_loss"] == [4]
    assert [name for name, step in page.told if step == -1] == ["finished", "closed"]


def test_real_event_files_say_what_the_records_say(tmp_path: Path) -> None:
    reading = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="tensorboard, an extra, is not installed",
    )
    _, (run,) = store_of(tmp_path, 1)

    def interrupted(spec: RunSpec, run: RunFolder, **more: Any) -> Any:
        return fake(save_every=3)(spec, run, should_stop=lambda: len(run.records()) > 7)

    for trainer in (interrupted, fake()):
        work(
            [run],
            trainer=trainer,
            watchers=lambda run: watching(run, names=["tensorboard"], tell=pytest.fail),
        )
    assert run.state == "finished"
    assert len(run.attempts()) == 2
    events = reading.EventAccumulator(str(run.path / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    for name in ("loss", "learning_rate", "validation_loss"):
        want = [(each["step"], each[name]) for each in run.metrics() if name in each]
        assert [(each.step, pytest.approx(each.value)) for each in events.Scalars(name)] == want
