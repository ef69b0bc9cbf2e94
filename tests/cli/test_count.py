"""`budgetplan count`: what it prints for people and programs, and how it ends."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from budgetplan.cli.app import main
from budgetplan.cli.counted.programs import as_dict
from budgetplan.core import presets
from budgetplan.flops import load, modules

MODELS = Path(__file__).parents[1] / "flops" / "user_models"
GPT = str(MODELS / "gpt" / "model.py")
LLAMA = str(MODELS / "llama" / "model.py")


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["count", *words])
    out, err = capsys.readouterr()
    return code, out, err


def run_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    code, out, err = run(capsys, *words, "--json")
    assert code == 0, err
    result: dict[str, Any] = json.loads(out)
    return result


# --- people ---------------------------------------------------------------------------------------


def test_names_that_look_like_markup_are_shown_as_they_are(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = tmp_path / "model.py"
    model.write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.arms = nn.ModuleDict({'[/x]': nn.Linear(8, 8), ':zap:': nn.Linear(8, 8)})\n"
        "    def forward(self, x):\n"
        "        return self.arms[':zap:'](self.arms['[/x]'](x))\n"
    )
    code, out, _ = run(capsys, str(model), "--show", "modules")
    assert code == 0
    rows = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert rows[-2:] == ["[/x]", ":zap:"]


@pytest.mark.parametrize(
    "words",
    [
        ("llama-3-8b", "--show", "all", "--depth", "4", "--gpu", "H100"),
        ("deepseek-v3", "--show", "all", "--checkpointing", "full"),
        (GPT, "--show", "all"),
        ("gpt2", "--no-backward"),
    ],
)
def test_everything_fits_in_eighty_columns(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert [line for line in out.splitlines() if len(line) > 80] == []


def test_the_first_lines_are_the_exact_totals(capsys: pytest.CaptureFixture[str]) -> None:
    """GPT-2 at 1,024 tokens, by hand: 12 blocks of 12 d^2 and a head of 50257 d, d = 768."""
    pairs = 12 * 4 * 768 * 1024**2
    weights = 2 * 1024 * (12 * 12 * 768**2 + 50257 * 768)
    _, out, _ = run(capsys, "gpt2")
    assert f"{3 * (weights + pairs):,} FLOPs dense" in out
    causal = 12 * 4 * 768 * 1024 * 1025 // 2
    assert f"{3 * (weights + causal):,} FLOPs causal" in out


def test_identical_layers_stand_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "gemma-3-1b", "--show", "modules", "--seq-len", "4096")
    rows = [line for line in out.splitlines() if "layers." in line]
    assert len(rows) == 2, rows  # those with a window, and those that see everything


def test_recomputation_stands_apart(capsys: pytest.CaptureFixture[str]) -> None:
    _, plain, _ = run(capsys, "gpt2", "--show", "parts")
    _, again, _ = run(capsys, "gpt2", "--show", "parts", "--checkpointing", "full")
    assert "hardware FLOPs" not in plain
    assert "hardware FLOPs" in again
    assert plain.splitlines()[2] == again.splitlines()[2]  # model FLOPs are the same


def test_sections_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "gpt2", "--show", "params")
    assert "Parameters" in out
    for other in ("One step", "Modules", "Conventions", "Memory"):
        assert other not in out
    code, _, err = run(capsys, "gpt2", "--show", "parms")
    assert code == 2
    assert "Did you mean params" in err


def test_what_the_file_prints_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    code = main(["count", GPT, "--json"])
    out, err = capfd.readouterr()
    assert code == 0
    assert json.loads(out)["title"] == "GPT in model.py"
    assert "parameters" in err


# --- programs -------------------------------------------------------------------------------------


def numbers(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in numbers(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in numbers(item)]
    return [value]


@pytest.mark.parametrize("target", ["gpt2", "mixtral-8x7b", GPT])
def test_parts_families_and_modules_add_up(capsys: pytest.CaptureFixture[str], target: str) -> None:
    result = run_json(capsys, target)
    total = result["flops"]["total"]
    assert isinstance(total, int)
    for key in ("forward", "backward", "total", "useful"):
        assert sum(part[key] for part in result["parts"].values()) == result["flops"][key]
    assert sum(result["families"].values()) == total
    root = result["modules"][0]
    assert root["forward"] + root["backward"] == total
    assert root["params"] == result["params"]["total"]
    children = [node for node in result["modules"] if node["depth"] == 1]
    own = total - sum(node["forward"] + node["backward"] for node in children)
    assert own >= 0
    assert result["flops"]["per_step"] == total
    assert result["flops"]["per_token"] * result["step"]["tokens"] == pytest.approx(
        total, rel=1e-12
    )


def test_the_keys_are_those_of_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    result = run_json(capsys, "mixtral-8x7b", "--gpu", "H100")
    main(["count", "--help"])
    shown = capsys.readouterr().out
    keys = set(result) | set(result["flops"]) | set(result["params"]) | set(result["step"])
    keys |= set(result["modules"][0]) | set(result["conventions"][0]) | set(result["memory"])
    assert {key for key in keys if key not in shown and key != "checkpointing"} == set()


def test_conventions_are_ratios_to_the_count(capsys: pytest.CaptureFixture[str]) -> None:
    """Porian with the head: 6 (12 L d^2 + V d) of GPT-2's 857 MFLOPs per token."""
    result = run_json(capsys, "gpt2")
    porian = next(each for each in result["conventions"] if each["name"] == "porian")
    assert porian["flops_per_token"] == 6 * (12 * 12 * 768**2 + 50257 * 768)
    ratio = porian["flops_per_token"] / result["flops"]["per_token"]
    assert porian["of_dense"] == pytest.approx(ratio, rel=1e-12)


