"""Throughput: the largest batch that fits is found, and costs follow with an interval."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetplan.calibrate.allowance import flops_of
from budgetplan.calibrate.collect import outcomes
from budgetplan.calibrate.fake import Fake, parse
from budgetplan.calibrate.kinds.kind import Asked, Device, Outcome, Verdict
from budgetplan.calibrate.kinds.throughput import REPEATS, STEPS, Throughput
from budgetplan.calibrate.result import Result
from budgetplan.calibrate.spec import RunSpec
from budgetplan.calibrate.speed import following, speed
from budgetplan.calibrate.store import Store
from budgetplan.cli.app import main
from budgetplan.core import plan as plans
from budgetplan.core.cards import gpu
from tests.calibrate.plans import asked_in

CARD = {"name": "NVIDIA H100 80GB HBM3", "memory.total": "81559 MiB"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plans")


def asked_on_card(folder: Path, **changes: Any) -> Asked:
    card = gpu("H100")
    own = asked_in(folder, **{"gpus": "8xH100", **changes})
    device = Device(name=CARD["name"], kind="cuda", memory=card.memory, gpu=card)
    return replace(own, device=device, precision="bf16", allowance=2e14)


def timed(spec: RunSpec, flops_per_second: float, *, processes: int = 1, **env: Any) -> Outcome:
    """A run on cards that reach so many FLOP/s together."""
    training = flops_of(spec) - flops_of(spec) / (3 * STEPS * spec.batch_sequences + 1)
    speed = flops_per_second / training * spec.tokens
    return Outcome(
        spec=spec,
        result=Result(status="finished", tokens_per_second=speed, peak_memory_bytes=10**9,
                      flops_per_second=flops_per_second),
        surroundings={"cards": [CARD], "training": {"processes": processes}, **env},
    )  # fmt: skip


def full(spec: RunSpec) -> Outcome:
    reason = f"out of memory with {spec.batch_sequences} sequences"
    return Outcome(spec=spec, result=Result(status="failed", reason=reason))


# --- which batch fits -----------------------------------------------------------------------------


@given(limit=st.integers(1, 500), most=st.integers(1, 500))
def test_the_search_ends_within_an_eighth_of_the_limit(limit: int, most: int) -> None:
    tried: dict[int, bool] = {}
    while (batch := following(tried, most=most)) is not None:
        assert batch not in tried
        tried[batch] = batch <= limit
    assert len(tried) <= 14
    best = max(batch for batch, fits in tried.items() if fits)
    wanted = min(limit, most)
    assert best <= wanted < best + max(1, best // 8) + (0 if wanted == best else 1)


def test_a_card_without_room_for_one_sequence() -> None:
    assert following({1: False}, most=8) is None


def test_memory_that_ends_earlier_than_predicted_is_found_by_halving(folder: Path) -> None:
    """Designs asked again and again, the card holding 11 sequences: as the command does it."""
    asked = asked_on_card(folder)
    made: dict[str, Outcome] = {}
    for _ in range(10):
        design = Throughput().design(replace(asked, made=tuple(made.values())))
        new = [spec for spec in design.specs if spec.id not in made]
        if not new:
            break
        for spec in new:
            made[spec.id] = timed(spec, 1e14) if spec.batch_sequences <= 11 else full(spec)
    assert not new
    fits = [each.spec.batch_sequences for each in made.values() if each.finished]
    assert max(fits) in (10, 11)
    assert fits.count(max(fits)) == REPEATS  # measured as often as the others
    found = Throughput().verdict(asked, list(made.values()))
    assert any(f"largest batch that ran: {max(fits)} sequences" in note for note in found.notes)
    assert any("did not fit: out of memory" in note for note in found.notes)


def test_no_batch_is_tried_that_a_card_would_never_see(folder: Path) -> None:
    """104 sequences a step on 8 cards are 13 of each; on 26 cards 4."""
    for cards, most in ((8, 13), (26, 4)):
        asked = asked_on_card(folder, gpus=f"{cards}xH100")
        assert asked.plan.stage.run.batch_sequences == 104
        sizes = {spec.batch_sequences for spec in Throughput().design(asked).specs}
        assert max(sizes) == most


def test_memory_that_was_short_in_another_format_is_no_limit(folder: Path) -> None:
    asked = asked_on_card(folder)
    specs = Throughput().design(asked).specs
    wide = tuple(full(spec.model_copy(update={"precision": "fp32"})) for spec in specs)
    again = Throughput().design(replace(asked, made=wide))
    assert [spec.id for spec in again.specs] == [spec.id for spec in specs]


def test_a_run_that_failed_for_another_reason_is_no_limit(folder: Path) -> None:
    asked = asked_on_card(folder)
    specs = Throughput().design(asked).specs
    largest = max(specs, key=lambda spec: spec.batch_sequences)
    lost = Outcome(spec=largest, result=Result(status="failed", reason="the data is gone"))
    again = Throughput().design(replace(asked, made=(lost,)))
    assert {spec.id for spec in again.specs} == {spec.id for spec in specs}


def test_the_command_searches_by_itself(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a card that is not there and holds 11 sequences; noise and all."""
    plan = asked_in(folder).plan
    plans.write(plan, tmp_path / "plan.yaml")
    code = main([
        "calibrate", str(tmp_path / "plan.yaml"), "--kind", "throughput", "--spend", "90%", "--yes",
        "--folder", str(tmp_path / "runs"), "--set", "workers=1",
        "--trainer", "fake:besiroglu2024,most_sequences=11,save_every=100",
    ])  # fmt: skip
    said = capsys.readouterr().out
    assert code == 0
    assert "largest batch that ran: 11 sequences" in said
    ended = outcomes(Store(tmp_path / "runs"))
    assert {16, 12} <= {each.spec.batch_sequences for each in ended if not each.finished}
    campaign = json.loads((tmp_path / "runs" / "calibration.json").read_text(encoding="utf-8"))
    assert {each.id for each in ended} == set(campaign["parts"][0]["runs"])


