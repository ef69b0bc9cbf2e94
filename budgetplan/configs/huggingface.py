"""Hugging Face: flat YAML or JSON of TrainingArguments, and the recipes of TRL and LLaMA-Factory.

Keys and defaults as in transformers 5.23, `TrainingArguments`. The batch is per device and the
number of devices is not in the file; beta2 is 0.999 and weight decay 0 unless the file says
otherwise; the learning rate decays linearly to the end. `warmup_steps` below one is a share.
"""

from __future__ import annotations

from collections.abc import Mapping

from budgetplan.configs.beside import model_config
from budgetplan.configs.comments import cards_needed, declared
from budgetplan.configs.document import Document
from budgetplan.configs.known import known_keys
from budgetplan.configs.reader import Told, readers
from budgetplan.configs.reading import Keys, Reading, Stage

WHOSE = "transformers.TrainingArguments"
SIGNS = (
    "per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "max_steps",
    "lr_scheduler_type", "warmup_ratio", "warmup_steps", "output_dir", "finetuning_type",
    "cutoff_len", "model_name_or_path", "max_grad_norm", "adam_beta2", "logging_steps",
    "gradient_checkpointing", "learning_rate", "save_steps", "bf16",
)  # fmt: skip
OURS = ("per_device_train_batch_size", "lr_scheduler_type", "num_train_epochs", "finetuning_type")
SCHEDULES = {
    "linear": "linear",
    "cosine": "cosine",
    "cosine_with_min_lr": "cosine",
    "constant": "constant",
    "constant_with_warmup": "constant",
    "warmup_stable_decay": "wsd",
}


class HuggingFace:
    """Reads TrainingArguments and what wraps them."""

    title = "Hugging Face Trainer, TRL, LLaMA-Factory"

    def recognizes(self, document: Document) -> int:
        """Count flat keys of TrainingArguments."""
        tree = document.tree
        if document.syntax == "python" or not isinstance(tree, Mapping):
            return 0
        found = sum(key in tree for key in SIGNS)
        return found if found >= 3 and any(key in tree for key in OURS) else 0

    def read(self, document: Document, told: Told) -> Reading:
        """Read batch, length, schedule and AdamW; the shape from config.json beside the file."""
        keys = Keys(document, known=known_keys("huggingface"))
        shape, name = model_config(document, keys, "model_name_or_path")
        _seq_len(keys)
        micro = keys.whole("per_device_train_batch_size") or 8
        _batch(keys, micro, told.ranks)
        _length(keys)
        _optimizer(keys)
        _schedule(keys)
        for key, precision in (("bf16", "bf16"), ("fp16", "fp16")):
            if keys.get(key) is True:
                keys.put("precision", precision, key)
        return Reading(
            document=document,
            reader="huggingface",
            run=keys.run(),
            origins=keys.origins,
            stage=_stage(keys),
            shape=shape,
            shape_name=name,
            micro_batch=micro,
            ranks=told.ranks,
            declared=declared(document, ("max_steps",)),
            remarks=(*keys.remarks, *keys.unknown()),
            missing=_missing(keys, told),
        )


def _stage(keys: Keys) -> Stage:
    """Return what is trained: `stage: pt` pretrains, adapters and chat templates fine-tune."""
    if keys.get("stage") == "pt" and keys.get("finetuning_type", "full") == "full":
        return "pretraining"
    tuned = ("stage", "finetuning_type", "use_peft", "chat_template", "template", "lora_r",
             "dataset_mixture", "dataset_mixer", "packing", "max_prompt_length")  # fmt: skip
    if any(keys.has(key) for key in tuned):
        return "fine-tuning"
    if keys.get("train_from_scratch") is True:
        return "pretraining"
    return "unknown"


def _seq_len(keys: Keys) -> None:
    for key in ("cutoff_len", "max_length", "max_seq_length", "block_size"):
        keys.put("seq_len", keys.whole(key), key)


def _batch(keys: Keys, micro: int, ranks: int | None) -> None:
    at = "per_device_train_batch_size"
    accumulation = keys.whole("gradient_accumulation_steps") or 1
    if not ranks:
        return
    note = f"{micro} per device x {accumulation} accumulated x {ranks} devices"
    keys.derive("batch_sequences", float(micro * accumulation * ranks), note, at)
    if "seq_len" in keys.values:
        tokens = keys.values["batch_sequences"] * keys.values["seq_len"]
        keys.derive("batch_tokens", tokens, "batch_sequences x the sequence length", at)


