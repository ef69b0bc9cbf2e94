"""`budgetplan calibrate` as a user meets it; runs are made by a fake trainer of known truth."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from budgetplan.cli.app import main
from budgetplan.cli.calibrated import asked, demo
from budgetplan.core import plan as plans
from tests.calibrate.plans import asked_in, ladder_file, law_file

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)


def rehearsal(folder: Path) -> list[str]:
    """The demo's plan and shapes, its losses drawn from a law plus noise."""
    trainer = f"fake:{law_file(folder)},noise=0.002,flicker=0.001"
    return ["calibrate", "--demo", "--folder", "runs", "--set", "workers=1", "--spend", "20%",
            "--trainer", f"{trainer},save_every=1000000,record_every=1000"]  # fmt: skip


@pytest.fixture
def done(tmp_path: Path, capsys: Captured) -> tuple[int, str, str]:
    code = main([*rehearsal(tmp_path), "--output", "revised.yaml"])
    out, err = capsys.readouterr()
    return code, out, err


def test_from_design_to_revised_plan(done: tuple[int, str, str]) -> None:
    code, out, err = done
    assert code in (0, 1)
    assert [line for line in out.splitlines() if len(line) > 80] == []
    assert "What the runs should teach" in out
    assert "held out" in out
    assert "Python's standard library" in err
    assert ("Measurement contradicts the plan" in out) == (code == 1)
    revised = plans.read(Path("revised.yaml"))
    assert revised.figures["optimal_params"].origin == "measured"
    assert revised.law is not None
    assert revised.law.params.origin == "measured"
    assert "runs" in revised.law.params.by
    assert "calibrate" in revised.made_by


def test_what_is_finished_is_kept_told_and_collected(
    done: tuple[int, str, str], tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/runs/*/result.json")}
    assert len(results) >= 5
    code = main([*rehearsal(tmp_path), "--json"])
    out, _ = capsys.readouterr()
    assert code == done[0]
    answer = json.loads(out)
    assert answer["contradicts"] == (code == 1)
    assert answer["verdicts"][0]["kind"] == "isoflop"
    assert {score["law"] for score in answer["verdicts"][0]["scores"]} == {"fitted", "plan"}
    after = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/runs/*/result.json")}
    assert after == results
    assert main(["calibrate", "status", "--folder", "runs", "--json"]) == 0
    standing = json.loads(capsys.readouterr().out)
    count = standing["states"]["isoflop"]["finished"]
    assert standing["spent"] <= standing["allowance"]
    assert main(["calibrate", "collect", "--folder", "runs", "--output", "runs.csv"]) == 0
    rows = list(csv.DictReader(Path("runs.csv").read_text(encoding="utf-8").splitlines()))
    assert len({row["run"] for row in rows}) == count
    assert main(["fit", "runs.csv", "--counting", "with_head"]) == 0
    capsys.readouterr()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["calibrate", "resume", "--folder", "../runs", "--yes"]) == done[0]
    assert "isoflop" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    assert main(["calibrate", "cancel", "--folder", "runs"]) == 0
    assert "0 workers" in capsys.readouterr().err


def test_files_of_a_campaign_are_named_by_their_whole_path(tmp_path: Path) -> None:
    found = [asked.rooted(each) for each in ("a/*.bin", "model.py:build", "t.json", "/b/c")]
    here = str(tmp_path)
    assert found == [f"{here}/a/*.bin", f"{here}/model.py:build", f"{here}/t.json", "/b/c"]
    for name in ("bytes", "none", "synthetic:zipf?vocab=9", "package.module:build"):
        assert asked.rooted(name) == name


def test_a_run_that_failed_is_tried_again_by_retry_alone(
    done: tuple[int, str, str], tmp_path: Path, capsys: Captured
) -> None:
    result = sorted(tmp_path.glob("runs/runs/*/result.json"))[0]
    before = json.loads(result.read_text())
    broken = {**before, "status": "failed", "reason": "the card fell off the bus"}
    result.write_text(json.dumps(broken))
    main(["calibrate", "resume", "--folder", "runs", "--yes", "--json"])
    assert json.loads(result.read_text())["status"] == "failed"
    capsys.readouterr()
    main(["calibrate", "retry", "--folder", "runs", "--yes", "--json"])
    # The first try was paid for, so the hard stop leaves the second one unfinished, but it ran.
    assert "the allowance is used up" in capsys.readouterr().err
    assert json.loads((result.parent / "failure-1.json").read_text()) == broken
    assert not result.exists()
    assert main(["calibrate", "retry", "--folder", "runs"]) == 2
    assert "has failed" in capsys.readouterr().err


