"""SIGTERM and Ctrl-C end a run cleanly: between two steps, after a checkpoint."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

log = logging.getLogger(__name__)


class Preempted(SystemExit):
    """The run was asked to stop and can be resumed.

    A ``SystemExit``, not an ``Exception``: a multirun stops too instead of starting its next job.

    Args:
        number: The signal; the exit status is 128 + its number, as shells have it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number).name


class Interruption:
    """Turns SIGTERM and Ctrl-C into :class:`Preempted` while it is entered.

    It is raised where the signal arrives; inside :meth:`deferred` the signal is only noted and
    :meth:`check` raises. A second signal does not wait. A handler that somebody else installed
    (a cluster's launcher that requeues the job) is left in place, and threads other than the main
    one cannot have handlers.
    """

    def __init__(self) -> None:
        self.noted: int | None = None
        self._deferred = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is not threading.main_thread():
            return self
        for number, default in (
            (signal.SIGTERM, signal.SIG_DFL),
            (signal.SIGINT, signal.default_int_handler),
        ):
            if signal.getsignal(number) is default:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._deferred or self.noted is not None:
            raise Preempted(number)
        self.noted = number
        log.warning("%s: finishing the step, then saving", signal.Signals(number).name)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Signals wait for :meth:`check` inside the block."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def check(self) -> None:
        """Raise :class:`Preempted` if a signal was noted."""
        if self.noted is not None:
            raise Preempted(self.noted)
