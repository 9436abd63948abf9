"""What most tests need: an upstream on this machine, and a clock that follows it."""

import signal
import socket
import struct
import threading
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


class Movable:
    """An NTP server of stratum 1 that shows this machine's clock, and `ahead_ns` more."""

    def __init__(self, taken: socket.socket) -> None:
        self.address = f"127.0.0.1:{taken.getsockname()[1]}"
        self.ahead_ns = 0
        self._socket = taken

    def serve(self) -> None:
        """Answers until an empty datagram comes."""
        while True:
            request, client = self._socket.recvfrom(512)
            if not request:
                return
            since_1900 = time.time_ns() + self.ahead_ns + 2_208_988_800 * 1_000_000_000
            seconds, ns = divmod(since_1900, 1_000_000_000)
            now = struct.pack("!II", seconds % 2**32, (ns << 32) // 1_000_000_000)
            # Mode 4; a precision of 2^-20 s, a root dispersion of 66 / 2^16 s.
            header = struct.pack("!BBbbII4s", 0b00_100_100, 1, 0, -20, 0, 66, b"TEST")
            self._socket.sendto(header + now + request[40:48] + now + now, client)


@pytest.fixture
def movable() -> Iterator[Movable]:
    """A server whose time can be set."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        server = Movable(taken)
        thread = threading.Thread(target=server.serve)
        thread.start()
        yield server
        taken.sendto(b"", taken.getsockname())
        thread.join()


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