def test_a_dry_run_shows_every_file_and_command_and_writes_nothing(
    tmp_path: Path, capsys: Captured
) -> None:
    words = rehearsal(tmp_path)[:4]
    before = sorted(tmp_path.iterdir())
    assert main([*words, "--launcher", "slurm", "--dry-run"]) == 0
    out, _ = capsys.readouterr()
    assert "budgetplan.calibrate.worker" in out
    assert "$ sbatch --parsable" in out
    assert "calibration.json" in out
    assert len([line for line in out.splitlines() if line.endswith("spec.json")]) >= 5
    assert sorted(tmp_path.iterdir()) == before


def plan_file(folder: Path) -> str:
    path = folder / "plan.yaml"
    assert main(["optimize", "--gpus", "8xH100", "--time", "3d", "-o", str(path)]) == 0
    return str(path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "no --data given"),
        (["--tokenizer", "bytes"], "training tokens are too few"),
        (["--spend", "200%", "--tokenizer", "bytes"], "more than the budget"),
        (["--spend", "nothing", "--tokenizer", "bytes"], "cannot read"),
        (["--kind", "thruput"], "Did you mean throughput"),
        (["--launcher", "slrm"], "Did you mean slurm"),
        (["--data", "nowhere/*.bin"], "no such file"),
        (["--precision", "fp7", "--tokenizer", "bytes"], "unknown precision"),
        (["--output", "nowhere/x.yaml"], "does not exist"),
        (["--demo"], "makes its own plan"),
        (["--kind", "throughput", "--spend", "1e6", "--tokenizer", "bytes"], "too small"),
        (["--kind", "throughput", "--tokenizer", "bytes"], "nobody is here to agree"),
    ],
)
def test_what_goes_wrong_before_anything_is_spent(
    options: list[str], said: str, tmp_path: Path, capsys: Captured
) -> None:
    path = plan_file(tmp_path)
    capsys.readouterr()
    assert main(["calibrate", path, *options]) == 2
    _, err = capsys.readouterr()
    assert said in err
    assert len(err.strip().splitlines()) <= 3
    assert not list(tmp_path.glob("calibration/runs/*"))


