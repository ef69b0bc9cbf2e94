"""Model: the reference decoder, and the user's own, as the trainer sees them.

    tokens_BS -> embedding -> layers of attention and feed-forward -> norm -> head -> logits_BSV

Names of tensors end with their shape:
    B batch   S positions   W width   F feed-forward   V vocabulary
    H query heads   K key and value heads   D width of a head   R half of it, for rotation
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from budgetplan.calibrate.user_model import exact_flops, user_model
from budgetplan.core.architecture import Architecture
from budgetplan.core.errors import BadModel

if TYPE_CHECKING:
    from budgetplan.calibrate.spec import RunSpec

ROTARY_BASE = 10_000.0  # Su et al. 2021, arXiv:2104.09864, section 3.2.2
EPS = 1e-5  # of every norm


class Decoder(nn.Module):
    """A decoder-only transformer of the shape that an Architecture describes.

    Its parameters are `Architecture.params().total`, its FLOPs those of `flops.closed_form`.

    Args:
        architecture: what to build.

    Raises:
        BadModel: the shape needs a part that the reference model does not have.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        refuse_what_is_missing(architecture)
        a = architecture
        self.architecture = a
        self.embedding = nn.Embedding(a.vocab, a.width)
        self.positions = nn.Embedding(a.position_rows, a.width) if a.position_rows else None
        self.embedding_norm = norm(a, a.width) if a.embedding_norm else nn.Identity()
        self.layers = nn.ModuleList(Layer(a) for _ in range(a.layers))
        self.norm = norm(a, a.width) if a.final_norm else nn.Identity()
        self.head = nn.Linear(a.width, a.vocab, bias=a.head_bias)
        self.initialize()
        if a.tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens_BS: Tensor) -> Tensor:
        """Return the logits of every next token, shape (batch, seq, vocab)."""
        x_BSW = self.embedding(tokens_BS)
        if self.positions is not None:
            x_BSW = x_BSW + self.positions(torch.arange(tokens_BS.shape[1], device=x_BSW.device))
        x_BSW = self.embedding_norm(x_BSW)
        turn = rotation(self.architecture, tokens_BS)
        for layer in self.layers:
            x_BSW = layer(x_BSW, turn)
        return self.head(self.norm(x_BSW))  # type: ignore[no-any-return]

    @torch.no_grad()
    def initialize(self) -> None:
        """Draw every matrix with variance 1 / fan-in, so that each product keeps its scale.

        What writes to the residual stream is smaller by sqrt(2 layers), so that the stream keeps
        its own (Radford et al. 2019, section 2.3). An embedding has the fan-in of the head that
        may share it. Biases start at zero, norms at one.
        """
        for name, module in self.named_modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                std = module.weight.shape[1] ** -0.5
                if name.endswith((".out", ".down")):
                    std /= math.sqrt(2 * self.architecture.layers)
                nn.init.normal_(module.weight, std=std)
                if isinstance(module, nn.Linear) and module.bias is not None:
                    nn.init.zeros_(module.bias)


