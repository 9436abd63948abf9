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


HUGE = 2**70
NO_TEXT = "\udcff"
SERVER = "127.0.0.1:0"
CUT = "/tmp/a\0b"

UNFIT: list[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any], str]] = [
    *[
        (ntpclock.Clock, ("a",), {name: HUGE}, name)
        for name in ("fault_limit", "min_agreeing", "step_threshold_ns", "bound_cap_ns")
    ],
    (ntpclock.Clock, ("a",), {"bound_cap_ns": 2**64}, f"`bound_cap_ns` is {2**64}, which is out of range"),
    (ntpclock.Clock, ("a",), {"bound_cap_ns": 10**5000}, "`bound_cap_ns` is "),
    (ntpclock.Clock, ("a",), {"poll": (4, HUGE)}, "poll"),
    (ntpclock.Clock, ("a",), {"poll": (4,)}, "`poll` is .* length"),
    (ntpclock.Clock, ("a",), {"frequency_limit_ppm": 10**400}, "frequency_limit_ppm"),
    (ntpclock.Clock, ("a",), {"drift_limit": (1.0, 10**400, 1.0)}, "drift_limit"),
    (ntpclock.Clock, ("a",), {"authentication": NO_TEXT}, "authentication"),
    (ntpclock.Clock, ([("a", {"key": -1})],), {}, "`key` is -1"),
    (ntpclock.Clock, ([("a", {"key": HUGE})],), {}, "key"),
    (ntpclock.Clock, ([("a", {NO_TEXT: 1})],), {}, "servers"),
    (ntpclock.Clock, ([("a", {}, 1)],), {}, "servers"),
    *[(ntpclock.Clock, (servers,), {}, "servers") for servers in (NO_TEXT, [NO_TEXT], [(NO_TEXT, {})])],
    (ntpclock.start, (NO_TEXT,), {}, r"`servers` is '\\udcff'"),
    (ntpclock.start, ("a",), {"bound_cap_ns": HUGE}, "bound_cap_ns"),
    (ntpclock.wait, (10**400,), {}, "timeout"),
    (ntpclock.wait, (1.0, HUGE), {}, "max_bound_ns"),
    (ntpclock.read_within, (HUGE,), {}, "max_bound_ns"),
    *[
        (call, (ns,), {}, "unix_ns")
        for call in (ntpclock.after, ntpclock.before, ntpclock.wait_until_past, ntpclock.sleep_until)
        for ns in (HUGE, -HUGE)
    ],
    (ntpclock.read().is_after, (HUGE,), {}, "unix_ns"),
    (ntpclock.read().is_before, (HUGE,), {}, "unix_ns"),
    (ntpclock.convert, (1, HUGE), {}, "stamp_ns"),
    (ntpclock.convert, (HUGE, 1), {}, "timescale"),
    (ntpclock.deadline, (1, HUGE), {}, "unix_ns"),
    (ntpclock.query, (NO_TEXT,), {}, "server"),
    (ntpclock.query, ("a", 10**400), {}, "timeout"),
    (ntpclock.Server, (SERVER,), {"local": (1,)}, "`local` is .* length"),
    (ntpclock.Server, (SERVER,), {"local": (1, HUGE)}, "local"),
    (ntpclock.Server, (SERVER,), {"local": (1, 0), "rate_limit": (HUGE, 1)}, "rate_limit"),
    (ntpclock.Server, (SERVER,), {"local": (1, 0), "threads": HUGE}, "threads"),
    (ntpclock.Server, (SERVER,), {"local": (1, 0), "nts_port": 65536}, "nts_port"),
    (ntpclock.Server, (SERVER,), {"local": (1, 0), "nts": ("/c",)}, "nts"),
    *[(ntpclock.Server, (SERVER,), {"local": (1, 0), name: NO_TEXT}, name) for name in ("allow", "deny")],
    (ntpclock.cli, (["ntpclock", "\ud800"],), {}, "argv"),
    (ntpclock.Server, (NO_TEXT,), {"local": (1, 0)}, "listen"),
]


@pytest.mark.parametrize(("call", "arguments", "keywords", "sentence"), UNFIT)
def test_what_fits_no_number_and_is_no_text_is_a_config_error_too(
    call: Callable[..., object], arguments: tuple[Any, ...], keywords: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ntpclock.ConfigError, match=sentence):
        call(*arguments, **keywords)


def test_a_clocks_own_methods_refuse_them_as_well(silent: str) -> None:
    with ntpclock.Clock(silent) as clock:
        calls: list[tuple[Callable[..., object], tuple[Any, ...]]] = [
            (clock.wait, (10**400,)),
            (clock.wait, (0.1, HUGE)),
            (clock.read_within, (HUGE,)),
            (clock.after, (HUGE,)),
            (clock.before, (HUGE,)),
            (clock.wait_until_past, (HUGE, 0.1)),
            (clock.sleep_until, (HUGE,)),
            (clock.convert, (1, HUGE)),
            (clock.deadline, (HUGE, 1)),
        ]
        for call, arguments in calls:
            with pytest.raises(ntpclock.ConfigError, match="out of range"):
                call(*arguments)


PATHS: list[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]] = [
    *[(ntpclock.Clock, ("a",), {name: CUT}) for name in ("state_file", "shared_page", "keys", "trusted_certificates")],
    (ntpclock.Clock, ("a",), {"trusted_certificates": ["/tmp/a", Path(CUT)]}),
    (ntpclock.Clock, ("a",), {"state_file": Path(CUT)}),
    (ntpclock.start, ("a",), {"state_file": CUT}),
    (ntpclock.cli, (["ntpclock", CUT],), {}),
    (ntpclock.query, ("a",), {"trusted_certificates": CUT}),
    (ntpclock.Server, (SERVER,), {"local": (1, 0), "nts": (CUT, "/tmp/a")}),
    (ntpclock.Server, (SERVER,), {"local": (1, 0), "nts": ("/tmp/a", CUT)}),
    (ntpclock.Server, (SERVER,), {"local": (1, 0), "nts": ("/tmp/a", "/tmp/b"), "nts_cookie_keys": CUT}),
]


@pytest.mark.parametrize(("call", "arguments", "keywords"), PATHS)
def test_a_path_is_refused_and_not_cut_at_a_nul(
    call: Callable[..., object], arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> None:
    with pytest.raises(ntpclock.ConfigError, match="NUL"):
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