def test_without_backward_no_memory_of_training_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_json(capsys, "gpt2", "--no-backward")["memory"] is None
    assert "Memory" not in run(capsys, "gpt2", "--no-backward", "--show", "all")[1]
    for words in (("--gpu", "H100"), ("--show", "memory")):
        code, out, err = run(capsys, "gpt2", "--no-backward", *words)
        assert (code, out) == (2, "")
        assert "leaves training out" in err


def test_without_backward_no_convention_about_training_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_json(capsys, "gpt2", "--no-backward")["conventions"] == []


@pytest.mark.parametrize("name", presets.names("models"))
def test_every_preset_counts(name: str) -> None:
    answer = load.count(load.Request(target=name))
    result = as_dict(answer, None, None, depth=2)
    assert result["flops"]["total"] > 0
    root = modules.tree(answer.count)
    assert root.total == answer.count.total()
    assert not any(isinstance(n, float) and not math.isfinite(n) for n in numbers(result))


# --- ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("gpt2", "--batch", "0"), "--batch: '0' must be positive"),
        (("gpt2", "--batch", "-1"), "--batch: '-1'"),
        (("gpt2", "--batch", "2.5"), "must be a whole number"),
        (("gpt2", "--seq-len", "1e21x"), "'x' in '1e21x'"),
        (("llama-3-8b", "--seq-len", "1e21"), "too large"),
        (("llama-3-8b", "--batch", "1e15"), "beyond any real step"),
        (("gpt2", "--seq-len", "2048"), "1024 learned positions"),
        (("gpt2", "--gpu", "H1000"), "unknown card 'H1000'"),
        (("gpt2", "--optimizer", "adamm"), "unknown optimizer 'adamm'"),
        (("gpt2", "--checkpointing", "some"), "unknown checkpointing 'some'"),
        (("gpt2", "--ranks", "0"), "--ranks"),
        (("gpt2", "--depth", "-1"), "depth"),
        (("gpt2", "--trace"), "a preset has no code"),
        (("nosuch.py",), "no such file"),
        ((GPT, "--set", "nlayer=3"), "Did you mean n_layer"),
        ((GPT, "--seq-len", "4k"), "exceeds the model's table of 128"),
        ((LLAMA,), "--set vocab_size=24"),
        ((GPT, "--dtype", "bf17"), "no tensor type"),
        ((GPT, "--register", "nosuch.py"), "no such file"),
    ],
)
def test_mistakes_end_with_two_and_say_what_to_do(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], shown: str
) -> None:
    code, out, err = run(capsys, *words)
    assert code == 2
    assert out == ""
    assert shown in " ".join(err.split())
    told = [line for line in err.splitlines() if not line.endswith(" parameters")]
    assert len(told) <= 3
    assert "Traceback" not in err


UNKNOWN = """
import torch
from torch import nn

@torch.library.custom_op("count_test::mix", mutates_args=())
def mix(x: torch.Tensor) -> torch.Tensor:
    return x @ x.T

@mix.register_fake
def _(x):
    return x.new_empty(x.shape[0], x.shape[0])

class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)
    def forward(self, x):
        return mix(self.layer(x))
"""


