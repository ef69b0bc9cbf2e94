"""User model: a factory in the user's own file, built at the width and depth of a plan.

The factory (or class, or one that takes a config) must accept a width and a depth, under any of the
names that people use; vocabulary, heads, feed-forward width and sequence length are given where it
has a name for them, and stay its own where not.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from budgetplan.core.architecture import Architecture
from budgetplan.core.errors import BadModel
from budgetplan.flops.loading import candidates, user_code
from budgetplan.flops.loading.construct import accepted, construct
from budgetplan.flops.loading.target import resolve

NAMES = {
    "width": ("width", "d_model", "n_embd", "dim", "hidden_size", "embed_dim", "model_dim"),
    "depth": ("depth", "layers", "n_layer", "n_layers", "num_layers", "num_hidden_layers"),
    "vocab": ("vocab", "vocab_size", "n_vocab", "num_tokens"),
    "heads": ("heads", "n_head", "n_heads", "num_heads", "num_attention_heads"),
    "kv_heads": ("kv_heads", "n_kv_head", "n_kv_heads", "num_kv_heads", "num_key_value_heads"),
    "ffn": ("ffn", "d_ff", "ffn_dim", "intermediate_size", "hidden_dim"),
    "seq_len": ("seq_len", "block_size", "max_seq_len", "context_length", "n_positions", "n_ctx",
                "max_position_embeddings", "sequence_length"),
}  # fmt: skip
"""What we know of a shape, and the arguments by which people's code asks for it."""
NEEDED = ("width", "depth")
TRIED = 1e11  # FLOPs of a pass to the CPU before training
PIN = "@"  # between a factory and the hash of its file


def user_model(factory: str, architecture: Architecture, *, seq_len: int) -> nn.Module:
    """Return the user's model of this shape, with real parameters on the CPU.

    Args:
        factory: `model.py:build`, or an importable `package.module:name`.
        architecture: gives width, depth, and where it asks vocabulary, heads and the rest.
        seq_len: tokens of a sequence.

    Raises:
        BadModel: it cannot be imported or built, takes no width or depth, or makes no module.
    """
    bare = factory.partition(PIN)[0]
    with _found(factory) as (make, module), user_code.naming_the_line("building", where=bare):
        model = _built(make, module, architecture, factory=bare, seq_len=seq_len)
        refuse_few_embeddings(model, architecture.vocab, seq_len=seq_len, factory=bare)
    return model


@torch.no_grad()
def refuse_few_embeddings(model: nn.Module, vocab: int, *, seq_len: int, factory: str) -> None:
    """Raise BadModel if the model has no embedding for the last token or the last position.

    Tried on the CPU, where it is an error that can be read: on a card it ends the process. Of a
    large model the last token alone is tried, as this takes a second for every 1e11 FLOPs or so.
    Other errors are left to training, since a model may need a card.
    """
    params = sum(each.numel() for each in model.parameters())
    length = seq_len if 2 * params * seq_len < TRIED else 1
    tokens = torch.full((1, length), vocab - 1)
    model.eval()
    try:
        model(tokens)
    except IndexError as error:
        raise BadModel(
            f"{factory}: {error}, for token {vocab - 1:,} in a sequence of {length:,}",
            "Let it take vocab and seq_len as arguments, or have so many embeddings itself.",
        ) from error
    except Exception:
        return
    finally:
        model.train()


def exact_flops(factory: str, architecture: Architecture, *, seq_len: int) -> int:
    """Return the FLOPs of one sequence, forward and backward, by a trace without memory.

    Raises:
        BadModel: it cannot be built, or cannot run on shapes alone.
        Uncounted: it uses an operator that has no formula.
    """
    return _traced(factory, architecture, seq_len=seq_len, code=fingerprint(factory))


