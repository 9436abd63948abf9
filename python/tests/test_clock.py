"""A clock of one's own and the process-wide one: they read alike."""

import datetime
import gc
import os
import pathlib
import threading
import time
from typing import Any

import ntpclock
import pytest
from conftest import ROOT_DISPERSION_NS, eventually, known
from ntpclock import Clock, Leap, Role, Selection, State


@pytest.fixture(params=["clock", "process_clock"])
def face(request: pytest.FixtureRequest) -> Any:
    """A clock or the module: either has the same functions."""
    return request.getfixturevalue(request.param) or ntpclock


def test_a_reading_lies_in_its_interval(face: Any) -> None:
    reading = face.read()
    assert reading.earliest_ns <= reading.unix_ns <= reading.latest_ns
    ends = (reading.unix_ns - reading.earliest_ns, reading.latest_ns - reading.unix_ns)
    assert reading.error_ns == max(ends)
    assert reading.error_ns >= ROOT_DISPERSION_NS
    assert reading.state is State.SYNCHRONIZED
    assert reading.leap is Leap.NONE
    assert reading.epoch == 1
    assert reading.age_ns >= 0


def test_all_ways_to_ask_for_the_time_agree(face: Any) -> None:
    times = [
        face.ntp_now(),
        face.time_ns(),
        int(face.time() * 1e9),
        int(face.now().timestamp() * 1e9),
        face.read().unix_ns,
        # The upstream serves this machine's clock.
        time.time_ns(),
    ]
    # Ample for a busy machine; a wrong unit would be off by years.
    assert max(times) - min(times) < 1_000_000_000
    assert isinstance(face.ntp_now(), int)
    assert isinstance(face.time_ns(), int)
    assert isinstance(face.time(), float)


def test_readings_never_run_backwards_within_an_epoch(face: Any) -> None:
    readings = [face.ntp_now() for _ in range(10_000)]
    assert readings == sorted(readings)


def test_the_offset_is_within_its_bound_of_the_truth(face: Any) -> None:
    # The truth here: the upstream *is* the system clock.
    assert abs(face.offset()) <= face.offset_bound()
    assert face.error_bound() >= ROOT_DISPERSION_NS


def test_the_report_counts_the_sources(face: Any) -> None:
    report = face.report()
    assert report.state is State.SYNCHRONIZED
    assert (report.configured, report.answering, report.agreeing) == (1, 1, 1)
    assert report.stratum == 3
    assert report.exchanges >= 1
    assert report.reference_time_ns > 0
    assert not report.faults_exceeded


def test_a_source_is_described(face: Any, upstream: str) -> None:
    (source,) = face.sources()
    assert (source.name, source.address) == (upstream, upstream)
    assert source.selection is Selection.TRUECHIMER
    assert source.stratum == 2
    assert source.reach & 1
    assert source.delay_ns >= 0
    assert source.exchanges >= 1
    assert source.fault is None


def test_now_is_an_aware_datetime_in_utc(face: Any) -> None:
    assert face.now().tzinfo is datetime.timezone.utc
    reading = face.read()
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    micros = (reading.datetime() - epoch) // datetime.timedelta(microseconds=1)
    assert micros == reading.unix_ns // 1000, "cut off, not rounded"


def test_status_is_an_int_and_a_name(face: Any) -> None:
    assert face.status() is State.SYNCHRONIZED
    assert face.status() == 1
    assert face.status().name == "SYNCHRONIZED"


