"""The reference decoder and the user's own model: exact counts, and parts against torch's own."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from budgetplan.calibrate import model as models
from budgetplan.calibrate.model import (
    Decoder,
    build,
    flops_per_sequence,
    logits_of,
    nats,
    rotated,
    rotation,
    squared_log_partition,
)
from budgetplan.calibrate.spec import RunSpec
from budgetplan.calibrate.user_model import exact_flops, fingerprint, pinned, user_model
from budgetplan.core.architecture import Architecture, MoE
from budgetplan.core.errors import BadModel
from budgetplan.flops import closed_form
from budgetplan.flops.trace import building, trace

SHAPES = {
    "plain": {},
    "grouped": {"kv_heads": 2},
    "one key head": {"kv_heads": 1, "head_dim": 16},
    "tied": {"tied": True},
    "norm on each head": {"qk_norm": "head"},
    "norm on all heads": {"qk_norm": "full", "kv_heads": 2},
    "no norms' weights": {"norm_affine": False, "qk_norm": "head", "embedding_norm": True},
    "gpt-2": {
        "gated": False, "norm": "layernorm", "positions": "learned", "position_rows": 32,
        "qkv_bias": True, "out_bias": True, "ffn_bias": True, "tied": True,
    },
    "biased head, no positions": {"positions": "none", "head_bias": True, "final_norm": False},
}  # fmt: skip


def shape(**changes: object) -> Architecture:
    sizes = {"layers": 3, "width": 32, "heads": 4, "ffn": 48, "vocab": 50, "seq_len": 24}
    return Architecture.model_validate({**sizes, **changes})


def spec(**changes: object) -> RunSpec:
    known = {
        "kind": "isoflop", "architecture": shape(vocab=256), "seq_len": 24, "batch_sequences": 2,
        "steps": 2, "learning_rate": 1e-3,
    }  # fmt: skip
    return RunSpec.model_validate({**known, **changes})


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_formula_trace_and_model_agree_to_the_integer(changes: dict[str, object]) -> None:
    a = shape(**changes)
    with building():
        model = Decoder(a)
    tokens = torch.zeros(2, a.seq_len, dtype=torch.long)
    traced = trace(model, args=(tokens,), batch=2, seq_len=a.seq_len)
    formula = closed_form.count(a, batch=2)
    assert traced.total() == formula.total() == 2 * closed_form.flops_per_step(a)
    assert traced.total(useful=True) == formula.total(useful=True)
    for component in ("embedding", "body", "attention", "head"):
        assert traced.total(component=component) == formula.total(component=component)
    assert sum(each.numel() for each in Decoder(a).parameters()) == a.params().total


def test_qk_norm_of_the_spec_adds_its_weights() -> None:
    """Two norms of 8 weights, one for queries and one for keys, in each of 3 layers."""
    plain, normed = (build(spec(qk_norm=on)) for on in (False, True))
    count = [sum(each.numel() for each in model.parameters()) for model in (plain, normed)]
    assert count[1] - count[0] == 3 * 2 * 8
    assert flops_per_sequence(spec(qk_norm=True)) == flops_per_sequence(spec())


def test_the_future_is_not_seen() -> None:
    torch.manual_seed(0)
    model = Decoder(shape(kv_heads=2, qk_norm="head"))
    tokens = torch.randint(50, (1, 24))
    changed = tokens.clone()
    changed[0, 12:] = (changed[0, 12:] + 1) % 50
    before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :12], after[:, :12])
    assert not torch.allclose(before[:, 12:], after[:, 12:])


def test_rotation_turns_by_position_and_keeps_lengths() -> None:
    """A product of a turned query and key depends on how far apart they are, on nothing else."""
    a = shape(head_dim=8)
    q, k = torch.randn(2, 8, dtype=torch.float64).float()
    turn = rotation(a, torch.zeros(1, 24, dtype=torch.long))
    assert turn is not None
    queries = rotated(q.expand(1, 1, 24, 8), turn)[0, 0]
    keys = rotated(k.expand(1, 1, 24, 8), turn)[0, 0]
    products = queries @ keys.T
    for apart in (0, 1, 7):
        same = products.diagonal(-apart)
        assert torch.allclose(same, same[0].expand_as(same), atol=1e-5)
    assert torch.allclose(queries.norm(dim=-1), q.norm().expand(24), atol=1e-5)
    assert torch.allclose(queries[0], q)  # the first position is not turned
    angle = 1.0  # position 1, the fastest pair: features 0 and 4
    turned = q[0] * math.cos(angle) - q[4] * math.sin(angle)
    assert queries[1][0] == pytest.approx(float(turned), abs=1e-5)


def test_grouped_heads_are_repeated_ones() -> None:
    """Weights of one shared key head copied to all heads make the same model."""
    torch.manual_seed(0)
    grouped, full = Decoder(shape(kv_heads=1)), Decoder(shape())
    state = grouped.state_dict()
    for name, value in state.items():
        if name.endswith(("attention.k.weight", "attention.v.weight")):
            state[name] = value.repeat(4, 1)
    full.load_state_dict(state)
    tokens = torch.randint(50, (2, 24))
    assert torch.allclose(grouped(tokens), full(tokens), atol=1e-5)


def test_grouped_heads_are_repeated_where_no_kernel_knows_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    model, tokens = Decoder(shape(kv_heads=2)), torch.randint(50, (2, 24))
    found = model(tokens)
    monkeypatch.setattr(models, "knows_groups", lambda q: False)
    assert torch.allclose(model(tokens), found, atol=1e-6)


def test_an_untrained_model_knows_nothing_in_particular() -> None:
    """Logits of unit variance cost half a nat more than a uniform guess, log(50) = 3.91."""
    torch.manual_seed(1)
    model = Decoder(shape(width=64, ffn=176))
    tokens, targets = torch.randint(50, (2, 64, 24))
    loss = float(nats(model(tokens).detach(), targets)) / targets.numel()
    assert math.log(50) < loss < math.log(50) + 0.8


def test_the_loss_is_torchs_and_z_loss_is_zero_for_probabilities() -> None:
    logits, targets = torch.randn(2, 5, 7), torch.randint(7, (2, 5))
    mean = nn.CrossEntropyLoss()(logits.transpose(1, 2), targets)
    assert float(nats(logits, targets)) == pytest.approx(10 * float(mean), rel=1e-6)
    normalized = logits.log_softmax(-1)  # their partition function is 1
    assert float(squared_log_partition(normalized)) == pytest.approx(0, abs=1e-9)
    assert float(squared_log_partition(normalized + 2)) == pytest.approx(10 * 4, rel=1e-5)


def test_the_seed_decides_the_weights() -> None:
    one, same, other = (build(spec(seed=seed)).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"moe": MoE(experts=4, top_k=1, ffn=8)}, "mixture of experts"),
        ({"sliding_window": 8}, "sliding window"),
        ({"attention_sinks": True}, "attention sinks"),
        ({"norms_per_layer": 4}, "4 norms per layer"),
        ({"positions": "relative"}, "relative positions"),
    ],
)
def test_a_part_that_is_missing_is_named(changes: dict[str, object], word: str) -> None:
    with pytest.raises(BadModel, match=word):
        Decoder(shape(**changes))


def test_learned_positions_must_reach() -> None:
    a = shape(vocab=256, positions="learned", position_rows=16)
    with pytest.raises(BadModel, match="16 learned positions, sequences have 24"):
        build(spec(architecture=a))


# --- the user's own -------------------------------------------------------------------------------

OWN = """
from dataclasses import dataclass
import torch
from torch import nn

