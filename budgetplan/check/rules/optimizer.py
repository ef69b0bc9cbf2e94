"""Checks of batch and optimizer: AdamW's settings against what the rules say of this run."""

from __future__ import annotations

from collections.abc import Iterator

from budgetplan.check.advice import advice, stretched
from budgetplan.check.checks import Said, Subject, check
from budgetplan.core.units import show
from budgetplan.rules import rules

WIDER = 2.0  # times beyond the interval of the rules before a value is worth a word
FAR = 10.0  # times beyond the tested range, where a rule is a hint
TAU = 5.0  # times either way of the best timescale
EPS = (1e-10, 1e-6)


def _adam(subject: Subject) -> bool:
    return str(subject.facts.get("optimizer", "adamw")).lower() in ("adam", "adamw")


@check(
    "BP301",
    "beta2-too-long-for-batch",
    severity="warning",
    evidence="single-paper",
    needs=("adam_beta2", "batch_tokens"),
    source=rules["porian-adam-beta2"].source,
    tested="batches of 16 to 512 sequences of 2,048 tokens, 5M to 221M parameters",
)
def beta2_off_for_batch(subject: Subject) -> Iterator[Said]:
    """beta2 fits the batch: 0.95 for large ones, 0.99 for small ones.

    Why: 0.999, the default of torch, Hugging Face and Megatron-LM, remembers a thousand steps; with
    large batches it reacts too late to a growing gradient, and losses spike. Small batches want
    more memory than 0.95: at 16 sequences it cost 0.10 nat.

    Example: `adam_beta2` not set in a Hugging Face config (0.999) at 1M tokens a batch fails; 0.95
    passes.
    """
    derived = advice(subject, "porian-adam-beta2")
    if derived is None or not _adam(subject):
        return
    value, best = subject.facts["adam_beta2"], derived.advice
    if best.accepts(value) or isinstance(best.best, str):
        return
    origin = subject.reading.origins.get("adam_beta2")
    by_default = f", the {origin.note}," if origin and origin.how == "default" else ""
    yield Said(
        field="adam_beta2",
        message=(
            f"beta2 {value:g}{by_default} is off for batches of"
            f" {show(subject.facts['batch_tokens'])} tokens"
        ),
        value=f"{value:g}",
        suggestion=f"{best.best:g}",
        outside=stretched(derived),
        fix=f"{best.best:g}",
    )


@check(
    "BP302",
    "learning-rate-off",
    severity="warning",
    evidence="replicated",
    needs=("learning_rate", "params_with_head", "params_non_embedding", "tokens"),
    source=rules["consensus-learning-rate"].source,
    tested="5M to 1.07B parameters, 0.1B to 100B tokens",
)
def learning_rate_off(subject: Subject) -> Iterator[Said]:
    """The peak learning rate lies within reach of what published rules say for this size and data.

    Why: a rate half as high costs a few permil of loss, one ten times off costs percents or the
    run.

    Example: 3e-2 for 1B parameters on 20B tokens fails; 1e-3 passes.
    """
    derived = advice(subject, "consensus-learning-rate")
    if derived is None or not _adam(subject) or _transferred(subject):
        return
    yield from _beyond(subject, "learning_rate", derived, digits="{:.3g}")


@check(
    "BP303",
    "batch-size-off",
    severity="warning",
    evidence="replicated",
    needs=("batch_tokens", "params_with_head", "tokens"),
    source=rules["consensus-batch-tokens"].source,
    tested="5M to 1.07B parameters, 0.1B to 100B tokens",
)
def batch_size_off(subject: Subject) -> Iterator[Said]:
    """The batch lies within reach of what published rules say for this size and data.

    Why: a batch far beyond the best spends tokens that smaller steps would have used better; one
    far below it leaves cards idle and needs another beta2.

    Example: 4M tokens a batch for 125M parameters on 2.5B tokens fails; 250k passes.
    """
    derived = advice(subject, "consensus-batch-tokens")
    if derived is not None:
        yield from _beyond(subject, "batch_tokens", derived, digits="")


def _beyond(subject: Subject, field: str, derived: object, *, digits: str) -> Iterator[Said]:
    from budgetplan.rules import Derived

    assert isinstance(derived, Derived)
    said, value = derived.advice, float(subject.facts[field])
    if said.low is None or said.high is None or isinstance(said.best, str):
        return
    if said.low / WIDER <= value <= said.high * WIDER:
        return

    def write(number: float) -> str:
        return digits.format(number) if digits else show(number)

    factor = value / said.best
    off = f"{factor:.1f} times above" if factor > 1 else f"{1 / factor:.1f} times below"
    yield Said(
        field=field,
        message=(
            f"{field.replace('_', ' ')} {write(value)} is {off} what published rules say for this"
            f" run ({said.note})"
        ),
        value=write(value),
        suggestion=f"{write(said.low)} to {write(said.high)}",
        outside=stretched(derived),
        severity="info" if max(derived.outside.values(), default=1.0) > FAR else None,
    )


