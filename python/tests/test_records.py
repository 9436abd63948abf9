"""Records are frozen, comparable where that means something, and say what they hold."""

import copy
import pickle
from typing import Any

import ntpclock
import pytest
from ntpclock import Clock


@pytest.fixture(params=["Reading", "Report", "SourceInfo", "QueryResult", "ServerStatistics"])
def record(request: pytest.FixtureRequest, clock: Clock, upstream: str) -> Any:
    with ntpclock.Server("127.0.0.1:0", clock) as server:
        statistics = server.statistics()
    records = (clock.read(), clock.report(), clock.sources()[0], ntpclock.query(upstream), statistics)
    return {type(record).__name__: record for record in records}[request.param]


def test_a_record_cannot_be_changed_or_made(record: Any) -> None:
    for name in record.to_dict():
        with pytest.raises(AttributeError):
            setattr(record, name, 0)
    with pytest.raises(AttributeError):
        record.unheard_of = 0
    with pytest.raises(TypeError):
        type(record)()


def test_a_record_shows_every_attribute(record: Any) -> None:
    fields = record.to_dict()
    public = {name for name in dir(record) if not name.startswith("_") and not callable(getattr(record, name))}
    assert set(fields) == public
    assert repr(record).startswith(f"ntpclock.{type(record).__name__}(")
    for name, value in fields.items():
        assert getattr(record, name) == value
        assert f"{name}={value!r}" in repr(record)


def test_readings_compare_by_what_they_hold(clock: Clock) -> None:
    one, other = clock.read(), clock.read()
    assert one == one
    assert one != other
    assert one != "a reading"
    assert len({one, one, other}) == 2


def test_a_reading_is_the_same_where_it_was_sent(clock: Clock) -> None:
    for reading in (clock.read(), Clock("127.0.0.1:1").read()):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            sent = pickle.loads(pickle.dumps(reading, protocol))
            assert sent == reading
            assert sent.to_dict() == reading.to_dict()
            assert sent.compare(reading) is ntpclock.Relation.OVERLAP
        assert copy.copy(reading) == copy.deepcopy(reading) == reading


@pytest.mark.parametrize(("place", "value"), [(0, (9, 10, 11, 0, 0)), (0, (12, 10, 11, 0, 0)), (2, (4, 0, 0)), (2, (1, 0, 4))])
def test_what_cannot_be_a_reading_is_not_made_one(clock: Clock, place: int, value: tuple[int, ...]) -> None:
    make, parts = clock.read().__reduce__()
    assert callable(make)
    parts = list(parts)
    parts[place] = value
    with pytest.raises(ntpclock.ConfigError, match="a pickled reading"):
        make(*parts)


def test_words_survive_pickling() -> None:
    for word in (ntpclock.State.HOLDOVER, ntpclock.Flags.SLEWING, ntpclock.Leap.INSERT, ntpclock.Selection.FALSETICKER):
        assert pickle.loads(pickle.dumps(word)) is word


def test_an_unknown_flag_is_kept() -> None:
    assert ntpclock.Flags(1 << 20) | ntpclock.Flags.SLEWING == (1 << 20) + 4


def test_clock_and_server_cannot_be_derived_from() -> None:
    for base in (ntpclock.Clock, ntpclock.Server, ntpclock.Reading):
        with pytest.raises(TypeError):
            type("Derived", (base,), {})
