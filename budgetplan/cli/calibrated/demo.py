"""The demo: a real calibration of a tiny plan, on any machine, in some minutes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from budgetplan.cli.calibrated.asked import Wish
from budgetplan.cli.screen import console

if TYPE_CHECKING:
    from budgetplan.core.plan import Plan

BUDGET = 5e13  # [FLOPs]
SPEND = "10%"
LAW = "nanochat2026"  # a law that names no vocabulary, so that bytes may be planned with it
FOLDER = "calibration-demo"
SEQ_LEN, VOCAB = 128, 256
SHAPES = ((24, 2, 2), (32, 2, 2), (40, 2, 2), (48, 2, 3), (56, 3, 4), (72, 3, 4), (88, 3, 4),
          (112, 4, 4), (144, 4, 4), (192, 5, 6), (256, 6, 8), (320, 8, 10), (448, 10, 14),
          (640, 12, 20), (896, 16, 28))  # fmt: skip
"""Width, layers, heads."""
WORDS = (
    "Demo: a plan of {flops} FLOPs for a model of bytes, checked by real training runs of tiny\n"
    "models on this machine. The text is the source of Python's standard library. The models\n"
    "are a thousand times smaller than those behind any published law: what is shown is how a\n"
    "calibration goes, not what a language model needs."
)


def prepared(wish: Wish, *, home: Path | None = None) -> tuple[Wish, Plan]:
    """Return the demo's options and its plan, made as any plan is.

    Args:
        wish: the options as written.
        home: where the ladder's file is written; None: the folder of the runs.
    """
    from budgetplan.calibrate.durable import told
    from budgetplan.cli.optimized.asked import question
    from budgetplan.core.units import show
    from budgetplan.plan.optimize import optimize

    console(stderr=True).print(WORDS.format(flops=show(BUDGET)), highlight=False)
    folder = wish.folder if "folder" in wish.given else Path(FOLDER)
    path = (home or folder) / "ladder.yaml"
    with told(path, doing="write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(ladder(), encoding="utf-8")
    plan = optimize(question({"flops": f"{BUDGET:g}", "law": LAW, "ladder": str(path.absolute())}))
    options = {**wish.options, "kind": "isoflop", "tokenizer": "bytes"}
    if "spend" not in wish.given:
        options["spend"] = SPEND
    options["launch"] = wish["launch"] or (["workers=2"] if wish["launcher"] == "local" else [])
    return dataclasses.replace(wish, options=options, kinds=("isoflop",), folder=folder), plan


def ladder() -> str:
    """Return the text of the demo's ladder file."""
    lines = ["# Shapes of the demo: bytes, short sequences."]
    for width, layers, heads in SHAPES:
        ffn = 8 * round(width / 3)
        lines.append(
            f"- {{width: {width}, layers: {layers}, heads: {heads}, ffn: {ffn}, vocab: {VOCAB},"
            f" seq_len: {SEQ_LEN}, name: bytes-{width}x{layers}}}"
        )
    return "\n".join(lines) + "\n"
