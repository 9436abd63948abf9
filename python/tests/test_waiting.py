"""Waiting leaves the interpreter to others, and Ctrl-C ends it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import ntpclock
import pytest

# Longer than any machine stalls; the tests end far earlier when all is well.
FOREVER_S = 60.0


@contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """Sends this process SIGINT, as Ctrl-C does."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def wait_clock(silent: str) -> None:
    with ntpclock.Clock(silent) as clock:
        clock.wait(timeout=FOREVER_S)


def wait_clock_for_ever(silent: str) -> None:
    with ntpclock.Clock(silent) as clock:
        clock.wait()


def wait_process(silent: str) -> None:
    ntpclock.start(silent)
    try:
        ntpclock.wait(timeout=FOREVER_S)
    finally:
        ntpclock.stop()


def ask(silent: str) -> None:
    ntpclock.query(silent, timeout=10)


BLOCKING = [wait_clock, wait_clock_for_ever, wait_process, ask]


@pytest.mark.parametrize("block", BLOCKING)
def test_ctrl_c_ends_it(block: Callable[[str], None], silent: str) -> None:
    begun = time.monotonic()
    with interrupted_after(0.3), pytest.raises(KeyboardInterrupt):
        block(silent)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("block", BLOCKING)
def test_other_threads_run_meanwhile(block: Callable[[str], None], silent: str) -> None:
    turns = 0
    over = threading.Event()

    def count() -> None:
        nonlocal turns
        while not over.is_set():
            turns += 1
            time.sleep(0.001)

    other = threading.Thread(target=count)
    other.start()
    try:
        with interrupted_after(0.5), pytest.raises(KeyboardInterrupt):
            block(silent)
    finally:
        over.set()
        other.join()
    # 500 on an idle machine. A wait that kept the lock would leave one turn a slice, 10 at most.
    assert turns > 30


def test_a_handler_that_does_not_raise_does_not_end_the_wait(silent: str) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        with ntpclock.Clock(silent) as clock, interrupted_after(0.1), pytest.raises(ntpclock.NtpTimeoutError):
            clock.wait(timeout=0.5)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT]


def test_a_timeout_is_kept(silent: str) -> None:
    with ntpclock.Clock(silent) as clock:
        for timeout in (0.0, 0.12, 0.3):
            begun = time.monotonic()
            with pytest.raises(ntpclock.NtpTimeoutError):
                clock.wait(timeout=timeout)
            assert timeout <= time.monotonic() - begun < timeout + 2


def test_stopping_from_another_thread_ends_a_wait(silent: str) -> None:
    clock = ntpclock.Clock(silent)
    timer = threading.Timer(0.2, clock.stop)
    timer.start()
    with pytest.raises(ntpclock.NotRunningError):
        clock.wait(timeout=FOREVER_S)
    timer.join()


@pytest.mark.parametrize("wait", ["sleep_until", "wait_until_past"])
def test_a_stop_ends_a_wait_for_an_instant_also_while_the_interpreter_is_busy(wait: str, upstream: str) -> None:
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            sum(range(50))

    # They keep the waiting thread out of the interpreter between any two looks, where a stop is easily missed.
    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    try:
        for round_ in range(10):
            clock = ntpclock.Clock(upstream)
            clock.wait(timeout=10)
            outcomes: list[type[Exception]] = []

            def sleep(clock: ntpclock.Clock = clock, outcomes: list[type[Exception]] = outcomes) -> None:
                try:
                    getattr(clock, wait)(clock.read().unix_ns + 3600 * 10**9)
                except ntpclock.NtpError as error:
                    outcomes.append(type(error))

            sleeper = threading.Thread(target=sleep, daemon=True)
            sleeper.start()
            time.sleep(0.1 + 0.007 * round_)
            clock.stop()
            sleeper.join(10)
            assert outcomes == [ntpclock.NotRunningError]
    finally:
        over.set()
        for worker in workers:
            worker.join()


def test_a_program_that_never_stops_its_clock_still_ends(upstream: str) -> None:
    program = f"import ntpclock; ntpclock.start({upstream!r}); c = ntpclock.Clock({upstream!r}); c.wait(10)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def masks_of(name: str) -> list[int]:
    """What the threads of that name block."""
    masks = []
    for thread in Path("/proc/self/task").iterdir():
        try:
            text = (thread / "status").read_text()
        except OSError:
            continue  # It has ended meanwhile.
        facts = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        if facts["Name"] == name:
            masks.append(int(facts["SigBlk"], 16))
    return masks


def test_signals_are_left_to_the_programs_threads_by_a_querys(silent: str) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    asking = threading.Thread(target=lambda: pytest.raises(ntpclock.NtpError, ntpclock.query, silent, timeout=2))
    asking.start()
    begun = time.monotonic()
    while not (found := masks_of("ntpclock-query")):
        assert time.monotonic() - begun < FOREVER_S
    asking.join()
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1, signal.SIGCHLD)
    assert all(found[0] >> (number - 1) & 1 for number in wanted), hex(found[0])
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
