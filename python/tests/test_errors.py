"""Nonsense is refused at once, with the class and the sentence that help."""

import errno
import math
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ntpclock
import pytest

EXPECTED_BASES = {
    ntpclock.ConfigError: ValueError,
    ntpclock.UnsupportedError: NotImplementedError,
    ntpclock.AlreadyRunningError: RuntimeError,
    ntpclock.NotRunningError: RuntimeError,
    ntpclock.NtpTimeoutError: TimeoutError,
    ntpclock.NotSynchronizedError: Exception,
    ntpclock.ResolveError: OSError,
    ntpclock.NtpOSError: OSError,
    ntpclock.BadReplyError: Exception,
    ntpclock.BoundExceededError: Exception,
    ntpclock.UnconvertibleError: ValueError,
}


@pytest.mark.parametrize(("ours", "pythons"), EXPECTED_BASES.items())
def test_every_exception_is_an_ntp_error_and_what_python_expects(
    ours: type[Exception], pythons: type[Exception]
) -> None:
    assert issubclass(ours, ntpclock.NtpError)
    assert issubclass(ours, pythons)
    assert ours.__module__ == "ntpclock"


NONSENSE: list[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any], str]] = [
    (ntpclock.start, ("[::1",), {}, r"server `\[::1`"),
    (ntpclock.start, ("",), {}, "no server"),
    (ntpclock.start, ([],), {}, "no server"),
    (ntpclock.Clock, ("a,,b",), {}, "empty"),
    (ntpclock.Clock, ("a",), {"poll": (5, 4)}, "above `max_exponent`"),
    (ntpclock.Clock, ("a",), {"poll": (0, 99)}, "poll exponents"),
    (ntpclock.Clock, ("a",), {"fault_limit": -1}, "below zero"),
    (ntpclock.Clock, ("a",), {"min_agreeing": 0}, "1 to 64"),
    (ntpclock.Clock, ("a",), {"step_threshold_ns": -1}, "below zero"),
    (ntpclock.Clock, ("a",), {"bound_cap_ns": 0}, "above zero"),
    (ntpclock.Clock, ("a",), {"frequency_limit_ppm": math.nan}, "NaN"),
    (ntpclock.Clock, ("a",), {"state_file": "/"}, "names no file"),
    (ntpclock.Clock, ("a",), {"shared_page": "/"}, "names no file"),
    (ntpclock.Server, ("localhost",), {"local": (1, 0)}, "localhost"),
    (ntpclock.Server, ("127.0.0.1:0",), {"local": (16, 0)}, "16"),
    (ntpclock.Server, ("127.0.0.1:0",), {"local": (1, -1)}, "root_dispersion_ns"),
    (ntpclock.Server, ([],), {"local": (1, 0)}, "."),
    (ntpclock.query, ("a:0",), {}, "port"),
    (ntpclock.query, ("127.0.0.1",), {"timeout": -1.0}, "timeout"),
    (ntpclock.wait, (math.nan,), {}, "timeout"),
    (ntpclock.wait, (math.inf,), {}, "timeout"),
    (ntpclock.wait, (1.0, -1), {}, "max_bound_ns"),
]


@pytest.mark.parametrize(("call", "arguments", "keywords", "sentence"), NONSENSE)
def test_nonsense_is_a_config_error(
    call: Callable[..., object], arguments: tuple[Any, ...], keywords: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ntpclock.ConfigError, match=sentence):
        call(*arguments, **keywords)


@pytest.mark.parametrize("servers", [1, b"a", [1], [None]])
def test_a_server_list_is_text(servers: Any) -> None:
    with pytest.raises(TypeError):
        ntpclock.Clock(servers)


def test_no_server_at_all_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NTPCLOCK_SERVERS", raising=False)
    for call in (ntpclock.start, ntpclock.Clock):
        with pytest.raises(ntpclock.ConfigError, match="no server is named"):
            call()


def test_keys_that_cannot_be_exchanged_are_an_error_and_never_a_plain_answer(upstream: str) -> None:
    # Nobody exchanges keys there; who would answer a plain request is there.
    with pytest.raises(ntpclock.KeyExchangeError, match=upstream):
        ntpclock.query(f"{upstream} nts", 10)


def test_certificates_that_are_not_there_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(ntpclock.NtpOSError, match=str(missing)):
        ntpclock.Clock("127.0.0.1 nts", trusted_certificates=missing)
    missing.write_text("no certificate")
    with pytest.raises(ntpclock.ConfigError, match=str(missing)):
        ntpclock.query("127.0.0.1 nts", trusted_certificates=[missing])


def test_waiting_without_a_start_says_so() -> None:
    with pytest.raises(ntpclock.NotRunningError):
        ntpclock.wait(timeout=1)


def test_a_timeout_names_the_source(silent: str) -> None:
    with ntpclock.Clock(silent) as clock, pytest.raises(TimeoutError, match=silent):
        clock.wait(timeout=0.2)
    with pytest.raises(ntpclock.NtpTimeoutError):
        ntpclock.query(silent, timeout=0.2)


def test_a_port_in_use_is_an_os_error_with_its_number() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ntpclock.NtpOSError) as caught:
            ntpclock.Server(f"127.0.0.1:{taken.getsockname()[1]}", local=(1, 0))
    assert caught.value.errno == errno.EADDRINUSE


def test_a_name_without_an_address_is_a_resolve_error() -> None:
    # RFC 6761: `invalid` never resolves.
    with pytest.raises(ntpclock.ResolveError, match="nowhere.invalid"):
        ntpclock.query("nowhere.invalid", timeout=30)
