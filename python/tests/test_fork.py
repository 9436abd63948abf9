"""Forked children go on with their parent's clocks."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable

import ntpclock
import pytest
from ntpclock import State

FORK = multiprocessing.get_context("fork")


def threads() -> int:
    """How many threads this process has, whoever made them."""
    return len(os.listdir("/proc/self/task"))


def in_child(act: Callable[[], None]) -> None:
    """Runs `act` in a child of `multiprocessing`, which must come to a good end."""
    child = FORK.Process(target=act)
    child.start()
    child.join(30)
    if child.is_alive():
        child.kill()
    assert child.exitcode == 0


def test_a_child_reads_on_and_restarts_on_demand(process_clock: None, clock: ntpclock.Clock) -> None:
    def act() -> None:
        for source in (ntpclock, clock):
            first = source.read()
            assert first.state == State.HOLDOVER
            with pytest.raises(ntpclock.NotRunningError):
                source.wait(timeout=0)
            source.restart()
            source.wait(timeout=10)
            after = source.read()
            assert (after.state, after.epoch) == (State.SYNCHRONIZED, first.epoch)
            assert after.unix_ns > first.unix_ns
            source.restart()

    in_child(act)
    assert ntpclock.status() == clock.status() == State.SYNCHRONIZED


def test_workers_of_a_master_that_was_configured_so_restart_by_themselves(upstream: str) -> None:
    ntpclock.start(upstream, restart_after_fork=True)
    with ntpclock.Clock(upstream, restart_after_fork=True) as own, ntpclock.Clock(upstream) as other:
        for source in (ntpclock, own, other):
            source.wait(timeout=10)
        epochs = [source.read().epoch for source in (ntpclock, own)]

        def work() -> None:
            assert threads() == 1 + 2
            for source, epoch in zip((ntpclock, own), epochs, strict=True):
                source.wait(timeout=10)
                assert source.read().epoch == epoch
            assert other.status() == State.HOLDOVER

        before = threads()
        workers = [FORK.Process(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(30)
            assert worker.exitcode == 0
        assert threads() == before
        assert ntpclock.status() == own.status() == State.SYNCHRONIZED
    # What is stopped, nobody restarts.
    in_child(lambda: os._exit(threads() - 2))
    ntpclock.stop()
    in_child(lambda: os._exit(threads() - 1))
    with pytest.raises(ntpclock.NotRunningError):
        ntpclock.restart()


# A callback is in the interpreter when another thread forks; the child does not have that callback, and need not wait for it.
ENDS = """
import os, sys, threading, time
import ntpclock

inside, over = threading.Event(), threading.Event()

def told(events):
    inside.set()
    over.wait()

with ntpclock.Clock(sys.argv[1]) as clock:
    clock.on_event(told)
    assert inside.wait(20)
    child = os.fork()
    if child == 0:
        sys.exit(7)
    begun = time.monotonic()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    took = time.monotonic() - begun
    over.set()
    assert took < 0.9, took
"""


def test_a_child_ends_without_waiting_for_its_parents_callbacks(upstream: str) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", ENDS, upstream]
    subprocess.run(command, check=True, timeout=60)


# The second child has a callback anew, whose thread enters the interpreter when the first one's has left it.
RETURNS = """
import os, sys, threading
import ntpclock

outcomes = []

def told(events):
    # Its clock's stop is none of its business.
    if over.is_set():
        return
    for again in (False, True):
        child = os.fork()
        if child == 0:
            if again:
                clock.restart()
                clock.on_event(lambda _: os._exit(7))
            return
        outcomes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    over.set()

over = threading.Event()
with ntpclock.Clock(sys.argv[1]) as clock:
    clock.wait(10)
    clock.on_event(told)
    assert over.wait(40)
assert outcomes == [0, 7], outcomes
"""


def test_a_child_forked_in_a_callback_ends_well_when_that_returns(upstream: str) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", RETURNS, upstream]
    subprocess.run(command, check=True, timeout=60)


# In an interpreter of its own: the epochs of its process-wide clock begin at 1.
FORKS = """
import os, sys, threading
import ntpclock

def forks():
    for _ in range(30):
        child = os.fork()
        if child == 0:
            good = ntpclock.status() == ntpclock.State.HOLDOVER and ntpclock.report().configured == 1
            ntpclock.restart()
            os._exit(0 if good and ntpclock.read().epoch == 1 else 1)
        outcomes.append(os.waitpid(child, 0)[1])

outcomes = []
ntpclock.start(sys.argv[1])
ntpclock.wait(timeout=10)
threads = [threading.Thread(target=forks) for _ in range(2)]
for thread in threads:
    thread.start()
while any(thread.is_alive() for thread in threads):
    ntpclock.report()
    assert ntpclock.status() == ntpclock.State.SYNCHRONIZED
assert outcomes == [0] * 60, outcomes
"""


def test_forks_from_other_threads_while_the_clock_is_in_use(upstream: str) -> None:
    # Later Pythons warn of every fork of a process with threads, whoever made them.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKS, upstream]
    subprocess.run(command, check=True, timeout=60)
