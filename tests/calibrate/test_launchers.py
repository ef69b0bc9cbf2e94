"""Launchers: what they would write and run, what they do locally, and what Slurm's words mean."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from budgetplan.calibrate import trainers
from budgetplan.calibrate.launchers.launcher import Report, Start, Ticket, build, launchers
from budgetplan.calibrate.launchers.local import Local, pool
from budgetplan.calibrate.launchers.slurm import Slurm, seconds_of_limit
from budgetplan.calibrate.pool import Pool
from budgetplan.calibrate.result import Result
from budgetplan.calibrate.worker import Work
from budgetplan.core.errors import BadValue, UnknownName
from tests.calibrate.worlds import store_of

GOLDEN = Path(__file__).parent / "golden"
FOLDER = Path("/scratch/store/launches/first")
LAW = "fake:besiroglu2024,noise=0.01"


def work(folder: Path | str = "/scratch/store", runs: int = 3, **changes: Any) -> Work:
    names = tuple(f"{number:016x}" for number in range(runs))
    return Work(**{"store": str(folder), "ids": names, **changes})


def until(true: Callable[[], object], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


# --- parameters ---


def test_every_launcher_is_found() -> None:
    assert set(launchers) == {"local", "torchrun", "slurm"}


@pytest.mark.parametrize("name", sorted(launchers))
def test_an_unknown_parameter_is_answered_with_the_valid_ones(name: str) -> None:
    with pytest.raises(UnknownName) as caught:
        build(name, ["qqq=3"])
    assert f"unknown parameter of launcher {name} 'qqq'" in caught.value.problem
    for each in fields(launchers[name]):
        assert each.name in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "setting", "words"),
    [
        ("local", "workers=two", "local: workers=two: not a whole number"),
        ("local", "workers=0", "must be at least 1"),
        ("local", "workers", "workers has no value"),
        ("slurm", "partiton=gpu", "Did you mean partition?"),
        ("slurm", "gpus=-1", "must be at least 1"),
        ("locale", "workers=1", "Did you mean local?"),
    ],
)
def test_a_wrong_setting_is_told(name: str, setting: str, words: str) -> None:
    with pytest.raises((BadValue, UnknownName)) as caught:
        build(name, [setting])
    assert words in str(caught.value)


def test_settings_are_read_as_their_fields_say() -> None:
    assert build("local", ["workers=2", "gpus=0,3", "threads=4"]) == Local(
        workers=2, gpus=("0", "3"), threads=4
    )
    assert build("slurm", ["at-once=8", "time=2:00:00"]) == Slurm(at_once=8, time="2:00:00")


# --- what would be done ---


@pytest.mark.parametrize(
    ("name", "launcher"),
    [
        ("slurm-plain", Slurm(python="/env/bin/python")),
        (
            "slurm-all",
            Slurm(
                python="/env with space/bin/python", tasks=2, at_once=1, partition="gpu",
                account="me", qos="high", constraint="h100", reservation="today", gpus=1, cpus=8,
                memory="64G", time="2:00:00", requeues=3, warning=120, setup="module load cuda",
            ),
        ),
    ],
)  # fmt: skip
def test_the_batch_script_is_as_it_was(name: str, launcher: Slurm) -> None:
    start = launcher.prepare(work(), folder=FOLDER)
    assert start.files["job.sh"] == (GOLDEN / f"{name}.sh").read_text()
    assert start.commands[0].words == ("sbatch", "--parsable", str(FOLDER / "job.sh"))
    checked = subprocess.run(
        ["bash", "-n"], input=start.files["job.sh"], text=True, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_parameter_cannot_break_out_of_the_script() -> None:
    with pytest.raises(BadValue, match="partition has a line break"):
        Slurm(partition="gpu\nrm -r x").prepare(work(), folder=FOLDER)


def test_workers_share_cards_and_cores() -> None:
    def of(**changes: Any) -> list[str]:
        given = {"folder": FOLDER, "cards": (), "cores": 16, "workers": None, "threads": None}
        start = pool(work(runs=20), python="python", **{**given, **changes})
        return [
            f"{each.environment['CUDA_VISIBLE_DEVICES']}/{each.environment['OMP_NUM_THREADS']}"
            for each in start.commands
        ]

    # Without cards, how many workers there are leaves the threads of each as they are.
    assert of() == ["/8"] * 8
    assert of(workers=3) == ["/8"] * 3
    assert of(workers=3, cores=4) == of(workers=1, cores=4) * 3 == ["/4"] * 3
    assert of(workers=3, threads=5) == ["/5"] * 3
    assert of(cards=("0", "1", "4")) == ["0/5", "1/5", "4/5"]
    assert of(cards=("0", "1"), workers=1, threads=9) == ["0/9"]
    assert of(cores=1) == ["/1"]
    with pytest.raises(BadValue, match="3 workers of 1 cards, and 2 cards are here"):
        of(cards=("0", "1"), workers=3)


def test_runs_on_several_cards_get_groups_of_them() -> None:
    start = pool(
        work(cards_per_run=2), folder=FOLDER, cards=tuple("01234"), cores=8, workers=None,
        threads=None, python="python",
    )  # fmt: skip
    assert [each.environment["CUDA_VISIBLE_DEVICES"] for each in start.commands] == ["0,1", "2,3"]
    with pytest.raises(BadValue, match="a run on 2 cards, and 1 are here"):
        pool(work(cards_per_run=2), folder=FOLDER, cards=("0",), cores=8, workers=None,
             threads=None, python="python")  # fmt: skip


def test_what_has_ended_is_launched_no_more(tmp_path: Path) -> None:
    _, runs = store_of(tmp_path, 5)
    for run in runs[:3]:
        run.finish(Result(status="finished"))
    seen: list[Start] = []

    class Shown(Slurm):
        def submit(self, start: Start) -> Ticket:
            seen.append(start)
            return Ticket(launcher="slurm", folder=str(start.folder), jobs=("1",))

    names = tuple(run.id for run in runs)
    assert Pool(work=Work(store=str(tmp_path), ids=names), launcher=Shown()).start()
    assert "--array=0-1\n" in seen[0].files["job.sh"]
    (tmp_path / "work.json").write_text(seen[0].files["work.json"])
    again = Work.read(tmp_path / "work.json")
    assert again.ids == names, "what ended counts against the allowance"
    assert (again.part(0, of=2), again.part(1, of=2)) == (names[3:4], names[4:])


def test_there_are_no_more_workers_than_runs() -> None:
    start = pool(work(runs=2), folder=FOLDER, cards=tuple("0123"), cores=8, workers=None,
                 threads=None, python="python")  # fmt: skip
    assert len(start.commands) == 2


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("local", ("workers=2",), ["work.json", "$ CUDA_VISIBLE_DEVICES=''", "worker-2.log"]),
        ("slurm", (), ["#SBATCH --requeue", "$ sbatch --parsable"]),
        ("torchrun", ("nproc_per_node=2",), ['"cards_per_run": 2', "ranks share the cores"]),
    ],
)
def test_all_that_a_launch_writes_and_runs_is_shown_before(
    tmp_path: Path, name: str, settings: tuple[str, ...], words: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    start = build(name, settings).prepare(work(tmp_path), folder=tmp_path / "launch")
    text = start.shown()
    for each in [*words, *work(tmp_path).ids, str(tmp_path / "launch" / "ticket.json")]:
        assert each in text
    assert list(tmp_path.iterdir()) == []


def test_torchrun_says_how_a_model_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    launcher = build("torchrun", ["nproc_per_node=2", "sharding=fsdp"])
    start = launcher.prepare(work(), folder=FOLDER)
    assert '"trainer": "real:fsdp"' in start.files["work.json"]
    with pytest.raises(BadValue, match="with --trainer fake"):
        launcher.prepare(work(trainer="fake:x"), folder=FOLDER)
    with pytest.raises(UnknownName, match="ddp, fsdp"):
        build("torchrun", ["nproc_per_node=2", "sharding=zero"]).prepare(work(), folder=FOLDER)
    with pytest.raises(UnknownName, match="unknown sharding"):
        trainers.trainer("real:zero")


@pytest.mark.parametrize(
    ("time", "seconds"),
    [("90", 5400), ("1:30", 90), ("2:00:05", 7205), ("1-0", 86400), ("1-12:30", 131400),
     ("1-00:00:01", 86401), ("UNLIMITED", None), ("1:2:3:4", None)],
)  # fmt: skip
def test_a_time_limit_is_read_as_slurm_reads_it(time: str, seconds: float | None) -> None:
    """As in the manual of sbatch, --time: minutes, minutes:seconds, days-hours ..."""
    assert seconds_of_limit(time) == seconds


def test_cards_that_a_task_asks_for_in_vain_are_told() -> None:
    told = Slurm(gpus=4).prepare(work(), folder=FOLDER).remarks
    assert told == ("a task uses one card: 3 of its 4 are idle",)
    assert Slurm(gpus=1).prepare(work(), folder=FOLDER).remarks == ()
    assert Slurm().prepare(work(), folder=FOLDER).remarks == ()


def test_a_time_limit_that_is_only_warning_is_refused() -> None:
    with pytest.raises(BadValue, match="hardly longer than the warning 60 s before"):
        Slurm(time="1:00").prepare(work(), folder=FOLDER)


# --- a local pool ---


def started(tmp_path: Path, *, runs: int, workers: int, trainer: str, **changes: Any) -> Any:
    _, folders = store_of(tmp_path, runs, **changes)
    names = tuple(run.id for run in folders)
    todo = Work(store=str(tmp_path), ids=names, trainer=trainer)
    making = Pool(work=todo, launcher=Local(workers=workers, gpus=()))
    assert making.start()
    return making, folders


def test_two_workers_make_all_runs_and_none_twice(tmp_path: Path) -> None:
    making, runs = started(tmp_path, runs=9, workers=2, trainer=f"{LAW},pause=0.002")
    reports = list(making.watch(pause=0.05))
    assert [run.state for run in runs] == ["finished"] * 9
    worked = [
        each.ending for run in runs for each in run.attempts() if each.ending != "made before"
    ]
    assert worked == ["finished"] * 9
    assert max(each.working for each in reports) == 2
    assert len({run.attempts()[0].holder["pid"] for run in runs}) == 2
    assert making.deaths == []
    assert not making.start(), "there is nothing left to do"


def test_a_killed_worker_is_replaced_and_its_run_goes_on(tmp_path: Path) -> None:
    making, runs = started(tmp_path, runs=2, workers=1, trainer=f"{LAW},pause=0.02,save_every=2")
    watching = making.watch(pause=0.05)
    for _ in watching:
        if len(runs[0].records()) > 5 and not making.deaths:
            os.kill(runs[0].attempts()[-1].holder["pid"], signal.SIGKILL)
            break
    list(watching)
    assert making.deaths == ["worker 1 was killed by SIGKILL (out of memory?)"]
    assert [run.state for run in runs] == ["finished", "finished"]
    assert runs[0].attempts()[1].holder["from_step"] > 2


def test_a_run_that_kills_every_worker_does_not_hold_up_the_others(tmp_path: Path) -> None:
    making, runs = started(tmp_path, runs=3, workers=1, trainer="tests.calibrate.worlds:deadly")
    list(making.watch(pause=0.05))
    states = {run.spec.seed: run.state for run in runs}
    assert states == {0: "finished", 1: "failed", 2: "finished"}
    assert len(making.deaths) == 3
    failed = next(run.result for run in runs if run.spec.seed == 1)
    assert failed.reason.startswith("its process died 3 times at the same step")


def test_cancelling_lets_each_run_write_its_checkpoint(tmp_path: Path) -> None:
    making, runs = started(tmp_path, runs=4, workers=2, trainer=f"{LAW},pause=0.05")
    until(lambda: sum(run.state == "running" and bool(run.records()) for run in runs) == 2)
    making.cancel()
    list(making.watch(pause=0.05))
    assert sorted(run.state for run in runs) == ["interrupted"] * 2 + ["planned"] * 2
    assert all(run.checkpoint_path.exists() for run in runs if run.state == "interrupted")
    assert making.deaths == []


def test_another_process_can_poll_and_cancel(tmp_path: Path) -> None:
    making, runs = started(tmp_path, runs=1, workers=1, trainer=f"{LAW},pause=0.05")
    script = (
        "import sys; from pathlib import Path; "
        "from budgetplan.calibrate.launchers.launcher import Ticket, launchers; "
        "ticket = Ticket.read(Path(sys.argv[1])); launcher = launchers[ticket.launcher](); "
        "print(launcher.poll(ticket).working); launcher.cancel(ticket)"
    )
    until(runs[0].records)
    done = subprocess.run(
        [sys.executable, "-c", script, making.ticket.folder],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "1\n"
    list(making.watch(pause=0.05))
    assert runs[0].state == "interrupted"


def test_a_fault_that_stays_ends_the_pool_in_words(tmp_path: Path) -> None:
    making, _ = started(tmp_path, runs=2, workers=1, trainer="fake:no_such_law")
    list(making.watch(pause=0.05))
    assert making.report.fault
    assert making.deaths == ["worker 1 could not go on: unknown law preset 'no_such_law'"]


def test_a_folder_without_a_launch_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="no launch was made here"):
        Ticket.read(tmp_path)


def test_a_launch_waits_for_the_runs_that_another_one_makes(tmp_path: Path) -> None:
    first, runs = started(tmp_path, runs=2, workers=2, trainer=f"{LAW},pause=0.03")
    until(lambda: all(run.state == "running" for run in runs))
    second = Pool(work=first.work, launcher=Local(workers=1, gpus=()))
    assert second.start()
    for _ in second.watch(pause=0.05):
        pass
    assert [run.state for run in runs] == ["finished"] * 2
    assert [len(run.attempts()) for run in runs] == [1, 1]
    assert first.ticket and second.ticket
    assert first.ticket.folder != second.ticket.folder
    list(first.watch(pause=0.05))


def test_a_launch_that_waited_for_workers_that_died_goes_on_in_their_place(tmp_path: Path) -> None:
    slow = f"{LAW},pause=1,save_every=1"
    first, (run,) = started(tmp_path, runs=1, workers=1, trainer=slow)
    until(run.checkpoint_path.exists)
    second = Pool(work=replace(first.work, trainer=LAW), launcher=Local(workers=1, gpus=()))
    assert second.start()
    watched = second.watch(pause=0.05)
    until(lambda: next(watched).over)
    os.kill(int(run.attempts()[0].holder["pid"]), signal.SIGKILL)
    list(watched)
    assert run.state == "finished"
    assert [each.ending for each in run.attempts()] == ["", "finished"]


def test_a_launch_that_was_cancelled_from_elsewhere_starts_no_workers_anew(tmp_path: Path) -> None:
    making, runs = started(tmp_path, runs=2, workers=2, trainer=f"{LAW},pause=0.05")
    until(lambda: all(run.records() for run in runs))
    os.kill(int(runs[0].attempts()[-1].holder["pid"]), signal.SIGKILL)  # which alone would
    assert making.ticket
    Local().cancel(Ticket.read(Path(making.ticket.folder)))
    list(making.watch(pause=0.05))
    assert making.cancelled
    assert making._round == 1
    assert [run.state for run in runs] == ["interrupted"] * 2
    assert runs[1].checkpoint_path.exists()


def test_a_scheduler_is_asked_less_often_than_the_screen_is_drawn(tmp_path: Path) -> None:
    """At a question every 0.3 s and a picture every 0.02 s, most pictures show the last answer."""
    asked: list[float] = []

    class Rare:
        poll_every = 0.3

        def poll(self, ticket: Ticket) -> Report:
            asked.append(time.monotonic())
            return Report(working=int(len(asked) < 3))

    _, runs = store_of(tmp_path, 1)
    todo = work(tmp_path, ids=(runs[0].id,))
    making = Pool(work=todo, launcher=Rare(), attached=True)  # type: ignore[arg-type]
    making.ticket = Ticket(launcher="rare", folder=str(tmp_path), jobs=("1",))
    seen = list(making.watch(pause=0.02))
    assert len(asked) == 3
    assert all(later - earlier >= 0.3 for earlier, later in itertools.pairwise(asked))
    assert len(seen) > 3
    assert [each.working for each in seen[:1] + seen[-1:]] == [1, 0]
