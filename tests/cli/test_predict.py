"""`budgetplan predict` from the command line."""

from __future__ import annotations

import json

import pytest

from budgetplan.cli.app import main

Captured = pytest.CaptureFixture[str]


def asked(capsys: Captured, *words: str) -> dict[str, object]:
    assert main(["predict", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def test_chinchilla_at_its_own_point(capsys: Captured) -> None:
    # 1.6934 + 406.4 e^(-.3392 x 24.972) + 410.7 e^(-.2849 x 27.967)
    # = 1.6934 + 0.0852 + 0.1423 (Hoffmann et al. 2022, equation 10, unrounded coefficients).
    answer = asked(capsys, "--params", "70B", "--tokens", "1.4T", "--law", "hoffmann2022_a3")
    (law,) = answer["laws"]  # type: ignore[misc]
    assert law["loss"]["best"] == pytest.approx(1.9209, abs=2e-4)
    assert law["loss"]["low"] is None


def test_laws_with_draws_have_an_interval(capsys: Captured) -> None:
    answer = asked(capsys, "llama-3-8b", "--tokens", "1T", "--law", "besiroglu2024")
    (law,) = answer["laws"]  # type: ignore[misc]
    assert law["loss"]["low"] < law["loss"]["best"] < law["loss"]["high"]
    assert law["params"] == 8_030_261_248
    assert law["outside"]["flops"] == pytest.approx(6 * 8.03e9 * 1e12 / 1.3e22, rel=0.01)


def test_repetition_costs(capsys: Captured) -> None:
    words = ("--params", "2.8B", "--tokens", "55B", "--law", "muennighoff2023_c4")
    fresh, repeated = (
        asked(capsys, *words, "--unique-tokens", unique)["laws"][0]["loss"]["best"]  # type: ignore[index]
        for unique in ("55B", "1.25B")
    )
    assert repeated > fresh + 0.05


def test_counts_that_had_to_be_assumed_are_said(capsys: Captured) -> None:
    answer = asked(
        capsys, "--params", "1B", "--params-counting", "kaplan", "--tokens", "20B",
        "--law", "besiroglu2024",
    )  # fmt: skip
    assert any("No shape given" in line for line in answer["assumptions"])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--params", "1B"], "no tokens"),
        (["--tokens", "1B"], "no model given"),
        (["--params", "1B", "--tokens", "1e21x"], "1e21x"),
        (["--params", "1B", "--tokens", "20B", "--law", "besiroglu"], "besiroglu2024"),
        (["--params", "1B", "--tokens", "20B", "--law", ","], "names no law"),
        (["--params", "1B", "--tokens", "20B", "--law", "llama3"], "only the best size"),
        (["--params", "1B", "--tokens", "20B", "--unique-tokens", "30B"], "exceeds"),
        (["--params", "1B", "--tokens", "20B", "--unique-tokens", "1B", "--law", "besiroglu2024"],
         "knows nothing of repeated"),
        (["--params", "-1B", "--tokens", "20B"], "positive"),
        (["--params", "1B", "--tokens", "20B", "--law", ""], "names no law"),
        (["--params", "1B", "--tokens", "20"], "magnitude forgotten"),
        (["gpt2", "--tokens", "20B", "--params-counting", "kaplan"], "no effect on a TARGET"),
    ],
)  # fmt: skip
def test_mistakes_are_named(words: list[str], said: str, capsys: Captured) -> None:
    assert main(["predict", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in " ".join(err.split())


def test_the_screen_fits(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["predict", "gpt2", "--tokens", "10B"]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if len(line) > 80] == []
    assert "Predicted loss" in out


def test_every_direction_beyond_the_runs_is_on_the_screen(capsys: Captured) -> None:
    # Kaplan et al. trained up to 1.5B parameters: 70B is 46 times as much, though no compute of
    # theirs is stated. Gadre et al. trained up to 6.89B on up to 461B tokens.
    words = ["--params", "70B", "--tokens", "1.4T", "--law", "kaplan2020_joint,gadre2024_rw"]
    assert main(["predict", *words]) == 0
    kaplan, gadre = (
        line for line in capsys.readouterr().out.splitlines() if line.startswith(("kap", "gad"))
    )
    assert kaplan.rstrip().endswith("N 46x")
    assert gadre.rstrip().endswith("N 10x, D 3x")


def test_what_is_known_against_a_law_is_said(capsys: Captured) -> None:
    answer = asked(capsys, "gpt2", "--tokens", "100B", "--unique-tokens", "1B")
    (law,) = answer["laws"]  # type: ignore[misc]
    assert any("8 to 10% too low" in note for note in law["notes"])
    assert any(note.startswith("100 epochs: beyond 16") for note in law["notes"])