def _transferred(subject: Subject) -> bool:
    """Whether the learning rate is of a parametrization where it does not fall with size."""
    return subject.facts.get("parametrization") not in (None, "standard")


@check(
    "BP304",
    "weight-decay-timescale",
    severity="info",
    evidence="single-paper",
    needs=("weight_decay", "learning_rate", "batch_tokens", "tokens", "params_total"),
    source=rules["power-lines-weight-decay"].source,
    tested="111M to 3.3B parameters",
)
def weight_decay_timescale(subject: Subject) -> Iterator[Said]:
    """Weight decay lets AdamW remember a good part of the run, neither all of it nor a moment.

    Why: the weights are an average of updates over tau = B / (lr wd D) of the run, whose best value
    falls with tokens per parameter: 0.22 at 20. Far below it only the last moments count; above
    one, weight decay does nothing.

    Example: lr 3e-4, weight decay 0.1, 0.5M tokens a batch, 10B tokens: tau 1.7, a finding for 500M
    parameters; with 300B tokens it is 0.06, which passes.
    """
    facts = subject.facts
    decay = facts["weight_decay"]
    derived = advice(subject, "power-lines-weight-decay")
    if derived is None or not _adam(subject) or decay <= 0 or _transferred(subject):
        return
    best = float(derived.advice.best)
    if best <= 0:  # numbers so absurd that the quotient underflows
        return
    tau = facts["batch_tokens"] / (facts["learning_rate"] * decay * facts["tokens"])
    found_best = tau * decay / best
    wanted = min(found_best, 1.0)  # of the run, which has no more
    if wanted <= 0:
        return
    if wanted / TAU <= tau <= max(wanted * TAU, 1.0):
        return
    what = "forgets all but the last moments" if tau < wanted else "does nothing in so short a run"
    yield Said(
        field="weight_decay",
        message=(
            f"weight decay {decay:g} {what}: tau = B / (lr wd D) is {tau:.2g} of the run, where"
            f" {found_best:.2g} was found best"
            + (", more than the run has" if found_best > wanted else "")
        ),
        value=f"{decay:g}",
        suggestion=f"about {tau * decay / wanted:.2g}",
        outside=stretched(derived),
    )


@check(
    "BP305",
    "no-weight-decay",
    severity="info",
    evidence="folklore",
    needs=("weight_decay",),
)
def no_weight_decay(subject: Subject) -> Iterator[Said]:
    """AdamW decays the weights.

    Why: 0.1 stands in nearly every public pretraining config; 0, the default of Hugging Face, is
    made for fine-tuning.

    Example: a Hugging Face config that does not set `weight_decay` fails; 0.1 passes.
    """
    if subject.facts["weight_decay"] == 0 and _adam(subject):
        yield Said(
            field="weight_decay", message="there is no weight decay", value="0", suggestion="0.1"
        )


@check(
    "BP306",
    "adam-epsilon-off",
    severity="info",
    evidence="folklore",
    needs=("adam_eps",),
)
def adam_epsilon_off(subject: Subject) -> Iterator[Said]:
    """Adam's epsilon is far below the size of gradients: 1e-8.

    Why: the gradients of large models are small; an epsilon near them turns AdamW into plain
    momentum for the layers where it matters, most of all the embedding.

    Example: 1e-5 is a finding; 1e-8 passes.
    """
    eps = subject.facts["adam_eps"]
    if _adam(subject) and not EPS[0] <= eps <= EPS[1]:
        yield Said(
            field="adam_eps", message=f"epsilon {eps:g} is out of the usual range",
            value=f"{eps:g}", suggestion="1e-8",
        )  # fmt: skip


@check(
    "BP307",
    "no-gradient-clipping",
    severity="warning",
    evidence="folklore",
    needs=("batch_tokens",),
)
def no_gradient_clipping(subject: Subject) -> Iterator[Said]:
    """Gradients are clipped to a global norm near one.

    Why: one bad batch in ten thousand is enough to undo a day; a norm of 1 stands in nearly every
    public pretraining config.

    Example: no clipping at all fails; 1.0 passes, 100 fails.
    """
    clip = subject.facts.get("grad_clip")
    if not _adam(subject):  # Muon's updates have one size whatever the gradient's
        return
    if clip is None or clip > 10:
        said = "gradients are not clipped" if clip is None else f"a clip of {clip:g} never clips"
        yield Said(field="grad_clip", message=said, value=str(clip), suggestion="1.0")