def test_a_bound_can_be_waited_for(face: Any) -> None:
    face.wait(timeout=10, max_bound_ns=100 * ROOT_DISPERSION_NS)
    assert face.error_bound() <= 100 * ROOT_DISPERSION_NS
    with pytest.raises(ntpclock.NtpTimeoutError):
        face.wait(timeout=0.1, max_bound_ns=ROOT_DISPERSION_NS // 2)


def test_a_clock_that_was_stopped_still_reads(upstream: str) -> None:
    clock = Clock([upstream])
    clock.wait(timeout=10)
    assert repr(clock) == f"<ntpclock.Clock '{upstream}' SYNCHRONIZED>"
    before = clock.ntp_now()
    clock.stop()
    clock.stop()
    clock.close()
    assert clock.ntp_now() >= before
    assert eventually(lambda: clock.status() is State.HOLDOVER)
    assert repr(clock) == f"<ntpclock.Clock '{upstream}' HOLDOVER, stopped>"
    with pytest.raises(ntpclock.NotRunningError):
        clock.wait(timeout=1)


def test_a_clock_that_was_never_synchronised_gives_the_system_clock_and_says_so(silent: str) -> None:
    with Clock(silent) as clock:
        reading = clock.read()
        assert abs(reading.unix_ns - time.time_ns()) < 1_000_000_000
        assert reading.state is State.UNSYNCHRONIZED
        unknown = (reading.earliest_ns, reading.latest_ns, reading.error_ns, reading.age_ns)
        assert unknown == (None, None, None, None)
        assert (clock.offset(), clock.offset_bound(), clock.error_bound()) == (0, None, None)
        assert eventually(clock.sources)
        (source,) = clock.sources()
        assert source.selection is Selection.UNREACHABLE
        assert (source.stratum, source.offset_ns, source.delay_ns, source.age_ns) == (None, None, None, None)
        report = clock.report()
        assert (report.bound_ns, report.reference_time_ns, report.exchanges) == (None, None, 0)


def test_a_source_that_answers_a_clock_without_time_has_no_offset(upstream: str, silent: str) -> None:
    with Clock([upstream, (silent, {"require": True})]) as clock:
        assert eventually(lambda: clock.sources() and clock.sources()[0].exchanges)
        source = clock.sources()[0]
        assert (clock.status(), source.offset_ns) == (State.UNSYNCHRONIZED, None)
        assert source.delay_ns and source.estimated_error_ns is not None


def test_all_settings_are_taken(upstream: str) -> None:
    settings = Clock(
        upstream,
        poll=(2, 6),
        fault_limit=0,
        min_agreeing=1,
        step_threshold_ns=50_000_000,
        bound_cap_ns=500_000_000,
        frequency_limit_ppm=500.0,
        drift_limit=(1.0, 500.0, 20.0),
    )
    with settings as clock:
        clock.wait(timeout=10)
        assert clock.report().fault_limit == 0
        assert 2 <= clock.sources()[0].poll_exponent <= 6


def test_a_clock_with_a_state_file_starts_where_it_stopped(upstream: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "state"
    with Clock(upstream, state_file=path) as clock:
        assert (clock.state_file_fault, clock.read().epoch) == (None, 0)
        clock.wait(timeout=10)
    with Clock("127.0.0.1:9", state_file=str(path)) as clock:
        assert clock.status() is ntpclock.State.HOLDOVER
        assert (clock.state_file_fault, clock.read().epoch) == (None, 1)
        assert clock.error_bound() is not None
    path.write_bytes(path.read_bytes()[:-1])
    with Clock("127.0.0.1:9", state_file=path) as clock:
        assert clock.status() is ntpclock.State.UNSYNCHRONIZED
        assert str(path) in str(clock.state_file_fault)


def test_clocks_that_share_a_page_are_a_leader_and_a_follower(upstream: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "page"
    with Clock(upstream, shared_page=path) as leader, Clock("127.0.0.1:9", shared_page=str(path)) as follower:
        leader.wait(timeout=10)
        follower.wait(timeout=10)
        assert (leader.report().role, follower.report().role) == (Role.LEADER, Role.FOLLOWER)
        assert follower.report().leader_pid == os.getpid()
        assert leader.read().unix_ns <= follower.read().unix_ns <= leader.read().unix_ns
        assert (leader.shared_page_fault, follower.sources()) == (None, [])
        path.unlink()
        path.mkdir()
        assert eventually(lambda: str(path) in str(follower.shared_page_fault))
        with pytest.raises(ntpclock.NtpOSError, match="it is no regular file"):
            Clock(upstream, shared_page=path)
    with Clock(upstream) as alone:
        assert (alone.report().role, alone.report().leader_pid) == (Role.ALONE, None)


def test_a_minimum_of_agreeing_sources_is_kept(upstream: str) -> None:
    with Clock(upstream, min_agreeing=2) as clock, pytest.raises(ntpclock.NtpTimeoutError):
        clock.wait(timeout=0.5)


def test_starts_of_the_process_wide_clock_are_counted(upstream: str) -> None:
    ntpclock.start(upstream)
    ntpclock.start([upstream])
    with pytest.raises(ntpclock.AlreadyRunningError, match=upstream):
        ntpclock.start("192.0.2.1")
    ntpclock.stop()
    ntpclock.wait(timeout=10)
    ntpclock.stop()
    with pytest.raises(ntpclock.NotRunningError):
        ntpclock.wait(timeout=1)
    ntpclock.stop()


def test_the_process_wide_clock_has_the_settings_of_any_other(upstream: str, tmp_path: pathlib.Path) -> None:
    state_file = tmp_path / "state"
    state_file.write_text("nonsense")
    settings: dict[str, Any] = {"poll": (0, 1), "bound_cap_ns": 900_000_000, "state_file": state_file}
    ntpclock.start(upstream, **settings)
    try:
        ntpclock.start(upstream, **settings)
        ntpclock.start(upstream)
        ntpclock.stop()
        ntpclock.stop()
        with pytest.raises(ntpclock.AlreadyRunningError, match="other servers or settings"):
            ntpclock.start(upstream, poll=(1, 1))
        ntpclock.wait(timeout=10)
        assert ntpclock.sources()[0].poll_exponent <= 1
        assert str(state_file) in (ntpclock.state_file_fault() or "")
        assert ntpclock.resume_watch_fault() is None
    finally:
        ntpclock.stop()
    with pytest.raises(ntpclock.ConfigError, match="fault_limit"):
        ntpclock.start(upstream, fault_limit=-1)


def test_the_environment_names_the_servers_if_the_call_does_not(
    upstream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NTPCLOCK_SERVERS", upstream)
    with Clock() as clock:
        assert clock.servers == upstream
    ntpclock.start()
    try:
        ntpclock.wait(timeout=10)
    finally:
        ntpclock.stop()


def test_a_server_serves_the_time_of_a_clock(clock: Clock) -> None:
    with ntpclock.Server(["127.0.0.1:0", "[::1]:0"], clock) as server:
        assert len(server.addresses) == 2
        for address in server.addresses:
            assert ntpclock.query(address).stratum == 3


def test_a_server_keeps_its_clock_alive(upstream: str) -> None:
    clock = Clock(upstream)
    clock.wait(timeout=10)
    with ntpclock.Server("127.0.0.1:0", clock) as server:
        del clock
        gc.collect()
        answer = ntpclock.query(server.addresses[0])
        assert (answer.stratum, answer.leap) == (3, Leap.NONE)


def test_a_server_without_a_clock_serves_the_process_wide_one(process_clock: None) -> None:
    with ntpclock.Server("127.0.0.1:0") as server:
        assert ntpclock.query(server.addresses[0]).stratum == 3


def test_a_server_that_was_stopped_is_silent() -> None:
    server = ntpclock.Server("127.0.0.1:0", local=(1, 0))
    (address,) = server.addresses
    assert repr(server) == f"<ntpclock.Server on {address}>"
    server.stop()
    server.stop()
    server.close()
    assert repr(server) == f"<ntpclock.Server on {address}, stopped>"
    with pytest.raises(ntpclock.NtpError):
        ntpclock.query(address, timeout=0.2)


def test_a_clock_can_ask_in_interleaved_mode() -> None:
    with (
        ntpclock.Server("127.0.0.1:0", local=(1, 0), threads=1) as server,
        Clock(server.addresses[0], poll=(0, 0), interleaved=True) as clock,
    ):
        clock.wait(timeout=10)
        assert eventually(lambda: server.statistics().interleaved > 0)


def test_a_server_counts_what_it_does_and_refuses_whom_it_should() -> None:
    with ntpclock.Server("127.0.0.1:0", local=(1, 0), deny="127.0.0.0/8", allow=["127.0.0.1"], threads=1) as server:
        (address,) = server.addresses
        assert ntpclock.query(address).stratum == 1
        with pytest.raises(ntpclock.ConfigError):
            ntpclock.Server("127.0.0.1:0", local=(1, 0), allow="127.0.0.1/8")
    statistics = server.statistics()
    assert (statistics.requests, statistics.replies, statistics.denied) == (1, 1, 0)
    with ntpclock.Server("127.0.0.1:0", local=(1, 0), deny="127.0.0.0/8", threads=1) as server:
        (address,) = server.addresses
        with pytest.raises(ntpclock.NtpTimeoutError):
            ntpclock.query(address, timeout=0.2)
    assert server.statistics().denied == 1


def test_a_server_limits_each_address_but_never_silences_it() -> None:
    with ntpclock.Server("127.0.0.1:0", local=(1, 0), rate_limit=(1, 5)) as server:
        (address,) = server.addresses
        answered = 0
        for _ in range(60):
            try:
                ntpclock.query(address, timeout=0.05)
                answered += 1
            except (ntpclock.NtpTimeoutError, ntpclock.BadReplyError):
                pass
    statistics = server.statistics()
    assert 5 < answered < 50
    assert statistics.limited > 0 and statistics.leaked > 0


def test_a_query_tells_what_the_server_said(upstream: str) -> None:
    answer = ntpclock.query(upstream, timeout=5)
    assert answer.address == upstream
    assert (answer.stratum, answer.leap) == (2, Leap.NONE)
    assert abs(answer.offset_ns) <= known(answer.bound_ns)
    assert answer.root_dispersion_ns >= ROOT_DISPERSION_NS
    assert abs(answer.unix_ns - time.time_ns()) < 1_000_000_000


def test_many_threads_may_use_one_clock(clock: Clock) -> None:
    failures: list[str] = []

    def use() -> None:
        last = 0
        for _ in range(2_000):
            now = clock.ntp_now()
            if now < last:
                failures.append(f"{now} after {last}")
            last = now
            clock.read().to_dict()
        clock.sources()
        clock.report()
        clock.wait(timeout=5)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