# --- how fast -------------------------------------------------------------------------------------


def verdict(asked: Asked, *reached: float, processes: int = 1) -> Verdict:
    """Of runs of the largest batch with seeds 0, 1, 2 ... that reach so many FLOP/s."""
    return Throughput().verdict(asked, measured(asked, *reached, processes=processes))


def measured(asked: Asked, *reached: float, processes: int = 1) -> list[Outcome]:
    spec = max(Throughput().design(asked).specs, key=lambda each: each.batch_sequences)
    return [
        timed(spec.model_copy(update={"seed": seed}), each, processes=processes)
        for seed, each in enumerate(reached)
    ]


def test_mfu_by_hand_and_the_costs_that_follow(folder: Path) -> None:
    """A tenth of an H100's 989.4 TFLOP/s; the plan's FLOPs over that are its card-seconds."""
    asked = asked_on_card(folder)
    peak = gpu("H100").peak_for("bf16")
    found = verdict(asked, peak / 10, peak / 10, peak / 10)
    mfu, hours, time = (found.figures[name] for name in ("mfu", "gpu_hours", "time"))
    assert mfu.value == pytest.approx(0.1)
    assert mfu.low is not None and mfu.high is not None and mfu.low < 0.1 < mfu.high
    expected = float(asked.plan.spent.value) / (peak / 10) / 3600
    assert hours.value == pytest.approx(expected)
    assert time.value == pytest.approx(expected * 3600 / 8)
    # 700 W x 1.58 (Uptime Institute 2024) over these hours.
    assert found.figures["energy"].value == pytest.approx(expected * 3600 * 700 * 1.58)
    planned = asked.plan.figures
    price = float(planned["usd"].value) / float(planned["gpu_hours"].value)
    assert found.figures["usd"].value == pytest.approx(expected * price)
    # Assumed were 0.3 to 0.5: a tenth is a third of the lower end.
    [refuted] = [each for each in found.findings if each.contradicts]
    assert refuted.name == "mfu"
    assert refuted.beyond == pytest.approx(3.0, rel=0.01)


def test_the_interval_is_that_of_repeated_runs_and_of_what_they_cannot_see(folder: Path) -> None:
    """Log speeds -s, 0 and s have deviation s: t(2) s / sqrt 3, beside an assumed 3%."""
    asked = asked_on_card(folder, gpus="1xH100")
    scatter = 0.1
    runs = measured(asked, *(1e14 * math.exp(each) for each in (-scatter, 0, scatter)))
    found = speed(runs, asked)
    assert found.scatter == pytest.approx(scatter)
    assert found.planned.best == pytest.approx(1e14)
    low, high = found.planned.interval() or (0, 0)
    width = math.hypot(0.03, 2.920 * scatter / math.sqrt(3))
    octaves = abs(math.log2(asked.plan.stage.sequence_flops / asked.plan.stage.run.seq_len  # type: ignore[operator]
                            * runs[0].spec.seq_len / _sequence(runs[0].spec)))  # fmt: skip
    width += 0.05 * octaves
    assert math.log(high / low) == pytest.approx(2 * width, rel=1e-6)


def _sequence(spec: RunSpec) -> float:
    from budgetplan.calibrate.allowance import flops_per_sequence

    return flops_per_sequence(spec)


def test_one_run_of_each_batch_is_said_to_tell_no_scatter(folder: Path) -> None:
    asked = asked_on_card(folder)
    assert any("no batch was measured twice" in note for note in verdict(asked, 1e14).notes)
    alone, thrice = (speed(measured(asked, *each), asked).planned for each in ([1e14], 3 * [1e14]))
    assert alone.bounds and thrice.bounds
    assert alone.bounds[1] / alone.best > thrice.bounds[1] / thrice.best


