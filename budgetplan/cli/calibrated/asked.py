"""The options of `calibrate`, read: the plan, its shapes, the data, and what may be spent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from budgetplan.core import units
from budgetplan.core.errors import BadValue, UnknownName

if TYPE_CHECKING:
    from budgetplan.calibrate.kinds.kind import Asked
    from budgetplan.calibrate.spec import Data
    from budgetplan.core.plan import Plan

ACTIONS = ("status", "resume", "retry", "collect", "export", "cancel")
SHARES = {"throughput": 1.0, "hyperparameters": 5.0, "isoflop": 14.0}
"""How an allowance is divided among kinds that are asked for together."""
KEPT = ("kind", "spend", "data", "data_format", "tokenizer", "factory", "qk_norm", "precision",
        "seed", "trainer", "launcher", "launch", "sink", "gpu_hours")  # fmt: skip
"""Options that decide which runs are made, and how: a campaign keeps them."""
MADE = frozenset({"spend", "gpu_hours", "launcher", "launch", "sink", "yes", "output", "force"})
EFFECTIVE = {
    "status": frozenset[str](),
    "resume": MADE | {"dry_run"},
    "retry": MADE,
    "collect": frozenset({"kind", "output", "force"}),
    "export": frozenset({"kind", "output", "force"}),
    "cancel": frozenset[str](),
}
"""Options that an action obeys, beside --folder and --json; what decides the runs is decided."""
PLANS = (".yaml", ".yml")
NAMES = {"data_format": "--format", "launch": "--set", "as_json": "--json"}


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The options as written, and those that need no other to be read."""

    target: str | None
    kinds: tuple[str, ...]
    options: Mapping[str, Any]
    folder: Path
    output: Path | None
    as_json: bool
    given: frozenset[str] = frozenset()  # options that were written, of runs and their folder

    def __getitem__(self, name: str) -> Any:
        return self.options[name]


def wish(options: Mapping[str, Any], *, given: frozenset[str]) -> Wish:
    """Return the options, checked as far as that is possible without a plan.

    Args:
        options: of the command, by name.
        given: names of those that were written, and not left at their default.

    Raises:
        BadValue: neither a plan nor an action nor --demo, or two of them; or an option was given
            that would have no effect.
        UnknownName: an unknown kind.
    """
    options = with_shards(options)
    target = options["target"]
    if target is None and not options["demo"]:
        raise BadValue(
            "no plan given",
            "Make one: budgetplan optimize --output plan.yaml; or try --demo.",
        )
    if target is not None and options["demo"]:
        raise BadValue(f"--demo makes its own plan, {target} is another", "Keep one of them.")
    is_word = target is not None and target not in ACTIONS and not Path(target).suffix
    if target is not None and is_word and not Path(target).exists():
        raise UnknownName("action", target, ACTIONS)
    refuse_without_effect(target, given, demo=options["demo"])
    return Wish(
        target=target,
        kinds=kinds_of(options["kind"]),
        options=options,
        folder=folder_of(options, given=given),
        output=options["output"],
        as_json=options["as_json"],
        given=given & {*KEPT, *MADE, "folder"},
    )