@dataclass
class Config:
    d_model: int = 8
    n_layers: int = 1
    vocab_size: int = 10

class Net(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.embed = nn.Embedding(config.vocab_size, config.d_model)
        self.layers = nn.ModuleList(
            nn.Linear(config.d_model, config.d_model) for _ in range(config.n_layers)
        )
        self.head = nn.Linear(config.d_model, config.vocab_size)

    def forward(self, tokens):
        x = self.embed(tokens)
        for layer in self.layers:
            x = x + layer(x).relu()
        return {"logits": self.head(x)}

def build(*, width, depth, vocab):
    return Net(Config(d_model=width, n_layers=depth, vocab_size=vocab))

def fixed(*, layers=2):
    return Net(Config(n_layers=layers))

def broken(*, width, depth):
    raise ValueError("no luck")

def number(*, width, depth):
    return 3

def few(*, width, depth):
    net = Net(Config(d_model=width, n_layers=depth, vocab_size=49))
    net.head = nn.Linear(width, 50)
    return net

class Short(Net):
    def __init__(self, *, width, depth, vocab):
        super().__init__(Config(d_model=width, n_layers=depth, vocab_size=vocab))
        self.places = nn.Embedding(20, width)

    def forward(self, tokens):
        self.places(torch.arange(tokens.shape[1], device=tokens.device))
        return super().forward(tokens)
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    (tmp_path / "model.py").write_text(OWN)
    return str(tmp_path / "model.py")


@pytest.mark.parametrize("name", ["build", "Net"])
def test_the_users_factory_gets_width_depth_and_vocabulary(own: str, name: str) -> None:
    """Products with weights alone: 3 layers of 32 x 32 and a head of 32 x 50, six FLOPs each."""
    model = user_model(f"{own}:{name}", shape(), seq_len=24)
    assert sum(each.numel() for each in model.parameters()) == (
        50 * 32 + 3 * (32 * 32 + 32) + 32 * 50 + 50
    )
    flops = exact_flops(f"{own}:{name}", shape(), seq_len=24)
    assert flops == 6 * 24 * (3 * 32 * 32 + 32 * 50)
    assert logits_of(model(torch.zeros(2, 5).long()), torch.zeros(2, 5)).shape == (2, 5, 50)


def test_the_example_counts_as_its_shape_does() -> None:
    path = Path(__file__).parents[2] / "examples" / "model.py"
    gpt = shape(gated=False, ffn=128)
    assert exact_flops(f"{path}:GPT", gpt, seq_len=24) == closed_form.flops_per_step(gpt)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fixed", "takes no width"),
        ("broken", "ValueError: no luck"),
        ("number", "makes a int, not an nn.Module"),
        ("Nets", "no 'Nets' in it"),
        ("few", "for token 49 in a sequence of 24"),
        ("Short", "for token 49 in a sequence of 24"),
    ],
)
def test_a_factory_that_will_not_do_is_named(own: str, name: str, words: str) -> None:
    with pytest.raises(BadModel) as told:
        user_model(f"{own}:{name}", shape(), seq_len=24)
    assert words in str(told.value)
    assert len(str(told.value).splitlines()) <= 3