@functools.lru_cache(maxsize=64)
def _traced(factory: str, architecture: Architecture, *, seq_len: int, code: str) -> int:
    """Return the traced FLOPs; `code` makes changed code another call."""
    from budgetplan.calibrate.model import logits_of
    from budgetplan.flops.trace import building, trace

    bare = factory.partition(PIN)[0]
    tokens = torch.zeros(1, seq_len, dtype=torch.long)

    def loss(output: Any) -> Tensor:
        return logits_of(output, tokens, vocab=architecture.vocab).sum()

    with _found(factory) as (make, module):
        with user_code.naming_the_line("building", where=bare), building():
            model = _built(make, module, architecture, factory=bare, seq_len=seq_len)
        try:
            with user_code.naming_the_line("running", where=bare):
                counted = trace(model.to("meta"), args=(tokens,), loss=loss, batch=1,
                                seq_len=seq_len, target=bare)  # fmt: skip
        except BadModel as error:
            if "--input" not in error.remedy:
                raise
            raise BadModel(
                error.problem,
                f"It is called as forward(tokens), with whole numbers of shape (batch, {seq_len}).",
            ) from error
    return counted.total()


def fingerprint(factory: str) -> str:
    """Return a hash of the factory's file, so that changed code is another run.

    Files that it imports are not part of it: their change is not seen.
    """
    target = resolve(factory.partition(PIN)[0])
    if target.path is None:
        return ""
    return hashlib.sha256(target.path.read_bytes()).hexdigest()[:16]


def pinned(factory: str) -> str:
    """Return the factory as a spec should name it: `model.py:build@HASH` of its file.

    A run of other code then has another name, and is refused where the file has changed since.
    """
    bare = factory.partition(PIN)[0]
    code = fingerprint(bare)
    return f"{bare}{PIN}{code}" if code else bare


@contextmanager
def _found(factory: str) -> Iterator[tuple[Callable[..., Any], ModuleType]]:
    """Within this, the user's file is imported, and what makes the model is at hand."""
    import importlib

    bare, _, code = factory.partition(PIN)
    if code and fingerprint(bare) != code:
        raise BadModel(
            f"{bare} has changed since the run was planned", "Plan again, or put the old file back."
        )
    target = resolve(bare)
    if target.kind not in ("file", "module"):
        raise BadModel(f"{bare}: a {target.kind} is no code", "Write it like model.py:build.")
    tree = user_code.parse(target.path) if target.path else None
    folders = user_code.folders_of(target.path, tree) if target.path and tree else ()
    with user_code.at_arms_length(*folders):
        with user_code.naming_the_line("importing", where=bare):
            if target.path and tree:
                module, _ = user_code.load_file(target.path, tree)
            else:
                module = importlib.import_module(target.module)
        name = target.name
        if not name:
            assert tree is not None  # a module is always named with its object
            name = candidates.find(module, tree, target=bare, construct=True)
        yield user_code.get(module, name, target=bare), module


def _built(
    make: Any, module: ModuleType, architecture: Architecture, *, factory: str, seq_len: int
) -> nn.Module:
    if isinstance(make, nn.Module) or not callable(make):
        raise BadModel(
            f"{factory} is a {type(make).__name__}, whose width and depth cannot be chosen",
            "Name a class or a function that takes width and depth.",
        )
    known = accepted(make, module=module, target=factory)
    sizes = {"depth": architecture.layers, "seq_len": seq_len}
    values: dict[str, str] = {}
    for what, names in NAMES.items():
        name = next((each for each in names if each in known), None)
        if name is not None:
            values[name] = str(sizes.get(what) or getattr(architecture, what))
        elif what in NEEDED:
            raise BadModel(
                f"{factory} takes no {what}: none of its arguments is {', '.join(names)}",
                f"Add an argument, as def build(*, width, depth). It takes: {_list(known)}.",
            )
    model = construct(make, values, module=module, target=factory)
    if not isinstance(model, nn.Module):
        raise BadModel(f"{factory} makes a {type(model).__name__}, not an nn.Module")
    return model


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names)[:8]) or "nothing"
