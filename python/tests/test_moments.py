"""Time as events need it: comparisons, waits for an instant, stamps of other clocks, events."""

import asyncio
import functools
import gc
import operator
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import ntpclock
import pytest
from conftest import Movable, eventually
from ntpclock import Clock, Events, Relation, Server, State, Timescale
from test_waiting import FOREVER_S, interrupted_after

MS = 1_000_000


@pytest.fixture(params=["clock", "process_clock"])
def face(request: pytest.FixtureRequest) -> Any:
    """A clock or the module: either has the same functions."""
    return request.getfixturevalue(request.param) or ntpclock


@pytest.fixture
def deaf(silent: str) -> Any:
    """A clock that never hears anything."""
    with Clock(silent) as clock:
        yield clock


def test_readings_compare_by_their_intervals(face: Any, deaf: Any) -> None:
    early = face.read()
    face.wait_until_past(early.latest_ns)
    late = face.read()
    assert early.compare(late) is Relation.BEFORE
    assert late.compare(early) is Relation.AFTER
    assert late.compare(late) is Relation.OVERLAP
    assert deaf.read().compare(late) is Relation.OVERLAP
    assert late.is_after(early.latest_ns)
    assert early.is_before(late.earliest_ns)


def test_only_what_is_certain_is_after_or_before(face: Any, deaf: Any) -> None:
    reading = face.read()
    assert face.after(reading.earliest_ns - 1)
    assert not face.after(reading.latest_ns + 60_000 * MS)
    assert face.before(reading.latest_ns + 60_000 * MS)
    assert not face.before(reading.unix_ns)
    assert not deaf.after(0)
    assert not deaf.before(2**62)


def test_a_checked_reading_of_a_machine_that_is_awake_is_as_good_as_any(face: Any, deaf: Any) -> None:
    early, checked, late = face.read(), face.read_checked(), face.read()
    assert checked.state is State.SYNCHRONIZED
    assert early.unix_ns <= checked.unix_ns <= late.unix_ns
    assert deaf.read_checked().state is State.UNSYNCHRONIZED
    assert deaf.resume_watch_fault is None


def test_a_callers_cap_on_the_bound_is_kept(face: Any, deaf: Any) -> None:
    assert face.read_within(1_000 * MS).error_ns <= 1_000 * MS
    with pytest.raises(ntpclock.BoundExceededError, match="1 ns are allowed"):
        face.read_within(1)
    with pytest.raises(ntpclock.NotSynchronizedError):
        deaf.read_within(2**62)
    with pytest.raises(ntpclock.ConfigError, match="max_bound_ns"):
        face.read_within(-1)


def test_a_commit_wait_ends_when_the_time_has_certainly_passed(face: Any) -> None:
    commit = face.read().latest_ns
    face.wait_until_past(commit)
    assert face.after(commit)
    begun = time.monotonic()
    with pytest.raises(ntpclock.NtpTimeoutError, match="ns too early"):
        face.wait_until_past(commit + 60_000 * MS, timeout=0.12)
    assert 0.12 <= time.monotonic() - begun < 5


def test_a_commit_wait_without_any_time_says_so_when_its_time_is_up(deaf: Any) -> None:
    with pytest.raises(ntpclock.NotSynchronizedError):
        deaf.wait_until_past(0, timeout=0.12)


def test_a_sleeper_wakes_when_the_clock_shows_the_time(face: Any) -> None:
    target = face.ntp_now() + 120 * MS
    face.sleep_until(target)
    assert 0 <= face.ntp_now() - target < 1_000 * MS


@pytest.mark.parametrize("wait", [Clock.wait_until_past, Clock.sleep_until])
def test_ctrl_c_and_a_stop_end_waits_for_an_instant(wait: Any, upstream: str) -> None:
    with Clock(upstream) as clock:
        clock.wait(timeout=10)
        with interrupted_after(0.2), pytest.raises(KeyboardInterrupt):
            wait(clock, 2**62)
        timer = threading.Timer(0.2, clock.stop)
        timer.start()
        with pytest.raises(ntpclock.NotRunningError):
            wait(clock, 2**62)
        timer.join()


