"""Spec: everything that decides what a calibration run computes, and the name that follows from it.

Two runs with the same spec are the same run, so a finished one is never made again. What does not
change the result (where it runs, how it is shown) is no part of a spec.

The name is a hash of the version and of what differs from the defaults, so a new field whose
default means "as before" renames no run. A default or a meaning that changes is another version.
Data and code of known content count by that: files that were moved are the same.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from budgetplan.core.architecture import Architecture
from budgetplan.core.budget import Precision
from budgetplan.core.run import Schedule

VERSION: Literal[2] = 2  # of the meaning of a spec and of its defaults
LABELS: dict[str, set[str]] = {"architecture": {"name", "notes", "source"}}  # compute nothing
Positive = Annotated[float, Field(gt=0)]
Whole = Annotated[int, Field(gt=0)]


class Data(BaseModel):
    """Where tokens come from. `paths` empty: the source text of Python's own standard library."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paths: tuple[str, ...] = ()
    format: str = "auto"  # a reader's name, or recognized by content
    tokenizer: str = "bytes"  # bytes, none (the files hold tokens), or a tokenizer.json
    vocab: Whole = 256
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.02  # share held out, by whole blocks
    fingerprint: str = ""  # of content and tokenizer, so that changed data is another run


class RunSpec(BaseModel):
    """One training run of the reference model or of the user's own factory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[2] = VERSION
    kind: Literal["throughput", "isoflop", "hyperparameters"]
    architecture: Architecture
    factory: str | None = None  # model.py:name; None: the reference decoder
    qk_norm: bool = False
    data: Data = Data()
    seq_len: Whole
    batch_sequences: Whole  # per optimizer step, over all ranks and accumulation
    steps: Whole
    learning_rate: Positive
    min_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    schedule: Schedule = "constant"
    warmup_tokens: Annotated[float, Field(ge=0)] = 0.0
    decay_tokens: Annotated[float, Field(ge=0)] = 0.0  # of linear and wsd
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    adam_eps: Positive = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    grad_clip: Positive | None = 1.0
    z_loss: Annotated[float, Field(ge=0)] = 0.0
    precision: Precision = "bf16"
    seed: int = 0
    evaluate_at: tuple[Whole, ...] = ()  # steps after which the held-out loss is measured
    evaluation_tokens: Whole = 65536  # held-out tokens of each measurement

    @model_validator(mode="after")
    def _consistent(self) -> RunSpec:
        if self.warmup_tokens + self.decay_tokens > self.tokens:
            raise ValueError("warmup and decay are longer than the run")
        if any(step > self.steps for step in self.evaluate_at):
            raise ValueError("evaluate_at names a step after the last")
        if self.architecture.vocab < self.data.vocab:
            raise ValueError("the vocabulary is smaller than the data's")
        return self

    @property
    def batch_tokens(self) -> int:
        """Tokens of one optimizer step."""
        return self.batch_sequences * self.seq_len

    @property
    def tokens(self) -> int:
        """Tokens of the whole run."""
        return self.steps * self.batch_tokens

    @property
    def id(self) -> str:
        """Name of the run: a hash of what it computes, the same on every machine."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:16]

    def canonical(self) -> str:
        """Return what the name is a hash of: JSON of the version and of all but defaults."""
        where = {"data": {"paths", "tokenizer"}} if self.data.fingerprint else {}  # the content is
        told = self.model_dump(mode="json", exclude_defaults=True, exclude=LABELS | where)
        if self.factory and "@" in self.factory:  # and so is the code
            told["factory"] = PurePath(self.factory).name
        return json.dumps({**told, "version": self.version}, sort_keys=True, separators=(",", ":"))