class Layer(nn.Module):
    """Attention, then a feed-forward, each with a norm before and a residual around."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.attention_norm = norm(a, a.width)
        self.attention = Attention(a)
        self.ffn_norm = norm(a, a.width)
        self.ffn = FeedForward(a)

    def forward(self, x_BSW: Tensor, turn: tuple[Tensor, Tensor] | None) -> Tensor:
        """Return the residual stream after this layer."""
        x_BSW = x_BSW + self.attention(self.attention_norm(x_BSW), turn)
        return x_BSW + self.ffn(self.ffn_norm(x_BSW))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Causal attention; groups of query heads share a key and value head (arXiv:2305.13245)."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = a.heads, a.kv_heads, a.head_dim
        inner, shared = a.heads * a.head_dim, a.kv_heads * a.head_dim
        self.q = nn.Linear(a.width, inner, bias=a.qkv_bias)
        self.k = nn.Linear(a.width, shared, bias=a.qkv_bias)
        self.v = nn.Linear(a.width, shared, bias=a.qkv_bias)
        self.out = nn.Linear(inner, a.width, bias=a.out_bias)
        # Norms on queries and keys keep the logits of attention small at high learning rates
        # (Dehghani et al. 2023, arXiv:2302.05442, section 2).
        self.per_head = a.qk_norm == "head"
        self.q_norm: nn.Module = nn.Identity()
        self.k_norm: nn.Module = nn.Identity()
        if a.qk_norm != "none":
            self.q_norm = norm(a, a.head_dim if self.per_head else inner, bias=a.qk_norm_bias)
            self.k_norm = norm(a, a.head_dim if self.per_head else shared, bias=a.qk_norm_bias)

    def forward(self, x_BSW: Tensor, turn: tuple[Tensor, Tensor] | None) -> Tensor:
        """Return what attention adds to the residual stream."""
        B, S, _ = x_BSW.shape
        q, k = self.q(x_BSW), self.k(x_BSW)
        if not self.per_head:
            q, k = self.q_norm(q.float()), self.k_norm(k.float())
        q_BSHD = q.view(B, S, self.heads, self.head_dim)
        k_BSKD = k.view(B, S, self.kv_heads, self.head_dim)
        if self.per_head:  # before heads are moved: a norm would copy what is not in order
            q_BSHD, k_BSKD = self.q_norm(q_BSHD.float()), self.k_norm(k_BSKD.float())
        q_BHSD, k_BKSD = q_BSHD.transpose(1, 2), k_BSKD.transpose(1, 2)
        v_BKSD = self.v(x_BSW).view(B, S, self.kv_heads, self.head_dim).transpose(1, 2)
        if turn is not None:
            q_BHSD, k_BKSD = rotated(q_BHSD, turn), rotated(k_BKSD, turn)
        q_BHSD, k_BKSD = q_BHSD.to(v_BKSD.dtype), k_BKSD.to(v_BKSD.dtype)  # norms are made in fp32
        grouped = self.heads != self.kv_heads
        if grouped and not knows_groups(q_BHSD):
            groups = self.heads // self.kv_heads
            k_BKSD, v_BKSD = (x.repeat_interleave(groups, 1) for x in (k_BKSD, v_BKSD))
            grouped = False
        y_BHSD = F.scaled_dot_product_attention(
            q_BHSD, k_BKSD, v_BKSD, is_causal=True, enable_gqa=grouped
        )
        return self.out(y_BHSD.transpose(1, 2).reshape(B, S, -1))  # type: ignore[no-any-return]


def knows_groups(q_BHSD: Tensor) -> bool:
    """Whether a kernel that does not store the scores of all pairs takes grouped heads.

    Of a card's kernels flash alone does, which has no fp32 (torch's documentation of
    scaled_dot_product_attention).
    """
    return not (q_BHSD.is_cuda and q_BHSD.dtype == torch.float32)


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020, arXiv:2002.05202), or two matrices around a GELU."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.up = nn.Linear(a.width, a.ffn, bias=a.ffn_bias)
        self.gate = nn.Linear(a.width, a.ffn, bias=a.ffn_bias) if a.gated else None
        self.down = nn.Linear(a.ffn, a.width, bias=a.ffn_bias)

    def forward(self, x_BSW: Tensor) -> Tensor:
        """Return what the feed-forward adds to the residual stream."""
        h_BSF = self.up(x_BSW)
        h_BSF = F.gelu(h_BSF) if self.gate is None else F.silu(self.gate(x_BSW)) * h_BSF
        return self.down(h_BSF)  # type: ignore[no-any-return]


def norm(a: Architecture, size: int, *, bias: bool | None = None) -> nn.Module:
    """Return the architecture's norm over this width."""
    affine = a.norm_affine
    if a.norm == "rmsnorm":
        return nn.RMSNorm(size, eps=EPS, elementwise_affine=affine)
    wanted = a.norm_bias if bias is None else bias
    return nn.LayerNorm(size, eps=EPS, elementwise_affine=affine, bias=wanted is not False)


