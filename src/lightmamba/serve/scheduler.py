"""The thread that computes: it lets requests in, runs pass after pass, and hands over the steps."""

import logging
import math
import threading
import time
from collections.abc import Callable

from lightmamba.common.errors import DeviceError
from lightmamba.common.files import Written
from lightmamba.serve.admission import Admission
from lightmamba.serve.backend import Backend
from lightmamba.serve.batch import Batch
from lightmamba.serve.drafts import Drafts
from lightmamba.serve.errors import BUSY, ApiError, stopping
from lightmamba.serve.jobs import Job, Outbox
from lightmamba.serve.metrics import Metrics
from lightmamba.serve.prefix import PrefixCache

__all__ = ["Scheduler"]

log = logging.getLogger(__name__)
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds between two attempts to set up a device


class Scheduler:
    """Queue, slots and passes.

    Parameters
    ----------
    backend
        What runs the tokens; from :meth:`start` on, only the scheduler's thread calls it.
    cache
        Of states after prompts.
    metrics
        What happens is counted there.
    queue
        Sessions that may wait.
    drafts
        Speculation, which the backend's passes must have room for.
    written
        Whether the model's file was written into, if it is read while it is served.

    Attributes
    ----------
    admission : Admission
        Sessions that wait; changed while the lock is held.
    batch : Batch
        Sessions that have a slot; the thread's own.
    draining : bool
        Whether new requests are refused.
    broken : ApiError or None
        The answer to requests while nothing can run.
    """

    def __init__(
        self,
        backend: Backend,
        cache: PrefixCache,
        metrics: Metrics,
        *,
        queue: int = 256,
        drafts: Drafts | None = None,
        written: Written | None = None,
    ) -> None:
        self._written = written
        self.backend, self.metrics, self._out = backend, metrics, Outbox()
        self.admission = Admission(backend, drafts, queue)
        self.batch = Batch(backend, cache, metrics, drafts, self._out, self.admission)
        self._work = threading.Condition()
        self._closing = self.draining = False
        self.broken: ApiError | None = None
        self._pause = 0.0  # seconds to the next attempt to set up the backend, if it is broken
        self._end = math.inf
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        gauges: dict[str, tuple[str, Callable[[], float]]] = {
            "waiting_sequences": ("Sequences that wait for a slot.", lambda: self.waiting),
            "running_sequences": ("Sequences that have a slot.", lambda: self.running),
            "slots": ("Sequences that may run together.", lambda: backend.slots),
            "reserved_bytes": (
                "Memory of sequences beyond their slots, at most.",
                lambda: self.admission.used,
            ),
            "reserved_bytes_limit": ("What all of them may have.", lambda: self.admission.limit),
            "prefix_bytes": ("Memory of the prefix cache.", lambda: cache.used),
            "prefix_states": ("States in the prefix cache.", lambda: len(cache)),
        }
        for name, (text, value) in gauges.items():
            metrics.gauge(name, text, value)

    @property
    def waiting(self) -> int:
        """Sessions that wait."""
        return len(self.admission.waiting)

    @property
    def running(self) -> int:
        """Sessions that have a slot."""
        return len(self.batch.sessions)

    @property
    def alive(self) -> bool:
        """Whether the thread computes, or would."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def drain(self, seconds: float) -> None:
        """Refuse new requests from now on, and end those that still run after some seconds.

        It only sets flags, so that a handler of signals may call it.
        """
        self._end = time.monotonic() + seconds
        self.draining = True

    def close(self) -> None:
        """End what runs and wait for the thread; clients get an error that the server stops."""
        with self._work:
            self._closing = True
            self._work.notify()
        self._thread.join()

    def submit(self, job: Job) -> None:
        """Let a job wait for its turn.

        Raises
        ------
        ApiError
            400 if a sequence needs more memory than there is, 429 if too many wait who cannot begin
            now, 503 if the server is stopping.
        """
        with self._work:
            self._check_file()
            if self.broken is not None:
                raise self.broken
            if self.draining or not self._thread.is_alive():
                raise stopping()
            try:
                self.admission.add(job)
            except ApiError as error:
                self.metrics.count("refused_requests", error.status == BUSY)
                raise
            self._work.notify()

    def _check_file(self) -> None:
        """Take no request any more when the model's file has been written into."""
        if self.broken is None and self._written:
            self.broken = ApiError(
                503, f"{self._written.path} was written into while it was served; restart the "
                f"server, and replace such a file by renaming another one", code="failed",
            )  # fmt: skip
            log.error(self.broken.message)
            self._work.notify()

    def cancel(self, job: Job) -> None:
        """Give a job up: its client is gone."""
        if job.left and not job.cancelled:
            self.metrics.count("cancelled_requests")
            with self._work:
                job.cancelled = True
                self._work.notify()

    def _run(self) -> None:
        while not self._closing and (self.broken is None or self._pause):
            with self._work:
                while not (self.waiting or self.running or self._closing or self.broken):
                    self._work.wait()
                self._work.wait_for(lambda: self._closing, self._pause)
            if self._pause and not self._closing:
                self.set_up_again()
            elif self.broken is None:
                self.round()
        with self._work:
            self.draining = True
            self._fail_all(self.broken or stopping())
        self._out.flush()

    def _fail_all(self, answer: ApiError) -> None:
        """End all that run or wait; the lock is held."""
        for job in self._jobs():
            self.batch.fail(job, answer)
        self.admission.waiting.clear()

    def set_up_again(self) -> None:
        """Try to set up a backend that is broken; requests are taken again if it works."""
        try:
            self.backend.recover()
        except Exception as error:
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            log.warning("%s is not back: %s", self.backend.device, error)
            return
        log.warning("%s is back", self.backend.device)
        self._pause, self.broken = 0.0, None

    def round(self) -> None:
        """Let go and take in, run one pass, and hand over what it gave; the thread's own."""
        try:
            with self._work:
                self._drop()
                admitted = list(self.admission.admit())
            self.batch.begin(admitted)  # copies states, for which nobody else has to wait
            self.batch.run()
        except Exception as error:
            self._failed(error)
        self._out.flush()

    def _jobs(self) -> list[Job]:
        """All that run or wait."""
        sessions = (*self.batch.sessions, *self.admission.waiting)
        return list(dict.fromkeys(session.job for session in sessions))

    def _drop(self) -> None:
        """Forget sessions whose job was given up or has taken too long."""
        now = time.monotonic()
        for job in self._jobs():
            if job.cancelled:
                self.batch.fail(job, None)
            elif now > self._end:
                self.batch.fail(job, stopping())
            elif now > job.deadline:
                self.metrics.count("timed_out_requests")
                self.batch.fail(job, ApiError(
                    408, f"the request took longer than {job.deadline - job.arrived:g} s; "
                    f"ask for fewer tokens, or try when the server is less busy",
                    kind="server_error", code="timeout",
                ))  # fmt: skip
        self.admission.forget()

    def _failed(self, error: Exception) -> None:
        """A pass raised: end what ran, and go on with what waits."""
        log.error("a pass failed", exc_info=error)
        device = isinstance(error, DeviceError)
        what = str(error) if device else "the model could not be run"
        answer = ApiError(
            503 if device else 500, f"{what}; the server goes on, try again", code="failed"
        )
        for job in dict.fromkeys(session.job for session in self.batch.sessions):
            self.batch.fail(job, answer)
        try:
            self.backend.recover()
        except Exception as again:
            log.error("%s cannot be used", self.backend.device, exc_info=again)
            with self._work:
                self._pause = FIRST_PAUSE
                self.broken = ApiError(
                    503, f"{what}, and it could not be set up again; the server keeps trying",
                    code="failed", headers={"Retry-After": f"{LONGEST_PAUSE:.0f}"},
                )  # fmt: skip
                self._fail_all(self.broken)
