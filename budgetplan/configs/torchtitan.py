"""torchtitan: the TOML of before 2026-02-23, and the JSON that the trainer dumps today.

Keys and defaults as in torchtitan/config/job_config.py and the dump of `debug.save_config_file`
(pytorch/torchtitan, BSD-3). The learning rate decays linearly right after the warmup unless
`decay_ratio` says which share of the run decays. Since 2026-08-20 batches are counted in tokens.
"""

from __future__ import annotations

from budgetplan.configs.comments import cards_needed, declared
from budgetplan.configs.document import Document
from budgetplan.configs.ranks import divided
from budgetplan.configs.reader import Told, readers, signs_in
from budgetplan.configs.reading import Keys, Reading

WHOSE = "torchtitan"
SIGNS = (
    ("training", "local_batch_size"), ("training", "seq_len"), ("training", "steps"),
    ("training", "max_norm"), ("parallelism", "data_parallel_shard_degree"),
    ("lr_scheduler", "warmup_steps"), ("model", "flavor"), ("activation_checkpoint", "mode"),
    ("job", "dump_folder"), ("model_spec", "flavor"), ("training", "max_context_length"),
    ("training", "num_tokens_per_microbatch_per_dp_rank"), ("debug", "save_config_file"),
    ("training", "num_tokens_per_train_step"), ("optimizer", "param_groups"),
)  # fmt: skip
SECTIONS = (
    "job.*", "profiling.*", "metrics.*", "model.*", "optimizer.*", "lr_scheduler.*", "training.*",
    "parallelism.*", "checkpoint.*", "compile.*", "activation_checkpoint.*", "quantize.*",
    "float8.*", "mx.*", "comm.*", "memory_estimation.*", "fault_tolerance.*", "experimental.*",
    "validation.*", "validator.*", "debug.*", "model_spec.*", "dataloader.*", "tokenizer.*",
    "loss.*", "profiler.*", "model_converters.*", "hf_assets_path", "dump_folder", "override.*",
    "compile_config.*", "transforms.*",
)  # fmt: skip
PRECISION = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


class TorchTitan:
    """Reads torchtitan."""

    title = "torchtitan"

    def recognizes(self, document: Document) -> int:
        """Count sections and keys that torchtitan alone has."""
        found = signs_in(document, under="training", signs=SIGNS)
        return found if found >= 3 else 0

    def read(self, document: Document, told: Told) -> Reading:
        """Read shape by flavor, batch from local batch and ranks, schedule and AdamW."""
        keys = Keys(document, known=SECTIONS)
        for path in ("training.seq_len", "training.max_context_length"):
            keys.put("seq_len", keys.whole(path), path)
        keys.default("seq_len", 2048, "training.seq_len", whose=WHOSE)
        _optimizer(keys)
        ranks, shared = _ranks(keys, told)
        micro = _batch_in_tokens(keys, ranks)
        if micro is None:
            micro = keys.whole("training.local_batch_size") or 8
            _batch(keys, micro, ranks)
        steps = keys.whole("training.steps")
        keys.put("steps", steps, "training.steps")
        keys.default("steps", 10000, "training.steps", whose=WHOSE)
        _schedule(keys)
        at = "training.mixed_precision_param"
        keys.put("precision", PRECISION.get(str(keys.get(at, "bfloat16"))), at)
        keys.default("precision", "bf16", at, whose=WHOSE)
        name = keys.get("model.name", "") or keys.get("model_spec.name", "")
        flavor = keys.get("model.flavor", "") or keys.get("model_spec.flavor", "")
        missing = {} if ranks else {"batch_tokens": cards_needed(document)}
        return Reading(
            document=document,
            reader="torchtitan",
            run=keys.run(),
            origins=keys.origins,
            shape_name=f"{name} {flavor}".strip() or None,
            micro_batch=micro,
            ranks=ranks,
            model_parallel=shared,
            declared=declared(document, ("training", "steps")),
            remarks=(*keys.remarks, *keys.unknown()),
            missing=missing,
        )


