"""Every check on runs that fail and runs that pass, one line a case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from budgetplan.check.checks import checks
from budgetplan.check.judge import judge
from budgetplan.configs.document import Document
from budgetplan.configs.reading import Reading
from budgetplan.core.architecture import Architecture
from budgetplan.core.run import Run

SMALL = Architecture(layers=12, width=768, heads=12, vocab=50304, seq_len=1024)
B = 1e9


def codes(
    told: dict[str, Any] | None = None, *, ranks: int | None = None, **fields: Any
) -> set[str]:
    """The codes found on a run of these fields."""
    document = Document(path=Path("run.yaml"), text="", syntax="yaml", tree={})
    reading = Reading(
        document=document, reader="test", run=Run(**fields), origins={}, ranks=ranks,
        declared={"tokens": fields.pop("declared")} if "declared" in fields else {},
    )  # fmt: skip
    return {finding.code for finding in judge(reading, told=told).findings}


CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    # code, fails, passes
    ("BP201", {"architecture": SMALL, "tokens": 10 * B, "warmup_tokens": 1.6 * B},
     {"architecture": SMALL, "tokens": 10 * B, "warmup_tokens": 0.15 * B}),
    ("BP202", {"tokens": 3.8 * B, "warmup_tokens": 1.05 * B},
     {"tokens": 3.8 * B, "warmup_tokens": 0.19 * B}),
    ("BP202", {"tokens": 80 * B, "warmup_tokens": 16.1 * B, "decay_tokens": 63.9 * B,
               "schedule": "cosine"},
     {"tokens": 80 * B, "warmup_tokens": 16.1 * B, "decay_tokens": 7968 * B,
      "schedule": "cosine"}),
    ("BP203", {"tokens": 3.8 * B, "warmup_tokens": 0.0},
     {"tokens": 3.8 * B, "warmup_tokens": 0.1 * B}),
    ("BP204", {"tokens": 10 * B, "warmup_tokens": 0.1 * B, "decay_tokens": 4.9 * B,
               "schedule": "cosine"},
     {"tokens": 10 * B, "warmup_tokens": 0.1 * B, "decay_tokens": 9.9 * B, "schedule": "cosine"}),
    ("BP204", {"tokens": 10 * B, "warmup_tokens": 0.1 * B, "decay_tokens": 29.9 * B,
               "schedule": "linear"},
     {"tokens": 10 * B, "warmup_tokens": 0.1 * B, "decay_tokens": 1 * B, "schedule": "wsd"}),
    ("BP301", {"adam_beta2": 0.999, "batch_tokens": 1e6},
     {"adam_beta2": 0.95, "batch_tokens": 1e6}),
    ("BP301", {"adam_beta2": 0.95, "batch_tokens": 32768},
     {"adam_beta2": 0.99, "batch_tokens": 32768}),
    ("BP302", {"architecture": SMALL, "tokens": 3 * B, "learning_rate": 0.1},
     {"architecture": SMALL, "tokens": 3 * B, "learning_rate": 3e-3}),
    ("BP302", {"architecture": SMALL, "tokens": 3 * B, "learning_rate": 3e-5},
     {"architecture": SMALL, "tokens": 3 * B, "learning_rate": 0.1, "parametrization": "mup"}),
    ("BP303", {"architecture": SMALL, "tokens": 2.5 * B, "batch_tokens": 8e6},
     {"architecture": SMALL, "tokens": 2.5 * B, "batch_tokens": 2.5e5}),
    ("BP304", {"params_total": 5e8, "tokens": 10 * B, "batch_tokens": 5e5, "learning_rate": 3e-4,
               "weight_decay": 0.1},
     {"params_total": 5e8, "tokens": 300 * B, "batch_tokens": 5e5, "learning_rate": 3e-4,
      "weight_decay": 0.1}),
    ("BP305", {"weight_decay": 0.0}, {"weight_decay": 0.1}),
    ("BP306", {"adam_eps": 1e-5}, {"adam_eps": 1e-8}),
    ("BP307", {"batch_tokens": 1e6}, {"batch_tokens": 1e6, "grad_clip": 1.0}),
    ("BP401", {"params_total": 8 * B, "tokens": 0.5 * B},
     {"params_total": 8 * B, "tokens": 160 * B}),
    ("BP402", {"params_total": 1.1 * B, "tokens": 3000 * B},
     {"params_total": 1.1 * B, "tokens": 22 * B}),
    ("BP403", {"tokens": 300 * B, "unique_tokens": 10 * B},
     {"tokens": 40 * B, "unique_tokens": 10 * B}),
    ("BP404", {"architecture": SMALL},
     {"architecture": Architecture(layers=80, width=8192, heads=64, vocab=32000, seq_len=2048)}),
    ("BP501", {"architecture": Architecture(layers=2, width=1000, heads=10, vocab=64)},
     {"architecture": SMALL}),
    ("BP502", {"architecture": Architecture(layers=2, width=768, heads=12, vocab=50257)},
     {"architecture": SMALL}),
    ("BP504", {"architecture": Architecture(layers=2, width=64, heads=1, vocab=64,
                                            positions="learned", position_rows=1024),
               "seq_len": 2048},
     {"architecture": SMALL, "seq_len": 2048}),
    ("BP601", {"precision": "fp16"}, {"precision": "bf16"}),
    ("BP602", {"precision": "fp32", "params_total": B}, {"precision": "bf16", "params_total": B}),
]  # fmt: skip


@pytest.mark.parametrize(("code", "fails", "passes"), CASES)
def test_fails_and_passes(code: str, fails: dict[str, Any], passes: dict[str, Any]) -> None:
    assert code in codes(**fails)
    assert code not in codes(**passes)


def test_memory_that_cannot_fit() -> None:
    # 8 billion parameters in fp32 with two moments and a gradient are 128 GB; a card has 24.
    shape = Architecture(layers=32, width=4096, heads=32, kv_heads=8, ffn=14336, vocab=128256)
    told = {"gpu": "rtx-4090"}
    assert "BP503" in codes(told, ranks=1, architecture=shape)
    assert "BP503" not in codes(told, ranks=64, architecture=shape)


def test_muon_is_not_asked_for_clipping() -> None:
    assert "BP307" in codes(batch_tokens=1e6)
    assert "BP307" not in codes(batch_tokens=1e6, optimizer="muon")


def test_over_training_that_is_meant_is_left_alone() -> None:
    run = {"params_total": 1.1 * B, "tokens": 3000 * B}
    assert "BP402" not in codes({"over_training": True}, **run)


def test_every_check_is_tried() -> None:
    elsewhere = {
        "BP101",
        "BP102",
        "BP503",
        "BP901",
        "BP902",
        "BP903",
        "BP904",
    }  # in files beside this one
    assert {code for code, _, _ in CASES} | elsewhere == set(checks)


@pytest.mark.parametrize("code", checks)
def test_documentation_says_why_and_shows_an_example(code: str) -> None:
    words = checks[code].documentation
    assert words.splitlines()[0].endswith(".") or words.split("\n\n")[0].endswith(".")
    assert "Why:" in words
    assert "Example:" in words


def test_a_check_without_its_facts_is_skipped_and_says_so() -> None:
    document = Document(path=Path("run.yaml"), text="", syntax="yaml", tree={})
    reading = Reading(document=document, reader="test", run=Run(tokens=1e9), origins={})
    skipped = {each.code: each.why for each in judge(reading).skipped}
    assert "unique_tokens" in skipped["BP403"]


def test_a_timescale_longer_than_the_run_is_told_as_the_law_has_it() -> None:
    """Power Lines: tau = 1.084 (D / N)^-0.527 is 3.6 at a tenth of a token per parameter."""
    document = Document(path=Path("run.yaml"), text="", syntax="yaml", tree={})
    run = Run(params_total=B, tokens=1e8, batch_tokens=5e3, learning_rate=0.01, weight_decay=0.5)
    reading = Reading(document=document, reader="test", run=run, origins={})
    [found] = [each for each in judge(reading).findings if each.code == "BP304"]
    law = 1.084 * 0.1**-0.527
    assert f"where {law:.2g} was found best, more than the run has" in found.message