def test_a_pattern_that_the_shell_has_opened_names_all_its_files(
    tmp_path: Path, capsys: Captured
) -> None:
    """`--data tokens/*.txt` unquoted: every file but the first is a word of its own."""
    plan, ladder = str(tmp_path / "plan.yaml"), str(ladder_file(tmp_path))
    tiny = ["--flops", "2e14", "--law", demo.LAW, "--ladder", ladder, "--output", plan]
    assert main(["optimize", *tiny]) == 0
    capsys.readouterr()
    shards = [tmp_path / f"part{number}.txt" for number in range(3)]
    for number, shard in enumerate(shards):
        shard.write_text(f"some text of shard {number}. " * 20_000, encoding="utf-8")
    words = [str(shard) for shard in shards]
    found = []
    bare = shutil.copy(plan, tmp_path / "plan")
    for order in (
        [plan, "--data", *words],
        ["--data", *words, plan],
        [str(bare), "--data", *words],
    ):
        options = ["--tokenizer", "bytes", "--kind", "isoflop", "--spend", "6e12", "--dry-run"]
        assert main(["calibrate", *order, *options, "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1] == found[2]
    assert all(Path(word).name in json.dumps(found[0]) for word in words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no plan given"),
        (["sattus"], "Did you mean status"),
        (["missing.yaml"], "missing.yaml"),
        (["status", "--folder", "nowhere"], "no such folder"),
        (["resume", "--folder", "."], "holds no calibration"),
        (["collect", "--folder", "."], "holds no calibration"),
        (["cancel", "."], "holds no calibration"),
        (["status", "here", "there"], "two folders are named"),
        (["status", "here", "--folder", "there"], "two folders are named"),
        (["export", "json", "here"], "unknown format 'json'"),
        (["status", "--spend", "3%"], "--spend has no effect on calibrate status"),
        (["resume", "--kind", "isoflop"], "--kind has no effect on calibrate resume"),
        (["export", "csv", "--format", "npy"], "--format has no effect"),
        (["--demo", "--tokenizer", "none"], "--tokenizer has no effect on --demo"),
        (["--demo", "--gpu-hours", "0"], "--gpu-hours 0 is no limit"),
        (["--demo", "--trainer", "reel"], "Did you mean real"),
        (["--demo", "--sink", "wanb"], "Did you mean wandb"),
        (["plan.yaml", "elsewhere"], "The folder of the runs is --folder"),
    ],
)
def test_wrong_actions(words: list[str], said: str, capsys: Captured) -> None:
    assert main(["calibrate", *words]) == 2
    assert said in capsys.readouterr().err


def test_the_help_names_every_parameter_of_every_launcher() -> None:
    from dataclasses import fields

    from budgetplan.calibrate.launchers.launcher import launchers
    from budgetplan.cli.calibrate import calibrate

    said = (calibrate.__doc__ or "").partition("What --set may say")[2].partition("Keys of")[0]
    for name, kind in launchers.items():
        own = said.partition(f"      {name} ")[2].split("\n      ")
        words = " ".join([own[0], *(part for part in own[1:] if part.startswith("  "))]).split()
        assert set(words[: len(fields(kind))]) == {each.name for each in fields(kind)}


def test_an_allowance_that_is_used_up_can_be_raised(tmp_path: Path, capsys: Captured) -> None:
    """Two runs are to be made again, and nine tenths of what all cost pay for one at most."""
    words = rehearsal(tmp_path)
    main(words)
    capsys.readouterr()
    states = tmp_path / "runs" / "runs"
    assert main(["calibrate", "status", "runs", "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    for path in sorted(states.glob("*/result.json"))[:2]:
        for each in path.parent.iterdir():
            if each.name != "spec.json":
                each.unlink()
    before = {path: path.stat().st_mtime_ns for path in states.glob("*/result.json")}
    spent = whole["spent"] * 0.9
    main(["calibrate", "resume", "runs", "--spend", f"{spent:g}"])
    _, err = capsys.readouterr()
    assert "the allowance is used up" in err
    assert main(["calibrate", "status", "runs", "--json"]) == 0
    short = json.loads(capsys.readouterr().out)
    assert short["spent"] <= short["allowance"] == pytest.approx(spent, rel=1e-5)
    assert short["workers"] == 0
    assert main(["calibrate", "resume", "runs", "--spend", "20%"]) in (0, 1)
    capsys.readouterr()
    assert main(["calibrate", "status", "runs", "--json"]) == 0
    ended = json.loads(capsys.readouterr().out)
    assert ended["states"]["isoflop"] == whole["states"]["isoflop"]
    assert (
        before.items()
        <= {path: path.stat().st_mtime_ns for path in states.glob("*/result.json")}.items()
    )


def test_an_output_that_has_nothing_to_say_is_told(tmp_path: Path, capsys: Captured) -> None:
    from budgetplan.calibrate.kinds.kind import Verdict
    from budgetplan.cli.calibrated import session
    from budgetplan.cli.calibrated.asked import Wish

    plan = plans.read(Path(plan_file(tmp_path)))
    wish = Wish(target="resume", kinds=("isoflop",), options={}, folder=tmp_path,
                output=Path("revised.yaml"), as_json=False)  # fmt: skip
    silent = Verdict(kind="isoflop", headline="The plan's law is believed.")
    assert session._revised(wish, plan, [silent]) == (None, ())
    assert "revised.yaml is not written" in capsys.readouterr().err


def test_the_smallest_allowance_that_is_named_pays_for_every_kind(
    tmp_path: Path, capsys: Captured
) -> None:
    plans.write(asked_in(tmp_path).plan, tmp_path / "plan.yaml")
    words = ["calibrate", "plan.yaml", "--dry-run", "--spend"]
    assert main([*words, "1e6"]) == 2
    said = re.search(r"--spend (\S+),", capsys.readouterr().err)
    assert said
    assert main([*words, said[1]]) == 0


def test_the_demo_keeps_a_folder_of_its_own_unless_one_is_given(capsys: Captured) -> None:
    for options, folder in (([], "calibration-demo"), (["--folder", "calibration"], "calibration")):
        assert main(["calibrate", "--demo", "--dry-run", *options]) == 0
        assert f"/{folder}/calibration.json" in capsys.readouterr().out
