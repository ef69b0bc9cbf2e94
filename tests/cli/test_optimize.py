"""`budgetplan optimize` as people and programs meet it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from budgetplan.cli.app import main
from budgetplan.core.plan import read

Captured = pytest.CaptureFixture[str]


def shown(capsys: Captured, *words: str) -> str:
    assert main(["optimize", *words]) == 0
    return capsys.readouterr().out


def as_json(capsys: Captured, *words: str) -> dict[str, Any]:
    return json.loads(shown(capsys, *words, "--json"))  # type: ignore[no-any-return]


ASKED = [
    ["--flops", "1e21"],
    ["--flops", "1e17"],
    ["--flops", "1e30"],
    ["--gpus", "64xH100", "--time", "3d", "--compare", "--explain"],
    ["--gpu-hours", "20000", "--gpu", "A100", "--unique-tokens", "30B"],
    ["--usd", "$50000", "--gpu", "H100", "--usd-per-gpu-hour", "2.5", "--inference-tokens", "2T"],
    ["--params", "7B", "--tokens", "2T", "--gpus", "512xH100", "--law", "llama3"],
    ["--gpus", "64xH100", "--time", "3d", "--law", "porian2024_rw_tuned,besiroglu2024,llama3"],
    ["--gpus", "64xH100", "--time", "3d", "--sensitivity"],
    ["--flops", "1e21", "--sensitivity", "--params", "3B"],
    ["--gpus", "64xH100", "--time", "3d", "--sensitivity", "--law", "besiroglu2024"],
    ["--gpus", "64xH100", "--time", "3d", "--sensitivity", "--law", "llama3,porian2024_rw_tuned"],
    ["--flops", "1e22", "--iso-loss", "--unique-tokens", "30B", "--inference-tokens", "2T"],
    ["--flops", "1e22", "--vocab", "auto", "--precision", "fp8", "--gpu", "H100"],
    ["--flops", "1e24", "--gpus", "1024xH100", "--moe", "256:8:1", "--allow-unverified"],
    ["--flops", "1e24", "--law", "hoffmann2022_a3,llama3", "--unique-tokens", "1T"],
    [
        "--flops",
        "1e19",
        "--family",
        "gpt2",
        "--law",
        "besiroglu2024",
        "--mfu",
        "45%",
        "--gpu",
        "rtx 4090",
    ],
    ["--flops", "1e22", "--family", "qwen3", "--kv-heads", "8", "--seq-len", "8192", "--tied"],
    ["--flops", "1e21", "--multiple-of", "128", "--head-dim", "64", "--rules", "porian"],
]


@pytest.mark.parametrize("words", ASKED, ids=" ".join)
def test_the_plan_fits_eighty_columns(words: list[str], capsys: Captured) -> None:
    out = shown(capsys, *words)
    assert [line for line in out.splitlines() if len(line) > 80] == []
    assert "Train " in out and "…" not in out
    assert not re.search(r"\b(nan|inf|None)\b", out)


def test_the_answer_at_1e21(capsys: Captured) -> None:
    """What an expert would train: 3B or so on 50B tokens, with 30 to 40 layers of width 2,560."""
    plan = as_json(capsys, "--flops", "1e21")["plan"]
    run = plan["stages"][0]["run"]
    assert 2.4e9 < plan["figures"]["params"]["value"] < 4.2e9
    assert 12 < plan["figures"]["tokens_per_param"]["value"] < 22
    assert run["architecture"]["width"] == 2560
    assert 0.4e6 < run["batch_tokens"] < 3e6
    assert 3e-4 < run["learning_rate"] < 2e-3
    assert run["warmup_tokens"] < 0.1 * run["tokens"]
    assert run["schedule"] == "cosine"


TOP = {"plan", "smaller", "iso_loss", "served", "memory"}
PLAN = {
    "version", "made_by", "asked", "budget", "spent", "law", "laws", "stages", "figures", "notes",
}  # fmt: skip
FIGURE = {"value", "unit", "low", "high", "level", "origin", "by", "source", "outside", "note"}


def test_the_keys_that_programs_rely_on(capsys: Captured) -> None:
    found = as_json(capsys, "--gpus", "64xH100", "--time", "3d", "--compare", "--explain",
                    "--inference-tokens", "1T")  # fmt: skip
    assert set(found) == TOP | {"laws", "accountings"}
    plan = found["plan"]
    assert set(plan) == PLAN
    for figure in plan["figures"].values():
        assert set(figure) == FIGURE
    assert set(plan["figures"]) >= {
        "params", "tokens", "tokens_per_param", "flops_causal", "optimal_params", "optimal_tokens",
        "optimal_tokens_per_param", "loss", "params_within_1_permil", "rounding", "mfu",
        "gpu_hours", "time", "usd", "energy", "excess",
    }  # fmt: skip
    assert set(found["smaller"][0]) == {"extra", "params", "tokens", "params_ratio", "tokens_ratio"}
    assert set(found["iso_loss"][0]) == {"params", "tokens", "flops", "flops_ratio", "loss"}
    assert set(found["served"]) == {"params", "tokens", "flops", "lifetime_flops", "loss"}
    assert set(found["memory"]) == {
        "ranks", "micro_batch", "checkpointing", "bytes", "smallest_ranks", "problem",
    }  # fmt: skip
    row = {"name", "counting", "params", "params_draws", "tokens", "tokens_per_param", "loss",
           "outside", "reason"}  # fmt: skip
    assert all(set(each) == row for each in found["laws"])
    assert all(set(each) == row | {"words", "own_params"} for each in found["accountings"])
    assert set(found["laws"][0]["params"]) == {"best", "low", "high", "level"}


def test_every_number_of_the_run_has_an_origin(capsys: Captured) -> None:
    stage = as_json(capsys, "--flops", "1e21")["plan"]["stages"][0]
    known = {name for name, value in stage["run"].items() if value is not None}
    stated = {"seq_len", "precision", "flops", "flops_per_token", "loss", "optimizer"}
    assert known - stated <= set(stage["figures"])
    for name, figure in stage["figures"].items():
        assert figure["origin"] in ("computed", "rule", "stated"), name
        if figure["origin"] == "rule":
            assert figure["by"] and figure["source"]


def test_the_file_holds_what_the_screen_shows(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "plan.yaml"
    words = ["--flops", "1e21", "--output", str(path)]
    made = as_json(capsys, *words)["plan"]
    plan = read(path)
    assert plan.model_dump(mode="json") == made
    assert plan.stage.flops == plan.spent.value
    assert plan.stage.run.architecture is not None
    assert main(["optimize", *words]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["optimize", *words, "--force"]) == 0


def test_units_change_nothing(capsys: Captured) -> None:
    plans = [
        as_json(capsys, "--flops", text)["plan"]
        for text in ("1e21", "1 ZFLOP", "1000 EFLOPs", "1,000,000e15")
    ]
    for plan in plans:
        del plan["asked"]
    assert all(plan == plans[0] for plan in plans)


def test_a_law_without_draws_says_so(capsys: Captured) -> None:
    assert "no published uncertainty" in shown(capsys, "--flops", "1e21", "--law", "llama3")
    found = as_json(capsys, "--flops", "1e21", "--law", "llama3")
    assert found["plan"]["figures"]["optimal_params"]["low"] is None


def test_extrapolation_is_printed_with_its_factor(capsys: Captured) -> None:
    # 1e21 exact FLOPs are 8.94e20 in the law's convention, its largest budget is 2.56e19: 34.9
    assert "34.9 times the compute" in " ".join(shown(capsys, "--flops", "1e21").split())
    assert "Extrapolation" not in shown(capsys, "--flops", "1e19")


def test_more_cards_than_sequences_are_warned_of(capsys: Captured) -> None:
    out = shown(capsys, "--flops", "1e21", "--gpus", "4096xH100")
    assert "cards share batches of" in " ".join(out.split())
    assert "idle" not in shown(capsys, "--flops", "1e21", "--gpus", "64xH100")


def test_laws_that_were_only_quoted_are_marked(capsys: Captured) -> None:
    out = shown(capsys, "--flops", "1e21", "--compare", "--allow-unverified")
    assert "kaplan2020 ?" in out and "quoted by others" in out
    assert "kaplan2020" not in shown(capsys, "--flops", "1e21", "--compare")


def test_the_closest_shape_is_named_where_the_size_cannot_be_had(capsys: Captured) -> None:
    out = shown(capsys, "--flops", "1e14", "--params", "8M")
    assert "closest to 8M has 6.59M" in " ".join(out.split())
    assert "No compute-optimal size to compare with" in " ".join(out.split())


def test_serving_scarce_tokens(capsys: Captured) -> None:
    words = ["--flops", "1e22", "--inference-tokens", "1T", "--unique-tokens", "5B"]
    assert "out of reach" in shown(capsys, *words)
    assert as_json(capsys, *words)["served"] is None


def test_scarce_tokens_are_warned_of(capsys: Captured) -> None:
    out = shown(capsys, "--flops", "1e21", "--unique-tokens", "3B")
    assert "beyond 16 the law is far too hopeful" in " ".join(out.split())


def test_the_users_own_ladder(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "ladder.yaml"
    path.write_text(
        "\n".join(
            f"- {{width: {width}, layers: {layers}, heads: {width // 64}, vocab: 50432}}"
            for width, layers in ((512, 8), (768, 12), (1024, 16), (1536, 24))
        )
    )
    plan = as_json(capsys, "--flops", "1e19", "--ladder", str(path))["plan"]
    assert plan["stages"][0]["run"]["architecture"]["width"] in (768, 1024)
    assert main(["optimize", "--flops", "1e23", "--ladder", str(path)]) == 2
    assert "above the largest shape" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", "no budget"),
        ("--flops 1e21x", "1e21x"),
        ("--flops 0", "positive"),
        ("--flops -1", "positive"),
        ("--flops nan", "nan"),
        ("--flops inf", "inf"),
        ("--flops 1e50", "1e50"),
        ("--flops 1e35", "1e35"),
        ("--flops 1e13", "smallest shape"),
        ("--flops 1e21 --time 3d", "two budgets"),
        ("--flops 1e21 --rules ,", "names no family"),
        ("--params 7B --tokens 1e25", "anything that is trained"),
        ("--flops 1e21 --output same.yaml --report ./same.yaml", "are both"),
        ("--flops 1e21 --usd 5000 --gpu H100", "two budgets"),
        ("--time 3d", "--gpus 64xH100"),
        ("--gpus 64xH100", "--time"),
        ("--gpus 0xH100 --time 3d", "0"),
        ("--gpus 64xH1000 --time 3d", "H1000"),
        ("--gpus 8xH100 --gpu A100 --time 3d", "different cards"),
        ("--usd 5000", "--gpu"),
        ("--flops 1e21 --law porain2024_rw_tuned", "porian2024_rw_tuned"),
        ("--flops 1e21 --law chinchilla", "hoffmann2022_a3"),
        ("--flops 1e21 --law gadre2024_c4", "does not divide"),
        ("--flops 1e21 --law kaplan2020", "--allow-unverified"),
        ("--flops 1e21 --family lama", "llama"),
        ("--flops 1e21 --vocab 256", "vocabulary"),
        ("--flops 1e21 --params 7B --tokens 2T", "Drop one"),
        ("--flops 1e21 --gpu H100 --mfu 1.2", "--mfu"),
        ("--flops 1e21 --gpu H100 --mfu 0", "--mfu"),
        ("--flops 1e21 --mfu 0.4", "without a card"),
        ("--flops 1e21 --usd-per-gpu-hour 2", "without a card"),
        ("--flops 1e21 --ladder x.yaml --multiple-of 128", "--multiple-of"),
        ("--flops 1e21 --precision fp7", "fp7"),
        ("--gpus 8xV100 --time 3d --precision bf16", "bf16"),
        ("--flops 1e21 --rules porain", "porian"),
        ("--flops 1e21 --head-dim 100", "multiple of 8"),
        ("--flops 1e21 --ladder missing.yaml", "missing.yaml"),
        ("--flops 1e21 --ladder x.yaml --family llama", "--family"),
        ("--flops 1e21 --ladder x.yaml --vocab 32000", "--vocab"),
        ("--flops 1e21 --unique-tokens 1000", "distinct tokens"),
        ("--flops 1e21 --batch 1.5", "--batch"),
        ("--flops 1e21 --output /proc/plan.yaml", "--output"),
    ],
)
def test_what_the_user_must_fix(words: str, told: str, capsys: Captured) -> None:
    assert main(["optimize", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) <= 6  # three lines of text, wrapped at 80 columns


def test_neither_torch_nor_scipy_is_needed() -> None:
    code = (
        "import sys; from budgetplan.cli.app import main; "
        "assert main(['optimize', '--flops', '1e21', '--gpu', 'H100']) == 0; "
        "print([name for name in ('torch', 'scipy', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_mfu_assumed_in_fp8_is_that_of_fp8(capsys: Captured) -> None:
    """On H100 MosaicML measured 18 to 30% of the fp8 peak, 30 to 46% of the bf16 peak."""
    words = ["--flops", "1e21", "--gpu", "H100"]
    low = as_json(capsys, *words, "--precision", "fp8")["plan"]["figures"]["mfu"]
    assert (low["value"], low["low"], low["high"], low["origin"]) == (0.25, 0.15, 0.3, "assumed")
    plain = as_json(capsys, *words)["plan"]["figures"]["mfu"]
    assert (plain["value"], plain["low"], plain["high"]) == (0.4, 0.3, 0.5)
    stated = as_json(capsys, *words, "--mfu", "0.45")["plan"]["figures"]["mfu"]
    assert (stated["value"], stated["low"], stated["origin"]) == (0.45, None, "stated")