def _optimizer(keys: Keys) -> None:
    group = "optimizer.param_groups.0"
    stem = f"{group}.optimizer_kwargs" if keys.has(group) else "optimizer"
    named = f"{group}.optimizer_name" if keys.has(group) else "optimizer.name"
    keys.put("optimizer", str(keys.get(named, "AdamW")).lower(), named)
    keys.default("optimizer", "adamw", named, whose=WHOSE)
    betas = keys.get(f"{stem}.betas")
    if isinstance(betas, list) and len(betas) == 2:
        for place, field in enumerate(("adam_beta1", "adam_beta2")):
            path = f"{stem}.betas.{place}"
            keys.put(field, keys.number(path), path)
    for name, key, default in (
        ("learning_rate", "lr", 8e-4),
        ("adam_beta1", "beta1", 0.9),
        ("adam_beta2", "beta2", 0.95),
        ("adam_eps", "eps", 1e-8),
        ("weight_decay", "weight_decay", 0.1),
    ):
        keys.settle(name, f"{stem}.{key}", default, whose=WHOSE)
    keys.put("grad_clip", keys.number("training.max_norm"), "training.max_norm")
    keys.default("grad_clip", 1.0, "training.max_norm", whose=WHOSE)


def _ranks(keys: Keys, told: Told) -> tuple[int | None, int]:
    """Return the data-parallel ranks, from the file or from all cards, and cards per rank."""
    replicate = keys.whole("parallelism.data_parallel_replicate_degree") or 1
    shard = keys.whole("parallelism.data_parallel_shard_degree")
    keys.get("parallelism.expert_parallel_degree")  # borrows cards of the others
    ranks, shared = divided(
        keys, told.ranks,
        *(f"parallelism.{kind}_parallel_degree" for kind in ("tensor", "pipeline", "context")),
    )  # fmt: skip
    if shard is not None and shard > 0:
        return replicate * shard, shared
    return ranks, shared


def _batch_in_tokens(keys: Keys, ranks: int | None) -> int | None:
    """Set the batch of a file that counts it in tokens; return its micro-batch, or None."""
    micro_at = "training.num_tokens_per_microbatch_per_dp_rank"
    whole_at = "training.num_tokens_per_train_step"
    micro, whole = keys.whole(micro_at), keys.whole(whole_at)
    if micro is None and whole is None and not keys.has("training.max_context_length"):
        return None
    micro = micro or 16384
    if whole is not None and whole > 0:
        keys.put("batch_tokens", float(whole), whole_at)
    elif ranks:
        note = f"{micro} tokens per micro-batch x {ranks} data-parallel ranks"
        keys.derive("batch_tokens", float(micro * ranks), note, micro_at)
    return max(micro // max(int(keys.values["seq_len"]), 1), 1)


def _batch(keys: Keys, micro: int, ranks: int | None) -> None:
    whole = keys.whole("training.global_batch_size")
    if whole is not None and whole > 0:
        keys.put("batch_sequences", float(whole), "training.global_batch_size")
    elif ranks:
        keys.derive(
            "batch_sequences",
            float(micro * ranks),
            f"local_batch_size {micro} x {ranks} data-parallel ranks",
            "training.local_batch_size",
        )
    if "batch_sequences" in keys.values:
        keys.derive(
            "batch_tokens",
            keys.values["batch_sequences"] * keys.values["seq_len"],
            "batch_sequences x seq_len",
            *(("training.global_batch_size",) if whole and whole > 0 else
              ("training.local_batch_size",)),
        )  # fmt: skip


def _schedule(keys: Keys) -> None:
    warmup = keys.number("lr_scheduler.warmup_steps")
    at = "lr_scheduler.warmup_steps"
    steps, batch = keys.values["steps"], keys.values.get("batch_tokens")
    warmup = 200.0 if warmup is None else warmup
    if batch:
        note = f"warmup_steps {warmup:g} x batch_tokens"
        keys.derive("warmup_tokens", warmup * batch, note, at)
    share = keys.number("lr_scheduler.decay_ratio")
    kind = str(keys.get("lr_scheduler.decay_type", "linear"))
    path = "lr_scheduler.decay_ratio" if share is not None else "lr_scheduler.decay_type"
    shape = "wsd" if share is not None else {"linear": "linear", "cosine": "cosine"}.get(kind)
    keys.put("schedule", shape, path)
    keys.default("schedule", shape, path, whose=WHOSE)
    end = keys.whole("lr_scheduler.total_steps") or steps
    decayed = end * share if share is not None else end - warmup
    if batch and decayed >= 0:
        keys.derive("decay_tokens", decayed * batch, f"{decayed:g} steps of decay", path)
    floor = keys.number("lr_scheduler.min_lr_factor")
    rate = keys.values.get("learning_rate")
    if floor is not None and rate is not None:
        keys.put("min_learning_rate", floor * rate, "lr_scheduler.min_lr_factor")
    if batch:
        keys.derive("tokens", steps * batch, "steps x batch_tokens", "training.steps")


readers.add("torchtitan")(TorchTitan())