def test_too_few_outputs_are_told_before_any_run(own: str) -> None:
    with pytest.raises(
        BadModel, match="50 logits for each position, the vocabulary has 51"
    ) as told:
        exact_flops(pinned(f"{own}:few"), shape(vocab=51), seq_len=24)
    assert "@" not in str(told.value)


def test_a_forward_that_fails_is_named_by_its_line(own: str) -> None:
    with Path(own).open("a") as more:
        more.write(
            "class Wrong(Net):\n    def __init__(self, *, width, depth):\n"
            "        super().__init__(Config(width, depth, 50))\n"
            "    def forward(self, tokens):\n        return tokens @ torch.ones(3, 3)\n"
        )
    with pytest.raises(BadModel, match=r"model\.py:[0-9]+: RuntimeError") as told:
        exact_flops(f"{own}:Wrong", shape(), seq_len=24)
    assert told.value.remedy.endswith("whole numbers of shape (batch, 24).")


def test_changed_code_has_another_fingerprint(own: str) -> None:
    before, name = fingerprint(f"{own}:build"), pinned(f"{own}:build")
    assert name == pinned(name) == f"{own}:build@{before}"
    assert exact_flops(name, shape(), seq_len=8) == exact_flops(f"{own}:build", shape(), seq_len=8)
    Path(own).write_text(OWN + "\n# changed\n")
    assert fingerprint(name) != before
    with pytest.raises(BadModel, match="has changed since the run was planned"):
        user_model(name, shape(), seq_len=24)


@pytest.mark.parametrize("changes", [{}, {"kv_heads": 2, "qk_norm": "head"}, {"qk_norm": "full"}])
def test_in_bf16_it_is_the_same_model(changes: dict[str, object]) -> None:
    """bf16 keeps 8 bits: a few parts in a hundred of logits of order one."""
    torch.manual_seed(0)
    model, tokens = Decoder(shape(**changes)), torch.randint(50, (2, 24))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(tokens)
    assert found.dtype == torch.bfloat16
    difference = (found.float() - model(tokens)).abs().max()
    assert 0 < float(difference.detach()) < 0.1


def test_what_is_no_logits_is_refused() -> None:
    tokens = torch.zeros(2, 5)
    assert logits_of((torch.zeros(2, 5, 7), None), tokens).shape == (2, 5, 7)
    with pytest.raises(BadModel, match=r"returned \(2, 7\) for tokens of shape \(2, 5\)"):
        logits_of(torch.zeros(2, 7), tokens)
    with pytest.raises(BadModel, match="returned float"):
        logits_of(0.5, tokens)
