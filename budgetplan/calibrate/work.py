"""Work: one process makes one run after the other, and leaves each in a state that can go on."""

from __future__ import annotations

import contextlib
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import FrameType

from budgetplan.calibrate import durable, environment
from budgetplan.calibrate.allowance import Allowance, Ledger, Spent, seconds_of, spent_on
from budgetplan.calibrate.durable import StoreError
from budgetplan.calibrate.lock import Attempt, Held, Lock, Lost
from budgetplan.calibrate.result import Interrupted, Killed, Result
from budgetplan.calibrate.run_folder import ENDINGS, RunFolder
from budgetplan.calibrate.trainers import Trainer
from budgetplan.core.errors import UserError
from budgetplan.core.units import show_seconds

PATIENCE = 3  # times that a run may kill its worker at the same step before it counts as failed
KILLED = "killed"  # how an attempt ended whose run has processes of its own, and lost one
LOOK = 5.0  # between looks at what a run has spent [s]
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)
)
Told = Callable[[str], None]


class Stop:
    """Whether the process was asked to stop: by a signal, or because the allowance is reached."""

    def __init__(self) -> None:
        self.reason = ""

    def __bool__(self) -> bool:
        return bool(self.reason)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.reason = signal.Signals(number).name
        if number == signal.SIGINT:  # who types Ctrl-C twice does not want to wait
            signal.signal(number, signal.SIG_DFL)

    @contextlib.contextmanager
    def listening(self) -> Iterator[Stop]:
        """Within this, a signal asks to stop; a second SIGINT kills."""
        former = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)


@dataclass
class Tally:
    """What became of the runs that a worker was given, by name."""

    ended: dict[str, str] = field(default_factory=dict)  # name: how, those that ended before too
    made: list[str] = field(default_factory=list)  # ended here
    elsewhere: list[str] = field(default_factory=list)  # another worker has them
    left: list[str] = field(default_factory=list)  # to be made later
    killed: bool = False  # whether a process of one of those was
    spent: str = ""  # why the allowance ended the work


def work(
    runs: Sequence[RunFolder],
    *,
    trainer: Trainer,
    stop: Stop | None = None,
    ledger: Ledger | None = None,
    patience: int = PATIENCE,
    watchers: Callable[[RunFolder], contextlib.AbstractContextManager[object]] | None = None,
    tell: Told = lambda text: None,
) -> Tally:
    """Make every run that is not made yet, one after the other.

    A run that raises is recorded as failed, and the next one begins; only where the card does not
    answer this process any more, it raises again, so that another process makes the rest.

    Args:
        runs: in the order of making.
        trainer: makes one.
        stop: ends the work between two steps, true when asked to.
        ledger: of the allowance; None: no limit.
        patience: deaths of the process at one step of a run before it counts as failed.
        watchers: open the sinks of a run.
        tell: says in a line what happens.

    Raises:
        StoreError: the drive is full, read-only or gone; runs are left as they are.
    """
    stop = Stop() if stop is None else stop
    tally = Tally()
    for place, run in enumerate(runs, start=1):
        if stop or tally.spent:
            tally.left.append(run.id)
            continue
        if (state := run.state) in ENDINGS:
            tally.ended[run.id] = state
            continue
        try:
            with contextlib.ExitStack() as stack:
                held, room = _begun(run, stack, ledger=ledger)
                turn = _Turn(run, held, trainer, stop, room, ledger, patience, watchers)
                _note(tally, run, turn.take())
        except Held:
            tally.elsewhere.append(run.id)
        except Lost as lost:
            tell(f"[{place}/{len(runs)}] {run.id}: {lost.problem}")
            tally.elsewhere.append(run.id)
        except Killed as killed:
            tell(f"[{place}/{len(runs)}] {run.id}: {killed}")
            tally.killed = True
            tally.left.append(run.id)
        except Spent as spent:
            tally.spent = str(spent)
            tally.left.append(run.id)
        else:
            tell(f"[{place}/{len(runs)}] {described(run, tally)}")
    return tally


def _begun(
    run: RunFolder, stack: contextlib.ExitStack, *, ledger: Ledger | None
) -> tuple[Lock, Allowance | None]:
    """Return the run's lock, held within the stack, and what the run may spend from now on.

    A run that is locked is one that the allowance reaches for: workers that would begin at once ask
    one after the other, so that neither both begin nor both give way.

    Raises:
        Held: another has it.
        Spent: the allowance does not reach for it.
    """
    with ledger.turn() if ledger else contextlib.nullcontext():
        state = run.state
        if state == "running":
            raise Held(f"run {run.id} is being written by {run.attempts()[-1]}")
        room = ledger.room(run) if ledger and state not in ENDINGS else None
        return stack.enter_context(run.lock(from_step=run.last_step)), room


def _note(tally: Tally, run: RunFolder, ending: str) -> None:
    if ending in ENDINGS:
        tally.made.append(run.id)
        tally.ended[run.id] = ending
    elif ending == "made before":
        tally.ended[run.id] = run.state
    else:
        tally.left.append(run.id)


