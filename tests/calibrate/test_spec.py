"""The name of a run: it outlives new fields, and no changed default goes unnoticed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from budgetplan.calibrate.spec import VERSION, Data, RunSpec
from budgetplan.core.architecture import MLA, Architecture, MoE

GOLDEN = Path(__file__).parent / "golden" / f"spec-{VERSION}.json"
MODELS: tuple[type[BaseModel], ...] = (RunSpec, Data, Architecture, MoE, MLA)
KNOWN: dict[str, Any] = {
    "kind": "isoflop",
    "architecture": {"layers": 2, "width": 64, "heads": 2, "vocab": 256},
    "seq_len": 64, "batch_sequences": 8, "steps": 20, "learning_rate": 1e-3,
}  # fmt: skip


def defaults() -> dict[str, dict[str, Any]]:
    """Return the default of every field that has one, by model."""
    return {
        model.__name__: {
            name: json.loads(
                json.dumps(field.get_default(call_default_factory=True), default=_plain)
            )
            for name, field in model.model_fields.items()
            if not field.is_required()
        }
        for model in MODELS
    }


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else list(value)


def test_defaults_are_those_of_the_version() -> None:
    """A default that changes renames no run but changes what it computes: VERSION must go up.

    After that, and after adding a field, write the new defaults into the golden file.
    """
    golden = json.loads(GOLDEN.read_text())
    now = defaults()
    for model, fields in golden["defaults"].items():
        for name, value in fields.items():
            assert now[model].get(name, "gone") == value, f"{model}.{name}: raise spec.VERSION"
    assert now == golden["defaults"], "a new field: add its default to the golden file"


def test_names_are_those_of_the_version() -> None:
    """Names that were given once: a store of finished runs hangs on them."""
    golden = json.loads(GOLDEN.read_text())
    assert len(golden["names"]) >= 3
    for each in golden["names"]:
        spec = RunSpec.model_validate({**KNOWN, **each["changes"]})
        assert spec.id == each["id"], f"with {each['changes']}"


class LaterData(Data):
    shuffle: bool = True


class LaterArchitecture(Architecture):
    parallel_layers: bool = False


class LaterSpec(RunSpec):
    architecture: LaterArchitecture
    data: LaterData = LaterData()
    dropout: float = 0.0


@pytest.mark.parametrize("data", [{}, {"paths": ("a.bin",), "vocab": 200}])
def test_a_new_field_with_a_default_keeps_the_name(data: dict[str, Any]) -> None:
    now = RunSpec.model_validate({**KNOWN, "data": data})
    later = LaterSpec.model_validate({**KNOWN, "data": data})
    assert later.id == now.id
    assert LaterSpec.model_validate_json(now.model_dump_json()).id == now.id  # as a store keeps it


def test_data_of_known_content_count_by_it_and_not_by_their_place() -> None:
    def named(**data: Any) -> str:
        return RunSpec.model_validate({**KNOWN, "data": data}).id

    here, there = {"paths": ["/a/x.bin"]}, {"paths": ["/b/y.bin"]}
    assert named(**here, fingerprint="1") == named(**there, fingerprint="1")
    assert named(**here, fingerprint="1") != named(**here, fingerprint="2")
    assert named(**here, fingerprint="1") != named(**here, fingerprint="1", format="uint16")
    assert named(**here) != named(**there)  # of unknown content
    code = [RunSpec.model_validate({**KNOWN, "factory": f"{folder}model.py:build{pin}"}).id
            for pin in ("@12", "@34", "") for folder in ("/a/", "b/")]  # fmt: skip
    assert code[0] == code[1] != code[2] == code[3]
    assert code[4] != code[5]


@pytest.mark.parametrize(
    "change",
    [
        {"dropout": 0.1},
        {"data": {"shuffle": False}},
        {"architecture": {**KNOWN["architecture"], "parallel_layers": True}},
    ],
)
def test_a_new_field_that_says_something_is_another_run(change: dict[str, Any]) -> None:
    assert LaterSpec.model_validate({**KNOWN, **change}).id != RunSpec.model_validate(KNOWN).id


def test_what_is_written_out_is_the_same_as_its_default() -> None:
    short = RunSpec.model_validate(KNOWN)
    whole = RunSpec.model_validate(json.loads(short.model_dump_json()))
    named = {**KNOWN["architecture"], "kv_heads": 2, "name": "tiny", "notes": ("a note",)}
    assert whole.id == RunSpec.model_validate({**KNOWN, "architecture": named}).id == short.id


def test_every_field_that_computes_is_in_the_name() -> None:
    """Each field set to another value than its default is another run."""
    other: dict[str, Any] = {
        "factory": "model.py:build", "qk_norm": True, "data": {"paths": ["x"]},
        "min_learning_rate": 1e-4, "schedule": "cosine", "warmup_tokens": 512.0,
        "decay_tokens": 512.0, "adam_beta1": 0.8, "adam_beta2": 0.99, "adam_eps": 1e-6,
        "weight_decay": 0.2, "grad_clip": None, "z_loss": 1e-4, "precision": "fp32", "seed": 1,
        "evaluate_at": [3], "evaluation_tokens": 640,
    }  # fmt: skip
    optional = {name for name, field in RunSpec.model_fields.items() if not field.is_required()}
    assert optional - {"version"} == set(other)
    names = {RunSpec.model_validate({**KNOWN, name: value}).id for name, value in other.items()}
    assert len(names | {RunSpec.model_validate(KNOWN).id}) == len(other) + 1
