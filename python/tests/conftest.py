"""What most tests need: an upstream on this machine, and a clock that follows it."""

import signal
import socket
import time
from collections.abc import Callable, Iterator

import ntpclock
import pytest

# What the upstream claims, in nanoseconds; every error bound has to hold it.
ROOT_DISPERSION_NS = 1_000_000


def known(ns: int | None) -> int:
    """`ns`, which is known."""
    assert ns is not None
    return ns


def eventually(holds: Callable[[], object]) -> bool:
    """Whether `holds` comes to hold soon: what the engine thread does shows a few milliseconds later."""
    deadline = time.monotonic() + 5
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> Iterator[None]:
    """Has SIGINT interrupt this process and those it starts, also where the shell that began all this ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def upstream() -> Iterator[str]:
    """The address of an NTP server that serves this machine's clock as stratum 2."""
    with ntpclock.Server("127.0.0.1:0", local=(2, ROOT_DISPERSION_NS)) as server:
        yield server.addresses[0]


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a port that takes every packet and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def clock(upstream: str) -> Iterator[ntpclock.Clock]:
    """A synchronised clock."""
    with ntpclock.Clock(upstream) as clock:
        clock.wait(timeout=10)
        yield clock


@pytest.fixture
def process_clock(upstream: str) -> Iterator[None]:
    """The process-wide clock, synchronised."""
    ntpclock.start(upstream)
    try:
        ntpclock.wait(timeout=10)
        yield
    finally:
        ntpclock.stop()