def with_shards(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options with the files that a shell made of `--data tokens/*.bin` among the data.

    All but the first of them stand there as words of their own. Without a plan by its ending, the
    first word is the plan.
    """
    words = [word for word in (options["target"], *(options["place"] or ())) if word is not None]
    if not options["data"] or not words or words[0] in ACTIONS:
        return options
    plans = [word for word in words if Path(word).suffix.lower() in PLANS]
    if not plans and not options["demo"]:
        plans = words[:1]
    shards = [word for word in words if word not in plans and Path(word).exists()]
    others = [*plans, *(word for word in words if word not in plans and word not in shards)]
    return {
        **options,
        "data": [*options["data"], *shards],
        "target": others[0] if others else None,
        "place": others[1:] or None,
    }


def refuse_without_effect(target: str | None, given: frozenset[str], *, demo: bool) -> None:
    """Raise BadValue if an option was given that nothing would obey."""
    if target in ACTIONS:
        idle = given - EFFECTIVE[target] - {"target", "place", "folder", "as_json"}
        remedy = "Leave it out."
        if target in ("resume", "retry"):
            remedy = "The calibration keeps what it began with; for other runs begin another one."
        what = f"calibrate {target}"
    else:
        idle = given & {"kind", "tokenizer"} if demo else frozenset[str]()
        what, remedy = "--demo", "Leave it out: the demo has a kind and a tokenizer of its own."
    if idle:
        name = min(idle)
        written = NAMES.get(name, f"--{name.replace('_', '-')}")
        raise BadValue(f"{written} has no effect on {what}", remedy)


def folder_of(options: Mapping[str, Any], *, given: frozenset[str]) -> Path:
    """Return the folder of the runs: named after an action, or by --folder.

    Raises:
        BadValue: words that are no folder, or two folders.
    """
    words = list(options["place"] or ())
    if options["target"] == "export" and words[:1] == ["csv"]:  # the only format there is
        words = words[1:]
    if not words:
        return Path(options["folder"])
    if options["target"] not in ACTIONS:
        raise BadValue(f"{words[0]}: one plan at a time", "The folder of the runs is --folder.")
    if len(words) > 1 and options["target"] == "export":
        raise UnknownName("format", words[0], ["csv"])
    if len(words) > 1 or "folder" in given:
        raise BadValue(f"{words[-1]}: two folders are named", "Name one.")
    return Path(words[0])


def kinds_of(text: str) -> tuple[str, ...]:
    """Return the kinds in the order in which they are made."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    for name in names:
        if name not in SHARES:
            raise UnknownName("kind of calibration", name, SHARES)
    if not names:
        raise BadValue("--kind names nothing", f"Say {', '.join(SHARES)}.")
    return tuple(name for name in SHARES if name in names)


def allowance(text: str, plan: Plan) -> float:
    """Return what all runs together may spend [FLOPs]: a share of the budget, or FLOPs.

    Raises:
        BadValue: not a share of one and no FLOPs, or more than the budget.
    """
    budget = float(plan.budget.value)
    if text.strip().endswith("%"):
        share = units.quantity(text.strip()[:-1], what="--spend", examples="2% or 1e18")
        found = budget * share / 100
    else:
        found = units.flops(text, what="--spend")
    if found > budget:
        raise BadValue(
            f"--spend {text} is more than the budget of {units.show(budget)} FLOPs",
            "Write a share of it, as 2%.",
        )
    return found


def told(options: Mapping[str, Any], plan: Plan, *, speed: float | None = None) -> Asked:
    """Return what every kind is told, the whole allowance still undivided.

    Raises:
        UserError: data, device or precision cannot be used.
    """
    from budgetplan.calibrate.device import here
    from budgetplan.calibrate.device import planned as planned_device
    from budgetplan.calibrate.kinds.kind import Asked
    from budgetplan.cli.optimized.asked import question
    from budgetplan.plan.question import ladder_for

    device = here()
    if options.get("launcher") == "slurm" and device.kind == "cpu":  # this only hands the runs out
        device = planned_device(plan) or device
    planned = question({name.replace("-", "_"): value for name, value in plan.asked.items()})
    data, tokens = corpus(options, plan)
    return Asked(
        plan=plan,
        ladder=ladder_for(planned),
        allowance=allowance(options["spend"], plan),
        data=data,
        device=device,
        precision=precision(options, plan, cuda=device.kind == "cuda"),
        qk_norm=options["qk_norm"],
        factory=code(options["factory"]),
        seed=options["seed"],
        speed=speed,
        rules=planned.rules,
        unique_tokens=tokens,
    )


def code(factory: str | None) -> str | None:
    """Return the user's factory with the hash of its file, so that changed code is another run."""
    if factory is None:
        return None
    from budgetplan.calibrate.user_model import pinned

    return pinned(rooted(factory))


def precision(options: Mapping[str, Any], plan: Plan, *, cuda: bool) -> Any:
    """Return the number format: stated, else the plan's on a card and fp32 without one."""
    from typing import get_args

    from budgetplan.core.budget import Precision

    stated = options["precision"]
    if stated is not None and stated not in get_args(Precision):
        raise UnknownName("precision", stated, get_args(Precision))
    if stated is not None:
        return stated
    return (plan.stage.run.precision or "bf16") if cuda else "fp32"


def corpus(options: Mapping[str, Any], plan: Plan) -> tuple[Data, float]:
    """Return the data with the hash of their content, and their training tokens.

    Raises:
        BadValue: bytes for a plan of another vocabulary, unless they were asked for.
    """
    from budgetplan.calibrate.data import open_corpus
    from budgetplan.calibrate.kept import telling
    from budgetplan.calibrate.spec import Data
    from budgetplan.cli.screen import warn

    shape = plan.stage.run.architecture
    assert shape is not None
    stated = options["tokenizer"]
    paths = tuple(options["data"] or ())
    bare = Data(paths=paths, format=options["data_format"], vocab=shape.vocab,
                tokenizer=stated or ("bytes" if shape.vocab <= 512 else "none"))  # fmt: skip
    if not paths and stated is None and shape.vocab > 512:
        raise BadValue(
            f"no --data given, and the plan's tokens are of a vocabulary of {shape.vocab:,}",
            "Give --data tokens/*.bin, or text and --tokenizer tokenizer.json (or bytes); speed"
            f" alone needs only --data 'synthetic:zipf?vocab={shape.vocab}&tokens=10M'.",
        )
    with telling(warn):
        found = open_corpus(bare)
    known = found.fingerprint
    lasting = {"fingerprint": known, "paths": tuple(rooted(each) for each in paths),
               "tokenizer": rooted(bare.tokenizer)}  # fmt: skip
    return bare.model_copy(update=lasting), found.tokens * (1 - bare.validation)


def kept(wish: Wish) -> dict[str, Any]:
    """Return the options that a campaign keeps; files by their whole path, to go on anywhere."""
    found = {name: wish[name] for name in KEPT if wish[name] is not None}
    for name in ("tokenizer", "factory"):
        if name in found:
            found[name] = rooted(found[name])
    if "data" in found:
        found["data"] = [rooted(each) for each in found["data"]]
    return found


def rooted(name: str) -> str:
    """Return a file, pattern or model.py:NAME by its whole path; what names no file as it is."""
    from budgetplan.calibrate.data import is_generated

    file, colon, rest = name.partition(".py:")
    if name in ("bytes", "none") or is_generated(Path(name)) or (":" in name and not colon):
        return name
    return os.path.abspath(Path(file).expanduser()) + colon + rest  # noqa: PTH100  # of patterns