def rotation(a: Architecture, tokens_BS: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return cosines and sines of every position's angles, shape (S, R); None without rotary."""
    if a.positions != "rotary":
        return None
    place_S = torch.arange(tokens_BS.shape[1], device=tokens_BS.device, dtype=torch.float32)
    pair_R = torch.arange(0, a.head_dim, 2, device=tokens_BS.device, dtype=torch.float32)
    angle_SR = place_S[:, None] * ROTARY_BASE ** (-pair_R / a.head_dim)
    return angle_SR.cos(), angle_SR.sin()


def rotated(x_BHSD: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Return queries or keys, turned by their position: pairs are one half's and the other's."""
    cos_SR, sin_SR = turn
    left, right = x_BHSD.float().chunk(2, dim=-1)
    turned = (left * cos_SR - right * sin_SR, right * cos_SR + left * sin_SR)
    return torch.cat(turned, dim=-1).to(x_BHSD.dtype)


# --- loss -----------------------------------------------------------------------------------------


def nats(logits_BSV: Tensor, targets_BS: Tensor) -> Tensor:
    """Return the summed cross-entropy of all targets [nats]."""
    flat = logits_BSV.float().flatten(0, 1)
    return F.cross_entropy(flat, targets_BS.flatten(), reduction="sum")


def squared_log_partition(logits_BSV: Tensor) -> Tensor:
    """Return the sum over positions of (log Z)^2, which z-loss keeps small.

    Source: Chowdhery et al. 2022, arXiv:2204.02311, section 5.
    """
    return logits_BSV.float().logsumexp(-1).square().sum()


# --- what a spec asks for -------------------------------------------------------------------------


def architecture_of(spec: RunSpec) -> Architecture:
    """Return the shape that is built: the spec's, with norms on queries and keys if it asks."""
    a = spec.architecture
    return a.model_copy(update={"qk_norm": "head"}) if spec.qk_norm and a.qk_norm == "none" else a


def build(spec: RunSpec) -> nn.Module:
    """Return the model of a spec, drawn from its seed, on the CPU in fp32.

    Raises:
        BadModel: the reference decoder lacks a part of the shape, or the user's own code fails.
    """
    draw_from(spec.seed)
    if spec.factory is not None:
        return user_model(spec.factory, spec.architecture, seq_len=spec.seq_len)
    shape = architecture_of(spec)
    if shape.positions == "learned" and spec.seq_len > shape.position_rows:
        raise BadModel(
            f"the model has {shape.position_rows} learned positions, sequences have {spec.seq_len}",
            "Give shorter sequences, or rotary positions.",
        )
    return Decoder(shape)


def draw_from(seed: int) -> None:
    """Seed all generators that a model may draw by, the user's own included."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def flops_per_sequence(spec: RunSpec) -> int:
    """Return the model FLOPs of one sequence, forward and backward, counted exactly.

    By formula for the reference decoder, by a trace for the user's own model.
    """
    from budgetplan.flops import closed_form

    if spec.factory is not None:
        return exact_flops(spec.factory, spec.architecture, seq_len=spec.seq_len)
    return closed_form.flops_per_step(architecture_of(spec), seq_len=spec.seq_len)


def logits_of(output: Any, tokens_BS: Tensor, *, vocab: int = 1) -> Tensor:
    """Return the logits in what a model returned: a tensor, a tuple's first, or `.logits`.

    Raises:
        BadModel: none of them has a row of numbers for every position of every sequence, or the
            rows are shorter than the vocabulary.
    """
    found = getattr(output, "logits", output)
    if isinstance(found, (tuple, list)) and found:
        found = found[0]
    if isinstance(found, dict):
        found = found.get("logits")
    if isinstance(found, Tensor) and found.dim() == 3 and found.shape[:2] == tokens_BS.shape:
        if found.shape[2] < vocab:
            raise BadModel(
                f"the model returned {found.shape[2]:,} logits for each position, the vocabulary "
                f"has {vocab:,} tokens",
                "Let it take the vocabulary as an argument named vocab.",
            )
        return found
    shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    raise BadModel(
        f"the model returned {shape} for tokens of shape {tuple(tokens_BS.shape)}",
        "forward(tokens) must return the logits of every position, shape (batch, seq, vocab).",
    )


def refuse_what_is_missing(a: Architecture) -> None:
    """Raise BadModel for a part of the shape that the reference decoder does not have."""
    missing = {
        "a mixture of experts": a.moe is not None,
        "latent attention": a.mla is not None,
        "relative positions": a.positions == "relative",
        "a sliding window": a.sliding_window is not None,
        "attention sinks": a.attention_sinks,
        f"{a.norms_per_layer} norms per layer": a.norms_per_layer != 2,
        "rotary over an odd head": a.positions == "rotary" and a.head_dim % 2 == 1,
    }
    for what, there in missing.items():
        if there:
            raise BadModel(
                f"the reference model has no {what.removeprefix('a ').removeprefix('an ')}",
                "Calibrate with your own code: a factory model.py:NAME with width and depth.",
            )
