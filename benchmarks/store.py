"""How calibration grows: 10,000 fake runs of five losses through store, status, collect and fit.

    python -m benchmarks.store [runs ...]

Each number of runs has a folder of its own. Seconds are of CPU; the last columns say what a run
costs against the number before, so that 1.00 is linear. Commands are run as one types them.
"""

from __future__ import annotations

import itertools
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from budgetplan.calibrate.collect import as_csv, outcomes
from budgetplan.calibrate.fake import Fake
from budgetplan.calibrate.kinds.isoflop import IsoFlop
from budgetplan.calibrate.spec import RunSpec
from budgetplan.calibrate.store import Store
from budgetplan.calibrate.watch import Watch
from budgetplan.calibrate.work import work
from budgetplan.core.architecture import Architecture
from tests.calibrate.plans import asked_in


def specs(count: int) -> list[RunSpec]:
    """Return so many runs of 12 sizes and 21 lengths, each with 5 milestones."""
    shapes = [Architecture(layers=2 + each, width=64 * (1 + each), heads=1 + each, vocab=256)
              for each in range(12)]  # fmt: skip
    found = []
    for seed in range(count):
        steps = 20 + seed // 12 % 21
        found.append(
            RunSpec(kind="isoflop", architecture=shapes[seed % 12], seq_len=256,
                    batch_sequences=512, steps=steps, learning_rate=1e-3, seed=seed,
                    evaluate_at=tuple(steps * part // 5 for part in range(1, 6)))
        )  # fmt: skip
    return found


def truth(spec: RunSpec, tokens: float) -> float:
    """Return a loss that falls with size and tokens."""
    size = float(spec.architecture.params(seq_len=spec.seq_len).total)
    return float(1.7 + 480 / size**0.35 / 10 + 2000 / tokens**0.37 / 10)


def timed(make: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU-seconds that it takes here, and what it returns."""
    began = time.process_time()
    made = make()
    return time.process_time() - began, made


def typed(*words: str | Path) -> float:
    """Return the CPU-seconds of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "budgetplan", *map(str, words)]
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(count: int, folder: Path) -> dict[str, float]:
    """Return the seconds of every part for so many runs."""
    store, wanted, table = Store(folder / "runs"), specs(count), folder / "runs.csv"
    seconds: dict[str, float] = {}
    seconds["add"], runs = timed(lambda: [store.add(spec) for spec in wanted])
    maker = Fake(truth=truth, noise=0.003, record_every=5, save_every=1000)
    seconds["work"], _ = timed(lambda: work(runs, trainer=maker))
    seconds["work again"], _ = timed(lambda: work(list(store.runs()), trainer=maker))
    seconds["states"], states = timed(store.states)
    assert list(states.values()) == ["finished"] * count
    seconds["first look"], _ = timed(lambda: Watch(list(store.runs())).look())
    seconds["collect"], ended = timed(lambda: outcomes(store))
    seconds["as CSV"], _ = timed(lambda: as_csv(ended))
    asked = asked_in(folder)
    seconds["verdict"], found = timed(lambda: IsoFlop().verdict(asked, ended))
    assert f"{5 * count} losses" in found.headline
    seconds["$ status"] = typed("calibrate", "status", "--folder", store.folder)
    seconds["$ collect"] = typed("calibrate", "collect", "--folder", store.folder, "-o", table)
    seconds["$ fit"] = typed("fit", table)
    return seconds


def main() -> None:
    """Print a table of seconds, a column for each number of runs, and how a run's cost grows."""
    sizes = [int(word) for word in sys.argv[1:]] or [1000, 3000, 10000]
    table = {}
    for count in sizes:
        with tempfile.TemporaryDirectory() as folder:
            table[count] = measure(count, Path(folder))
    print("CPU-seconds".ljust(12) + "".join(f"{count:>10,}" for count in sizes) + "   per run")
    for part in table[sizes[0]]:
        row = [table[count][part] for count in sizes]
        each = [seconds / count for seconds, count in zip(row, sizes, strict=True)]
        grown = [after / before for before, after in itertools.pairwise(each)]
        print(part.ljust(12) + "".join(f"{seconds:>10.2f}" for seconds in row)
              + "".join(f"{ratio:>9.2f}x" for ratio in grown))  # fmt: skip
    for whose, name in ((resource.RUSAGE_SELF, "library"), (resource.RUSAGE_CHILDREN, "commands")):
        print(f"peak memory of the {name}: {resource.getrusage(whose).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
