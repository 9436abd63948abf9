"""Keys, degrees of trust, and what sources were refused for."""

from pathlib import Path

import ntpclock
import pytest
from conftest import eventually
from ntpclock import Clock, ConfigError, Flags, NtpOSError


def key_file(directory: Path, text: str = "5 AES128 HEX:000102030405060708090a0b0c0d0e0f\n") -> Path:
    path = directory / "keys"
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_options_are_given_and_told(upstream: str) -> None:
    with Clock([(upstream, {"trust": True, "require": True}), "127.0.0.1:1"]) as clock:
        clock.wait(timeout=10)
        first, second = clock.sources()
        assert (first.trust, first.require, first.prefer, first.key) == (True, True, False, None)
        assert not (second.trust or second.require or second.authenticated)
        assert Flags.AUTHENTICATED not in clock.read().flags | clock.report().flags


def test_a_server_that_does_not_know_our_key_is_not_believed(upstream: str, tmp_path: Path) -> None:
    # It answers as if there were no authentication.
    with Clock([(upstream, {"key": 5})], keys=key_file(tmp_path), poll=(0, 0)) as clock:
        assert eventually(lambda: clock.sources()[0].refusals["authentication"] >= 2)
        source = clock.sources()[0]
        assert source.authenticated
        assert source.key == 5
        assert source.exchanges == 0
        assert source.rejected == source.refusals["authentication"]
        assert clock.status() == ntpclock.State.UNSYNCHRONIZED


@pytest.mark.parametrize(
    ("servers", "settings", "words"),
    [
        ([("127.0.0.1", {"key": 6})], {}, "6 of 127.0.0.1 is none of the AES keys"),
        ([("127.0.0.1", {"key": 0})], {}, "ids are from 1 on"),
        ([("127.0.0.1", {"love": True})], {}, "`love`"),
        ("127.0.0.1", {"authentication": "require"}, "no server is authenticated"),
        ("127.0.0.1", {"authentication": "perhaps"}, "perhaps"),
    ],
)
def test_nonsense_is_refused_by_name(servers: object, settings: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Clock(servers, **settings)  # type: ignore[arg-type]


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = key_file(tmp_path)
    path.chmod(0o644)
    with pytest.raises(NtpOSError, match="others may read it"):
        Clock("127.0.0.1", keys=path)
    with pytest.raises(ConfigError, match="takes 16"):
        Clock("127.0.0.1", keys=key_file(tmp_path, "5 AES128 HEX:00\n"))
