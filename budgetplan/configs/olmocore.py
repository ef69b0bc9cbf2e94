"""OLMo-core: the config.json that it saves with every checkpoint, and its Python recipes.

Keys as in allenai/OLMo-core (Apache-2.0): `TransformerConfig`, `TransformerTrainModuleConfig`,
`TrainerConfig`. Batches and micro-batches are counted in TOKENS, durations in tokens, steps or
epochs. Its own N leaves the embedding out and keeps the head.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from budgetplan.configs.document import Document
from budgetplan.configs.olmocore_script import dumped, is_script
from budgetplan.configs.reader import Told, readers, signs_in
from budgetplan.configs.reading import Keys, Reading
from budgetplan.core.architecture import Architecture

WHOSE = "OLMo-core"
SIGNS = (
    ("train_module", "rank_microbatch_size"), ("train_module", "optim"),
    ("train_module", "max_sequence_length"), ("train_module", "scheduler"),
    ("trainer", "max_duration"), ("trainer", "save_folder"), ("data_loader", "global_batch_size"),
    ("model", "d_model"), ("model", "block"), ("model", "n_layers"),
)  # fmt: skip
KNOWN = (
    "run_name", "launch", "model", "dataset", "data_loader", "train_module", "trainer",
    "init_seed", "backend", "tokenizer", "_CLASS_", "optim", "load_path", "load_trainer_state",
)  # fmt: skip


class OlmoCore:
    """Reads OLMo-core."""

    title = "OLMo-core"

    def recognizes(self, document: Document) -> int:
        """Count keys of its train module, its trainer and its data loader."""
        if is_script(document):
            return 3 if re.search(r"\b\w*TrainModuleConfig\b", document.text) else 0
        found = signs_in(document, under="train_module", signs=SIGNS)
        return found if found >= 3 else 0

    def read(self, document: Document, told: Told) -> Reading:
        """Read shape, batch, duration, schedule and AdamW."""
        document, remarks = dumped(document) if is_script(document) else (document, ())
        keys = Keys(document, known=(*KNOWN, *(f"{name}.*" for name in KNOWN)))
        for path in ("dataset.sequence_length", "train_module.max_sequence_length"):
            keys.put("seq_len", keys.whole(path), path)
        at = "data_loader.global_batch_size"
        keys.put("batch_tokens", keys.number(at), at, note="counted in tokens")
        _optimizer(keys)
        _length(keys)
        _shape(keys)
        z_loss = "train_module.z_loss_multiplier"
        keys.put("z_loss", keys.number(z_loss), z_loss)
        dtype = "train_module.dp_config.param_dtype"
        said = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
        keys.put("precision", said.get(str(keys.get(dtype)).rpartition(".")[2]), dtype)
        micro, seq_len = keys.whole("train_module.rank_microbatch_size"), keys.values.get("seq_len")
        return Reading(
            document=document,
            reader="olmocore",
            run=keys.run(),
            origins=keys.origins,
            micro_batch=max(micro // seq_len, 1) if micro and seq_len else None,
            ranks=told.ranks,
            remarks=(*remarks, *keys.remarks, *keys.unknown()),
        )


def _block(keys: Keys) -> str:
    """Return the path of the block that all layers share; newer configs name theirs."""
    if isinstance(keys.get("model.block"), Mapping) and not keys.has("model.block.name"):
        names = [name for name, each in keys.get("model.block").items() if isinstance(each, dict)]
        if len(names) == 1:
            return f"model.block.{names[0]}"
    return "model.block"


def _shape(keys: Keys) -> Architecture | None:
    """Return the model, or None where a part of it has no formula here."""
    width, layers = keys.whole("model.d_model"), keys.whole("model.n_layers")
    vocab, block = keys.whole("model.vocab_size"), _block(keys)
    attention = f"{block}.attention"
    if not keys.has(attention):
        attention = f"{block}.sequence_mixer"
    heads = keys.whole(f"{attention}.n_heads")
    hidden = keys.whole(f"{block}.feed_forward.hidden_size")
    name = str(keys.get(f"{block}.name", "default"))
    if not (width and layers and vocab and heads and hidden) or "moe" in name or width % heads:
        return None
    norms: Any = keys.get(f"{block}.layer_norm") or {}
    kind = str(norms.get("name", "rms")) if isinstance(norms, Mapping) else "rms"
    bias = bool(norms.get("bias", False)) if isinstance(norms, Mapping) else False
    inner = keys.has(f"{attention}.qk_norm")
    per_head = bool(keys.get(f"{attention}.use_head_qk_norm", False))
    attention_bias = bool(keys.get(f"{attention}.bias", True))
    window = _window(keys, attention, layers)
    return keys.shape(
        "model.d_model",
        layers=layers, width=width, heads=heads, vocab=vocab, ffn=hidden,
        kv_heads=keys.whole(f"{attention}.n_kv_heads") or heads,
        head_dim=keys.whole(f"{attention}.head_dim"),
        norm="layernorm" if "rms" not in kind else "rmsnorm",
        norm_bias=bias,
        qk_norm=("head" if per_head else "full") if inner else "none",
        qkv_bias=attention_bias, out_bias=attention_bias,
        ffn_bias=bool(keys.get(f"{block}.feed_forward.bias", True)),
        head_bias=bool(keys.get("model.lm_head.bias", False)),
        tied=bool(keys.get("model.tie_embeddings", False)),
        **window,
    )  # fmt: skip


def _window(keys: Keys, attention: str, layers: int) -> dict[str, Any]:
    """Return the sliding windows: a pattern over the layers, of which -1 sees everything."""
    stem = f"{attention}.sliding_window"
    pattern = keys.get(f"{stem}.pattern")
    if not isinstance(pattern, list) or not all(isinstance(each, int) for each in pattern):
        return {}
    sizes = {each for each in pattern if each > 0}
    if not pattern or len(sizes) != 1:
        return {}
    seen = [pattern[layer % len(pattern)] for layer in range(min(layers, 100_000))]
    full = {layer for layer, size in enumerate(seen) if size <= 0}
    for ends, layer in (("first", 0), ("last", layers - 1)):
        if keys.get(f"{stem}.force_full_attention_on_{ends}_layer", True):
            full.add(layer)
    return {"sliding_window": sizes.pop(), "global_layers": tuple(sorted(full))}


def _optimizer(keys: Keys) -> None:
    stem = "train_module.optim"
    kind = str(keys.get(f"{stem}._CLASS_", "AdamWConfig")).rpartition(".")[2].lower()
    name = "adamw" if "adamw" in kind else kind.removesuffix("config")
    keys.put("optimizer", name, f"{stem}._CLASS_")
    keys.default("optimizer", "adamw", f"{stem}._CLASS_", whose=WHOSE)
    betas = keys.get(f"{stem}.betas")
    if isinstance(betas, list) and len(betas) == 2:
        for place, field in enumerate(("adam_beta1", "adam_beta2")):
            path = f"{stem}.betas.{place}"
            keys.put(field, keys.number(path), path)
    for field, key, default in (
        ("learning_rate", "lr", 1e-3), ("weight_decay", "weight_decay", 1e-2),
        ("adam_eps", "eps", 1e-8),
    ):  # fmt: skip
        keys.settle(field, f"{stem}.{key}", default, whose=WHOSE)
    keys.default("adam_beta1", 0.9, f"{stem}.betas", whose=WHOSE)
    keys.default("adam_beta2", 0.999, f"{stem}.betas", whose=WHOSE)
    at = "train_module.max_grad_norm"
    keys.put("grad_clip", keys.number(at), at)


def _length(keys: Keys) -> None:
    batch = keys.values.get("batch_tokens")
    tokens = _duration(keys, "trainer.max_duration", batch)
    if tokens is None:
        return
    keys.derive("tokens", tokens, "max_duration", "trainer.max_duration")
    if batch:
        # The last step is a whole one.
        steps = -int(-tokens // batch)
        keys.derive("steps", steps, "tokens / global_batch_size", "trainer.max_duration")
    stop = _duration(keys, "trainer.hard_stop", batch)
    if stop is not None and stop < tokens:
        text = f"hard_stop ends the run at {stop / tokens:.0%} of max_duration"
        keys.remark("not-understood", "trainer.hard_stop", text)
    _schedule(keys, tokens, batch)


def _duration(keys: Keys, path: str, batch: float | None) -> float | None:
    """Return a length in tokens, or None where it is counted in epochs."""
    value, unit = keys.number(f"{path}.value"), str(keys.get(f"{path}.unit", "tokens")).lower()
    if value is None or value <= 0:
        return None
    if "token" in unit:
        return value
    if "step" in unit:
        return value * batch if batch else None
    keys.remark("not-understood", path, "the run is counted in epochs of data that is not here")
    return None


def _schedule(keys: Keys, tokens: float, batch: float | None) -> None:
    stem = "train_module.scheduler"
    kind = str(keys.get(f"{stem}._CLASS_", "")).rpartition(".")[2].lower()
    known = {"cos": "cosine", "linear": "linear", "wsd": "wsd", "constant": "constant"}
    schedule = next((shape for name, shape in known.items() if kind.startswith(name)), None)
    keys.put("schedule", schedule, f"{stem}._CLASS_")
    unit = 1.0 if "token" in str(keys.get(f"{stem}.units", "steps")).lower() else batch
    warmup, share = _amount(keys, f"{stem}.warmup")
    old = keys.number(f"{stem}.warmup_steps")
    at = f"{stem}.warmup_steps" if old is not None else f"{stem}.warmup"
    warmup = warmup if warmup is not None else old
    if share is not None:
        at, length = f"{stem}.warmup_fraction", share * tokens
    elif warmup is not None and unit:
        length = warmup * unit
    elif schedule is not None and unit and keys.has(stem):
        at, length = f"{stem}.warmup_steps", 2000 * unit if kind.startswith("cos") else 0.0
    else:
        return
    keys.derive("warmup_tokens", length, "warmup of the scheduler", at)
    if schedule in ("cosine", "linear"):
        end = keys.number(f"{stem}.t_max")
        whole = end * unit if end and unit else tokens
        if whole >= length:
            note = "from the warmup to t_max, or to the end of the run"
            keys.derive("decay_tokens", whole - length, note, f"{stem}.t_max")
    rate, floor = keys.values.get("learning_rate"), keys.number(f"{stem}.alpha_f")
    if rate is not None and floor is not None:
        keys.put("min_learning_rate", floor * rate, f"{stem}.alpha_f")


def _amount(keys: Keys, stem: str) -> tuple[float | None, float | None]:
    """Return a length of the scheduler and a share of the run, of which one may be given."""
    value = keys.number(stem) if not isinstance(keys.get(stem), Mapping) else None
    return value, keys.number(f"{stem}_fraction")


readers.add("olmocore")(OlmoCore())