def test_speed_is_of_one_card_however_many_made_the_run_or_are_in_the_machine(
    folder: Path,
) -> None:
    """Two reach 2e14 together; cards of the machine that did not take part change nothing."""
    asked = asked_on_card(folder)
    eight = replace(asked.device or Device(name="", kind="cuda", memory=1), count=8)
    for processes in (1, 2):
        runs = measured(asked, processes * 1e14, processes=processes)
        assert speed(runs, replace(asked, device=eight)).planned.best == pytest.approx(1e14)


def test_memory_is_predicted_as_the_run_was_sharded(folder: Path) -> None:
    """A share of weights, gradients and moments is less than the whole: the same peak is more."""
    asked = asked_on_card(folder)
    beside = []
    for sharding in ("ddp", "fsdp"):
        runs = [replace(each, surroundings={**each.surroundings, "training":
                        {"processes": 2, "sharding": sharding}})
                for each in measured(asked, 2e14, processes=2)]  # fmt: skip
        [note] = [each for each in Throughput().verdict(asked, runs).notes if "predicted" in each]
        beside.append(float(note.rsplit("(", 1)[1].rstrip("%)")))
    assert beside[1] > beside[0]


def test_many_cards_are_never_taken_to_scale_without_saying_so(folder: Path) -> None:
    one, eight = (verdict(asked_on_card(folder, gpus=f"{n}xH100"), 1e14) for n in (1, 8))
    assert not any("scale" in note for note in one.notes)
    [note] = [note for note in eight.notes if "scale" in note]
    assert "measured on 1 card, planned on 8" in note and "not measured" in note
    low = [each.figures["mfu"].low or 0 for each in (one, eight)]
    assert low[1] == pytest.approx(0.8 * low[0])


def test_runs_on_another_machine_are_judged_by_its_card(folder: Path) -> None:
    """Made on a cluster's H100, judged where there is only a processor."""
    here = Device(name="a processor", kind="cpu", memory=1e10)
    asked = asked_on_card(folder)
    runs = measured(asked, 1e14)
    found = Throughput().verdict(replace(asked, device=here), runs)
    assert found.figures["mfu"].value == pytest.approx(1e14 / gpu("H100").peak_for("bf16"))


def test_a_cluster_without_a_card_here_is_asked_in_the_plans_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Designed on a login node: for the plan's card and in its bf16, not for this processor."""
    plan = asked_in(tmp_path, gpus="8xH100").plan
    plans.write(plan, tmp_path / "plan.yaml")
    formats = {}
    for launcher, settings in (("local", []), ("slurm", ["--set", "partition=gpu"])):
        code = main([
            "calibrate", str(tmp_path / "plan.yaml"), "--kind", "throughput", "--spend", "20%",
            "--folder", str(tmp_path / launcher), "--launcher", launcher, *settings, "--dry-run",
            "--json",
        ])  # fmt: skip
        assert code == 0
        files = json.loads(capsys.readouterr().out)["files"]
        specs = [json.loads(text) for name, text in files.items() if name.endswith("spec.json")]
        formats[launcher] = {spec.get("precision", "bf16") for spec in specs}
    assert formats == {"local": {"fp32"}, "slurm": {"bf16"}}


def test_another_card_leaves_the_plans_time_alone(folder: Path) -> None:
    asked = asked_on_card(folder)
    runs = [replace(each, surroundings={"processor": "a processor"}) for each in
            measured(asked, 1e10)]  # fmt: skip
    found = Throughput().verdict(asked, runs)
    assert not found.figures
    assert any("planned for" in note for note in found.notes)


def test_what_is_not_known_is_said(folder: Path) -> None:
    """A processor has no peak, price or power in any preset, and this plan no cards."""
    asked = replace(asked_in(folder), allowance=1e14)
    runs = [replace(each, surroundings={"processor": "a processor"}) for each in
            measured(asked, 1e10)]  # fmt: skip
    found = Throughput().verdict(asked, runs)
    assert set(found.figures) == {"gpu_hours"}
    for what in ("MFU is not known", "money is not known", "energy is not known", "no number of"):
        assert any(what in note for note in found.notes)


def test_a_card_without_a_price_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asked_in(folder)
    bare = gpu("H100").model_copy(update={"usd_per_hour": None, "power": None})
    monkeypatch.setattr("budgetplan.calibrate.device.gpu", lambda name: bare)
    runs = measured(replace(asked, allowance=1e14), 1e14)
    found = Throughput().verdict(asked, runs)
    assert set(found.figures) == {"gpu_hours"}  # nor has it a peak in fp32
    assert any("money is not known" in note for note in found.notes)
    assert any("energy is not known" in note for note in found.notes)


def test_a_fake_card_holds_so_many_sequences() -> None:
    trainer: Fake = parse("besiroglu2024,most_sequences=11")
    assert trainer.most_sequences == 11