def _length(keys: Keys) -> None:
    steps = keys.whole("max_steps")
    if steps is not None and steps > 0:
        keys.put("steps", steps, "max_steps")
        batch = keys.values.get("batch_tokens")
        if batch:
            keys.derive("tokens", steps * batch, "max_steps x batch_tokens", "max_steps")
    keys.number("num_train_epochs")


def _optimizer(keys: Keys) -> None:
    optimizer = str(keys.get("optim", "adamw_torch_fused"))
    name = "adamw" if "adamw" in optimizer else optimizer
    keys.put("optimizer", name, "optim")
    keys.default("optimizer", name, "optim", whose=WHOSE)
    for field, key, default in (
        ("learning_rate", "learning_rate", 5e-5),
        ("adam_beta1", "adam_beta1", 0.9),
        ("adam_beta2", "adam_beta2", 0.999),
        ("adam_eps", "adam_epsilon", 1e-8),
        ("weight_decay", "weight_decay", 0.0),
        ("grad_clip", "max_grad_norm", 1.0),
    ):
        keys.settle(field, key, default, whose=WHOSE)


def _schedule(keys: Keys) -> None:
    kind = str(keys.get("lr_scheduler_type", "linear"))
    schedule = SCHEDULES.get(kind)
    if schedule is None:
        keys.remark("not-understood", "lr_scheduler_type", f"schedule {kind} is not understood")
    keys.put("schedule", schedule, "lr_scheduler_type")
    keys.default("schedule", schedule, "lr_scheduler_type", whose=WHOSE)
    rate = keys.values["learning_rate"]
    if isinstance(keys.get("lr_scheduler_kwargs"), Mapping):
        share = keys.number("lr_scheduler_kwargs.min_lr_rate")
        floor = keys.number("lr_scheduler_kwargs.min_lr")
        at = "lr_scheduler_kwargs"
        keys.put("min_learning_rate", share * rate if share is not None else floor, at)
    steps, batch = keys.values.get("steps"), keys.values.get("batch_tokens")
    warmup, at = _warmup_steps(keys, steps)
    if warmup and steps and warmup >= steps:  # known without the batch, which only a trainer knows
        text = f"the warmup of {warmup:g} steps outlasts the run of {steps:,}"
        keys.remark("contradiction", at, text, instead="a shorter warmup")
    if warmup is None or batch is None:
        return
    keys.derive("warmup_tokens", warmup * batch, f"{warmup:g} steps x batch_tokens", at)
    length = _kwarg(keys, "num_decay_steps") if schedule == "wsd" else None
    if length is not None:
        keys.derive("decay_tokens", length * batch, "num_decay_steps", "lr_scheduler_kwargs")
    if steps and schedule in ("linear", "cosine") and steps >= warmup:
        note = "from the warmup to the end of the run"
        keys.derive("decay_tokens", (steps - warmup) * batch, note, "max_steps")


def _kwarg(keys: Keys, name: str) -> float | None:
    """Return a number among the arguments of the schedule, or None."""
    inside = isinstance(keys.get("lr_scheduler_kwargs"), Mapping)
    return keys.number(f"lr_scheduler_kwargs.{name}") if inside else None


def _warmup_steps(keys: Keys, steps: int | None) -> tuple[float | None, str]:
    """Return the warmup in optimizer steps, and the key that says so."""
    given, ratio = keys.number("warmup_steps"), keys.number("warmup_ratio")
    if given and ratio:
        keys.remark(
            "contradiction",
            "warmup_ratio",
            "warmup_steps and warmup_ratio both say how long the warmup is; the steps win",
            instead="keep one",
        )
    if ratio is not None and not given:
        keys.remark(
            "not-understood",
            "warmup_ratio",
            "warmup_ratio was removed from transformers 5",
            instead=f"warmup_steps: {ratio:g}",
        )
        return (None if steps is None else ratio * steps), "warmup_ratio"
    if given is not None and 0 < given < 1:
        return (None if steps is None else given * steps), "warmup_steps"
    return (given or 0.0), "warmup_steps"


def _missing(keys: Keys, told: Told) -> dict[str, str]:
    missing = {}
    if not told.ranks:
        missing["batch_tokens"] = cards_needed(keys.document)
    if "seq_len" not in keys.values:
        missing["seq_len"] = "the file does not say how long sequences are"
    if "steps" not in keys.values:
        missing["steps"] = "the run is counted in epochs of data that the file does not measure"
    return missing


readers.add("huggingface")(HuggingFace())
