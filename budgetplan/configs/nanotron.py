"""nanotron: YAML of huggingface/nanotron (Apache-2.0).

The batch is sequences per rank, times accumulated micro-batches, times the data-parallel size that
the file names. Warmup and decay are counted in steps; the decay begins after the warmup unless the
file says where.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from budgetplan.configs.comments import declared
from budgetplan.configs.document import Document
from budgetplan.configs.reader import Told, readers, signs_in
from budgetplan.configs.reading import Keys, Reading

WHOSE = "nanotron"
SIGNS = (
    ("tokens", "micro_batch_size"), ("tokens", "batch_accumulation_per_replica"),
    ("tokens", "train_steps"), ("tokens", "sequence_length"), ("parallelism", "dp"),
    ("parallelism", "tp"), ("optimizer", "optimizer_factory"),
    ("optimizer", "learning_rate_scheduler"), ("model", "model_config"),
)  # fmt: skip
KNOWN = (
    "checkpoints", "data_stages", "general", "lighteval", "logging", "metrics_logging", "model",
    "optimizer", "parallelism", "profiler", "tokenizer", "tokens", "s3_upload",
)  # fmt: skip
DECAYS = {"cosine": "cosine", "linear": "linear", "1-sqrt": "linear"}
PRECISION = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


class Nanotron:
    """Reads nanotron."""

    title = "nanotron"

    def recognizes(self, document: Document) -> int:
        """Count keys of its sections of tokens, parallelism and optimizer."""
        found = signs_in(document, under="tokens", signs=SIGNS)
        return found if found >= 4 else 0

    def read(self, document: Document, told: Told) -> Reading:
        """Read model_config, batch, steps, schedule and AdamW."""
        known = (*KNOWN, *(f"{name}.*" for name in KNOWN))
        keys = Keys(document, known=known)
        micro, ranks = _batch(keys)
        _optimizer(keys)
        _schedule(keys)
        keys.put("precision", PRECISION.get(str(keys.get("model.dtype"))), "model.dtype")
        shared = (keys.whole("parallelism.tp") or 1) * (keys.whole("parallelism.pp") or 1)
        return Reading(
            document=document,
            reader="nanotron",
            run=keys.run(),
            origins=keys.origins,
            shape=_shape(keys),
            micro_batch=micro,
            ranks=ranks,
            model_parallel=shared,
            declared=declared(document, ("tokens", "train_steps")),
            remarks=(*keys.remarks, *keys.unknown()),
        )


def _shape(keys: Keys) -> dict[str, Any] | None:
    """Return the model, whose words are a config.json's."""
    said = keys.get("model.model_config")
    if not isinstance(said, Mapping):
        return None
    kind = "qwen2" if said.get("is_qwen2_config") else "llama"
    if not said.get("is_llama_config", kind == "llama") and kind == "llama":
        return None
    sizes = (
        "hidden_size", "intermediate_size", "max_position_embeddings", "num_attention_heads",
        "num_hidden_layers", "num_key_value_heads", "tie_word_embeddings", "vocab_size",
        "head_dim",
    )  # fmt: skip
    shape = {name: said[name] for name in sizes if said.get(name) is not None}
    step = (keys.whole("model.make_vocab_size_divisible_by") or 1) * (
        keys.whole("parallelism.tp") or 1
    )
    vocab = shape.get("vocab_size")
    if isinstance(vocab, int) and step > 0:
        shape["vocab_size"] = -(-vocab // step) * step
    return {"model_type": kind, **shape}


def _batch(keys: Keys) -> tuple[int, int]:
    keys.put("seq_len", keys.whole("tokens.sequence_length"), "tokens.sequence_length")
    at = "tokens.micro_batch_size"
    micro = keys.whole(at) or 1
    accumulated = keys.whole("tokens.batch_accumulation_per_replica") or 1
    ranks = keys.whole("parallelism.dp") or 1
    note = f"{micro} per rank x {accumulated} accumulated x {ranks} data-parallel ranks"
    keys.derive("batch_sequences", float(micro * accumulated * ranks), note, at)
    if "seq_len" in keys.values:
        tokens = keys.values["batch_sequences"] * keys.values["seq_len"]
        keys.derive("batch_tokens", tokens, "batch_sequences x sequence_length", at)
    steps = keys.whole("tokens.train_steps")
    keys.put("steps", steps, "tokens.train_steps")
    if steps and "batch_tokens" in keys.values:
        tokens = steps * keys.values["batch_tokens"]
        keys.derive("tokens", tokens, "train_steps x batch_tokens", "tokens.train_steps")
    return micro, ranks


def _optimizer(keys: Keys) -> None:
    factory = "optimizer.optimizer_factory"
    keys.put("optimizer", str(keys.get(f"{factory}.name", "adamW")).lower(), f"{factory}.name")
    for field, path in (
        ("learning_rate", "optimizer.learning_rate_scheduler.learning_rate"),
        ("min_learning_rate", "optimizer.learning_rate_scheduler.min_decay_lr"),
        ("adam_beta1", f"{factory}.adam_beta1"),
        ("adam_beta2", f"{factory}.adam_beta2"),
        ("adam_eps", f"{factory}.adam_eps"),
        ("weight_decay", "optimizer.weight_decay"),
        ("grad_clip", "optimizer.clip_grad"),
    ):
        keys.put(field, keys.number(path), path)


def _schedule(keys: Keys) -> None:
    stem = "optimizer.learning_rate_scheduler"
    steps, batch = keys.values.get("steps"), keys.values.get("batch_tokens")
    warmup = keys.number(f"{stem}.lr_warmup_steps") or 0.0
    start = keys.number(f"{stem}.lr_decay_starting_step")
    length = keys.number(f"{stem}.lr_decay_steps")
    kind = DECAYS.get(str(keys.get(f"{stem}.lr_decay_style", "linear")))
    late = start is not None and start > warmup
    keys.put("schedule", "wsd" if late else kind, f"{stem}.lr_decay_style")
    keys.default("schedule", "wsd" if late else kind, f"{stem}.lr_decay_style", whose=WHOSE)
    if not batch:
        return
    keys.derive("warmup_tokens", warmup * batch, f"{warmup:g} steps", f"{stem}.lr_warmup_steps")
    if length is None and steps:
        length = steps - (start if start is not None else warmup)
    if length is not None and length >= 0:
        at = f"{stem}.lr_decay_steps"
        keys.derive("decay_tokens", length * batch, f"{length:g} steps of decay", at)


readers.add("nanotron")(Nanotron())