def test_stamps_of_every_clock_become_utc_also_from_before_the_clock(upstream: str) -> None:
    early = time.monotonic_ns()
    truth = time.time_ns()
    with Clock(upstream) as clock:
        clock.wait(timeout=10)
        reading = clock.convert(Timescale.MONOTONIC, early)
        # The upstream serves this machine's clock; between the two looks at it little passes.
        assert reading.earliest_ns is not None
        assert reading.latest_ns is not None
        assert reading.earliest_ns - 50 * MS < truth < reading.latest_ns + 50 * MS
        now = clock.read()
        again = clock.convert(Timescale.RAW, now.raw_ns)
        assert again.compare(now) is Relation.OVERLAP
        assert again.raw_ns == now.raw_ns
        stamp = time.time_ns()
        converted = clock.convert(Timescale.REALTIME, stamp)
        assert converted.earliest_ns is not None
        assert converted.latest_ns is not None
        assert converted.earliest_ns <= stamp <= converted.latest_ns
        assert clock.convert(Timescale.BOOTTIME, time.clock_gettime_ns(time.CLOCK_BOOTTIME)).epoch == 1
        with pytest.raises(ntpclock.UnconvertibleError, match="may have been stepped"):
            clock.convert(Timescale.REALTIME, 0)
        with pytest.raises(ntpclock.ConfigError, match="`timescale` is 9"):
            clock.convert(9, 0)


def test_before_the_first_synchronisation_nothing_is_converted(deaf: Any) -> None:
    with pytest.raises(ntpclock.NotSynchronizedError):
        deaf.convert(Timescale.MONOTONIC, time.monotonic_ns())
    with pytest.raises(ntpclock.NotSynchronizedError):
        deaf.deadline(Timescale.MONOTONIC, time.time_ns())


def test_a_deadline_holds_the_moment_at_which_utc_comes(face: Any) -> None:
    target = face.ntp_now() + 50 * MS
    deadline = face.deadline(Timescale.MONOTONIC, target)
    assert deadline.earliest_ns <= deadline.stamp_ns <= deadline.latest_ns
    assert set(deadline.to_dict()) == {"stamp_ns", "earliest_ns", "latest_ns"}
    while time.monotonic_ns() < deadline.latest_ns:
        time.sleep(0.001)
    assert time.time_ns() >= target
    with pytest.raises(ntpclock.ConfigError, match="may be stepped"):
        face.deadline(Timescale.REALTIME, target)


def test_events_wake_a_selector(upstream: str) -> None:
    with Clock(upstream) as clock, selectors.DefaultSelector() as selector:
        selector.register(clock, selectors.EVENT_READ)
        assert clock.fileno() == clock.event_fd()
        assert not os.get_inheritable(clock.fileno())
        assert not os.get_blocking(clock.fileno())
        assert selector.select(timeout=20)
        assert clock.take_events() is Events.SYNCHRONIZED
        assert clock.take_events() == Events(0)
        assert not selector.select(timeout=0)
        clock.stop()
        assert selector.select(timeout=20)
        assert clock.take_events() is Events.LOST


def test_events_wake_asyncio(upstream: str) -> None:
    async def first_event() -> Events:
        loop = asyncio.get_running_loop()
        told: asyncio.Future[Events] = loop.create_future()
        with Clock(upstream) as clock:
            loop.add_reader(clock, lambda: told.done() or told.set_result(clock.take_events()))
            try:
                return await asyncio.wait_for(told, timeout=20)
            finally:
                loop.remove_reader(clock)

    assert asyncio.run(first_event()) is Events.SYNCHRONIZED


@pytest.mark.parametrize("process_wide", [False, True])
def test_disruptions_and_steps_are_told(movable: Movable, process_wide: bool) -> None:
    def act(face: Any) -> None:
        told: list[Events] = []
        face.wait(timeout=10)
        assert eventually(lambda: Events.SYNCHRONIZED in face.take_events())
        before = face.read()
        face.on_event(told.append)
        # It is told the state at hand.
        assert eventually(lambda: told)
        told.clear()
        # Its only server contradicts itself: the clock believes neither until it was heard anew, and steps.
        movable.ahead_ns = 10_000 * MS
        everything = Events.DISRUPTED | Events.STEPPED | Events.SYNCHRONIZED
        taken = Events(0)
        with selectors.DefaultSelector() as selector:
            selector.register(face.event_fd(), selectors.EVENT_READ)
            while taken & everything != everything:
                assert selector.select(timeout=20)
                taken |= face.take_events()
        assert eventually(lambda: functools.reduce(operator.or_, told, Events(0)) & everything == everything)
        after = face.read()
        assert (after.state, after.epoch) == (State.SYNCHRONIZED, before.epoch + 1)
        assert abs(after.unix_ns - movable.ahead_ns - time.time_ns()) < 1000 * MS
        face.on_event(None)

    if process_wide:
        # What earlier runs of it have left.
        ntpclock.take_events()
        ntpclock.start(movable.address, poll=(0, 0))
        try:
            act(ntpclock)
        finally:
            ntpclock.stop()
    else:
        with Clock(movable.address, poll=(0, 0)) as clock:
            act(clock)