def described(run: RunFolder, tally: Tally) -> str:
    """Return a line about what became of the run."""
    result = run.result
    if result is None:
        return f"{run.id} interrupted, can go on"
    when = "" if run.id in tally.made else "before "
    if result.status == "failed":
        return f"{run.id} failed {when}: {result.reason}".replace(" :", ":")
    last = result.evaluations[-1].loss if result.evaluations else result.train_loss
    loss = "" if last is None else f", loss {last:.4f}"
    why = f" ({result.reason})" if result.reason else ""
    return f"{run.id} {result.status} {when}in {show_seconds(result.seconds)}{loss}{why}"


@dataclass
class _Turn:
    """One locked run, from the checks before it starts to the result."""

    run: RunFolder
    held: Lock
    trainer: Trainer
    stop: Stop
    room: Allowance | None
    ledger: Ledger | None
    patience: int
    watchers: Callable[[RunFolder], contextlib.AbstractContextManager[object]] | None

    def take(self) -> str:
        """Make the run, and return how it ended: what its attempt's file will say."""
        self.held.ending = "not begun"
        if self.run.state in ENDINGS:  # another finished it while we took the lock
            self.held.ending = "made before"
        elif self._deadly():
            self._finish(_failure(f"its process died {self.patience} times at the same step, "
                                  "without a word: killed, or out of memory?"))  # fmt: skip
        else:
            with self.watchers(self.run) if self.watchers else contextlib.nullcontext():
                self._make()
        return self.held.ending

    def _finish(self, result: Result) -> None:
        self.run.finish(result)
        self.held.ending = result.status

    def _deadly(self) -> bool:
        before = self.run.attempts()[:-1][-self.patience :]
        deaths = [each for each in before if each.ending in ("", KILLED)]
        steps = {each.holder.get("from_step") for each in [*deaths, _own(self.held)]}
        return len(deaths) == self.patience and len(steps) == 1

    def _make(self) -> None:
        try:
            self.run.environment(environment.surroundings())
            guard = _Guard(self.run, room=self.room, ledger=self.ledger, stop=self.stop)
            self._finish(self.trainer(self.run.spec, self.run, should_stop=guard))
        except Interrupted:
            self.held.ending = "interrupted"
            if guard.reached:
                self.held.ending = "stopped at the allowance"
                raise Spent(f"run {self.run.id} was stopped: {guard.reached}") from None
        except Killed:
            self.held.ending = KILLED
            raise
        except StoreError:
            raise  # the next run would meet the same drive
        except UserError as error:
            self._fail(". ".join(line.rstrip(".") for line in str(error).splitlines()) + ".")
        except (Exception, SystemExit) as error:  # also what a user's model raises
            words = str(error).strip().partition("\n")[0]
            self._fail(f"{type(error).__name__}: {words}" if words else type(error).__name__)
            if words.startswith("CUDA error"):  # no later call of this process to the card works
                raise

    def _fail(self, reason: str) -> None:
        durable.write(self.run.path / "traceback.txt", traceback.format_exc())
        result = _failure(reason)
        spent = {"seconds": seconds_of(self.run), "flops_spent": spent_on(self.run)}
        self._finish(result.model_copy(update=spent))


class _Guard:
    """Says when a run must stop: at a signal, or when it has used up its room."""

    def __init__(
        self, run: RunFolder, *, room: Allowance | None, ledger: Ledger | None, stop: Stop
    ) -> None:
        self.run, self.room, self.ledger, self.stop = run, room, ledger, stop
        self.reached = ""
        self._began = time.monotonic()
        self._flops_before = spent_on(run) if room else 0.0
        self._seconds_before = seconds_of(run) if room else 0.0
        self._next = self._began + LOOK

    def __call__(self) -> bool:
        if self.room and self.ledger:
            now = time.monotonic()
            if now >= self._next:
                self._next = now + LOOK
                self._look(self.ledger)
            self.reached = self._over(self.room, self.ledger, seconds=now - self._began)
        return bool(self.stop or self.reached)

    def _look(self, ledger: Ledger) -> None:
        """See what this run has spent, and how long others have worked meanwhile."""
        assert self.room
        if self.room.flops is not None and spent_on(self.run) - self._flops_before >= (
            self.room.flops
        ):
            self.reached = "the allowance of FLOPs is used up"
        if self.room.card_seconds is not None:
            left = ledger.seconds_left(self.run, before=self._seconds_before)
            self.room = replace(self.room, card_seconds=max(left, 1e-9))

    def _over(self, room: Allowance, ledger: Ledger, *, seconds: float) -> str:
        if room.card_seconds is not None and seconds * ledger.cards >= room.card_seconds:
            return "the allowance of GPU-hours is used up"
        return self.reached


def _own(held: Lock) -> Attempt:
    return Attempt(number=held.number, holder=held.holder, age=0.0)


def _failure(reason: str) -> Result:
    return Result(status="failed", reason=reason)