def test_an_operator_without_a_formula(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mixer.py"
    path.write_text(UNKNOWN)
    code, out, err = run(capsys, str(path), "--no-backward")
    assert (code, out) == (2, "")
    assert "count_test.mix" in err.replace("::", ".")
    assert "mixer.py:18" in err
    result = run_json(capsys, str(path), "--no-backward", "--allow-uncounted")
    assert result["flops"]["total"] == 2 * 8 * 8
    assert len(result["uncounted"]) == 1


FORMULA = """
from budgetplan.flops.ops import register_formula

@register_formula("count_test::mix")
def mix(x, *, out):
    return 2 * x.shape[0] ** 2 * x.shape[1]
"""


def test_a_formula_from_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The operator's name is new, so that other tests do not know the formula."""
    model, formula = tmp_path / "mixer.py", tmp_path / "formulas.py"
    model.write_text(UNKNOWN.replace("count_test", "count_test_registered"))
    formula.write_text(FORMULA.replace("count_test", "count_test_registered"))
    result = run_json(
        capsys, str(model), "--no-backward", "--batch", "3", "--register", str(formula)
    )
    assert result["flops"]["total"] == 2 * 3 * 8 * 8 + 2 * 3**2 * 8
    assert result["families"]["custom"] == 2 * 3**2 * 8


def test_traceback_on_demand(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text("def deep():\n    raise KeyError('where')\ndeep()\n")
    code, _, err = run(capsys, str(path))
    assert code == 2
    assert "model.py:2: KeyError" in err
    assert "Traceback" not in err
    code, _, err = run(capsys, str(path), "--traceback")
    assert code == 2
    assert "Traceback" in err
    assert "in deep" in err


def loaded_by(*words: str) -> set[str]:
    """The heavy packages that a command loads, in a process of its own."""
    script = (
        "import sys\n"
        "from budgetplan.cli.app import main\n"
        f"code = main({['count', *words]!r})\n"
        "heavy = ('torch', 'transformers', 'scipy', 'numpy')\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stderr.splitlines()[-1].replace("'", '"'))
    return set(found)


@pytest.mark.parametrize("words", [("llama-3-8b",), ("deepseek-v3", "--json", "--gpu", "H100")])
def test_a_preset_needs_nothing_heavy(words: tuple[str, ...]) -> None:
    assert loaded_by(*words) == set()


def test_plain_torch_needs_torch_alone() -> None:
    assert loaded_by(GPT) <= {"torch", "numpy"}


def test_a_missing_torch_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "torch" else find(name, *a)
    )
    code, _, err = run(capsys, GPT)
    assert code == 2
    assert "pip install 'budgetplan[torch]'" in err


def test_a_whole_run_on_a_card_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    """Llama 3 8B: 474,422,087,516,160 FLOPs a sequence of 8,192, of 989.4 TFLOP/s at 40%."""
    options = ["--tokens", "15T", "--gpu", "H100", "--mfu", "40%", "--json"]
    assert main(["count", "llama-3-8b", *options]) == 0
    run = json.loads(capsys.readouterr().out)["run"]
    flops = 474_422_087_516_160 / 8192 * 15e12
    assert run["flops"] == pytest.approx(flops, rel=1e-12)
    hours = flops / (989.4e12 * 0.4) / 3600
    assert run["gpu_hours"]["value"] == pytest.approx(hours, rel=1e-3)
    assert run["gpu_hours"]["low"] is None  # a stated MFU has no interval
    assert run["energy"]["value"] == pytest.approx(hours * 3600 * 700 * 1.58, rel=1e-3)


def test_an_assumed_mfu_has_an_interval_and_half_of_it_takes_twice_as_long(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = []
    for mfu in ([], ["--mfu", "0.4"], ["--mfu", "20%"]):
        assert main(["count", "gpt2", "--tokens", "9B", "--gpu", "A100", *mfu, "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["run"]["gpu_hours"])
    assumed, stated, half = found
    assert assumed["low"] < assumed["value"] < assumed["high"]
    assert half["value"] == pytest.approx(2 * stated["value"])
    assert main(["count", "gpt2", "--tokens", "9B", "--gpu", "A100", "--show", "parts"]) == 0
    assert "Training on 9B tokens" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--mfu", "40%"], "--mfu turns the FLOPs of a run"),
        (["--tokens", "1B", "--mfu", "40%"], "Add --tokens 15T and --gpu"),
        (["--tokens", "1B", "--no-backward"], "--no-backward leaves training out"),
        (["--tokens", "1B", "--gpu", "A100", "--mfu", "300%"], "more than the card can do"),
        (["--tokens", "-3"], "--tokens"),
    ],
)
def test_options_of_a_whole_run_that_would_do_nothing(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["count", "gpt2", *options]) == 2
    assert said in capsys.readouterr().err