def test_a_callback_is_told_and_taken_back(upstream: str) -> None:
    told: list[Events] = []
    with Clock(upstream) as clock:
        clock.on_event(told.append)
        assert eventually(lambda: told)
        assert told == [Events.SYNCHRONIZED]
        clock.stop()
        assert eventually(lambda: len(told) == 2)
        assert told[1] is Events.LOST
        clock.on_event(None)
        references = sys.getrefcount(told)
        clock.on_event(told.append)
        assert sys.getrefcount(told) == references + 1
        clock.on_event(None)
        assert sys.getrefcount(told) == references


def test_what_cannot_be_called_is_no_callback(upstream: str) -> None:
    told: list[Events] = []
    with Clock(upstream) as clock:
        clock.on_event(told.append)
        with pytest.raises(TypeError, match="`callback` is of type int"):
            clock.on_event(5)  # type: ignore[arg-type]
        # The former one stays.
        assert eventually(lambda: told == [Events.SYNCHRONIZED])
    with pytest.raises(TypeError):
        ntpclock.on_event("told")  # type: ignore[arg-type]


def test_a_callback_may_stop_replace_and_forget_its_clock(upstream: str) -> None:
    done = threading.Event()
    clock: Clock | None = Clock(upstream)

    def callback(events: Events) -> None:
        nonlocal clock
        assert clock is not None
        clock.stop()
        clock.on_event(lambda _: None)
        clock = None
        done.set()

    assert clock is not None
    clock.on_event(callback)
    assert done.wait(20)
    assert clock is None


def test_clocks_that_only_their_callbacks_refer_to_are_collected(upstream: str) -> None:
    def closure(clock: Clock) -> Callable[[Events], object]:
        return lambda _: clock.status()

    def method(clock: Clock) -> Callable[[Events], object]:
        # Of a type that the collector sees through and cannot clear; it takes the events for a time in the past.
        return clock.after

    def served(clock: Clock) -> Callable[[Events], object]:
        server = Server("127.0.0.1:0", clock)
        return lambda _: server.statistics()

    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    gc.collect()
    before = threads()
    for refer in (closure, method, served):
        for _ in range(10):
            clock = Clock(upstream)
            clock.on_event(refer(clock))
            clock.wait(timeout=10)
            del clock
        assert eventually(lambda: gc.collect() is not None and threads() == before), refer


def test_a_clock_that_calls_back_is_not_collected_while_somebody_refers_to_it(movable: Movable) -> None:
    told: list[Events] = []
    clock = Clock(movable.address, poll=(0, 0))
    clock.on_event(lambda events: (told.append(events), clock.status()))
    assert eventually(lambda: Events.SYNCHRONIZED in told)
    gc.collect()
    clock.stop()
    assert eventually(lambda: Events.LOST in told)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_a_callback_raises_is_reported_and_ends_nothing(upstream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: reported.append(type(report.exc_value)))
    calls: list[Events] = []

    def callback(events: Events) -> None:
        calls.append(events)
        raise LookupError(events.name)

    with Clock(upstream) as clock:
        clock.on_event(callback)
        assert eventually(lambda: len(calls) == 1)
        clock.stop()
        assert eventually(lambda: len(calls) == 2)
        clock.on_event(None)
    assert reported == [LookupError, LookupError]


def test_a_program_with_a_callback_ends_whatever_that_does(upstream: str) -> None:
    for body in ("pass", "__import__('time').sleep(0.3)", "clock.wait_until_past(2**62)"):
        program = f"""
import ntpclock
clock = ntpclock.Clock({upstream!r})
def callback(events):
    {body}
clock.on_event(callback)
ntpclock.start({upstream!r})
ntpclock.on_event(callback)
clock.wait(10)
"""
        subprocess.run([sys.executable, "-c", program], check=True, timeout=FOREVER_S)


def test_a_forked_child_has_events_of_its_own(upstream: str) -> None:
    program = f"""
import ntpclock, os, select, sys
ntpclock.start({upstream!r})
fd = ntpclock.event_fd()
assert select.select([fd], [], [], 20)[0]
child = os.fork()
if child == 0:
    assert ntpclock.event_fd() == fd and not ntpclock.take_events()
    assert ntpclock.status() is ntpclock.State.HOLDOVER
    told = []
    ntpclock.on_event(told.append)
    ntpclock.start({upstream!r})
    assert select.select([fd], [], [], 20)[0]
    assert ntpclock.take_events() & ntpclock.Events.SYNCHRONIZED
    ntpclock.on_event(None)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert ntpclock.take_events() is ntpclock.Events.SYNCHRONIZED
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=FOREVER_S)


def test_the_process_wide_clock_has_a_callback_too(process_clock: None) -> None:
    told: list[Events] = []
    ntpclock.on_event(told.append)
    try:
        assert eventually(lambda: any(Events.SYNCHRONIZED in events for events in told))
    finally:
        ntpclock.on_event(None)
    assert ntpclock.status() is State.SYNCHRONIZED
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
