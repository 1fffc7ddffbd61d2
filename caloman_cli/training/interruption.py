"""Signals end every command cleanly; a training saves its last step before."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType

log = logging.getLogger(__name__)

ENDING = (signal.SIGTERM, signal.SIGHUP)  # Ctrl-C is Python's own
_LAUNCHERS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

Handler = Callable[[int, FrameType | None], object]


class Preempted(SystemExit):
    """The command was asked to stop.

    A ``SystemExit``, not an ``Exception``: a multirun stops too instead of starting its next job.

    Args:
        number: The signal; the exit status is 128 + its number, as shells have it.

    Attributes:
        advice: How to go on.
    """

    def __init__(self, number: int) -> None:
        self.status = 128 + number
        super().__init__(self.status)
        self.signal = signal.Signals(number).name
        self.advice = ""

    def __str__(self) -> str:
        return f"stopped by {self.signal}" + (self.advice and f": {self.advice}")


class Interruption:
    """Turns signals into :class:`Preempted` while it is entered.

    It is raised where the signal arrives; inside :meth:`deferred` the signal is only noted and
    :meth:`check` raises. A second signal does not wait.

    Handlers of somebody else (a cluster's launcher that requeues the job) are called as well:
    inside :meth:`deferred` by :meth:`check`, when the last step is saved, else at once; whether
    the job ends is theirs to say. Threads other than the main one cannot have handlers.

    Args:
        signals: Those that stop; SIGTERM, SIGHUP and Ctrl-C by default.
    """

    def __init__(self, signals: Sequence[int] = (*ENDING, signal.SIGINT)) -> None:
        self._signals = signals
        self._asked: list[int] = []
        self._deferred = self._raised = False
        self._previous: dict[int, Handler | int] = {}
        self._launchers: dict[int, Handler] = {}

    @property
    def noted(self) -> int | None:
        """A signal that waits for :meth:`check`."""
        return self._asked[0] if self._asked else None

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in dict.fromkeys((*self._signals, *_LAUNCHERS)):
            current = signal.getsignal(number)
            default = current in (signal.SIG_DFL, signal.default_int_handler)
            if default or isinstance(getattr(current, "__self__", None), Interruption):
                if number not in self._signals:
                    continue
            elif callable(current):
                self._launchers[number] = current
            else:
                continue  # ignored, as nohup does, or not Python's to change
            self._previous[number] = current  # type: ignore[assignment]
            signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
        self._launchers.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        launcher = self._launchers.get(number)
        if self._deferred and (launcher is not None or not self._asked):
            self._asked.append(number)
            log.warning("%s: finishing the step, then saving", signal.Signals(number).name)
        elif launcher is not None:
            launcher(number, frame)
        elif not self._raised or number == signal.SIGINT:
            # Whoever cleans up is left to it: a scheduler may say SIGTERM more than once.
            self._raised = True
            self._asked.clear()
            raise Preempted(number)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Signals wait for :meth:`check` inside the block."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.check()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside :meth:`deferred`: nothing would be lost here, so signals do not wait."""
        deferred, self._deferred = self._deferred, False
        try:
            self.check()
            yield
        finally:
            self._deferred = deferred

    def check(self) -> None:
        """Do what the noted signals ask for.

        Raises:
            Preempted: One of them stops, or whatever a launcher's handler raises.
        """
        asked, self._asked = self._asked, []
        for number in asked:
            if number in self._launchers:
                self._launchers[number](number, None)
            else:
                self._raised = True
                raise Preempted(number)
