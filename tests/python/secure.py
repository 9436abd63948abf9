"""secure EXCHANGER CERTIFICATES: has authenticated time, from a server that CERTIFICATES vouch for."""

import sys

import ntpclock
from ntpclock import Flags, NtsState


def secure(exchanger: str, certificates: str) -> str:
    entry = f"{exchanger} nts"
    with ntpclock.Clock(entry, trusted_certificates=certificates, platform_trust=False) as clock:
        clock.wait(timeout=20)
        source = clock.sources()[0]
        authenticated = Flags.AUTHENTICATED in clock.read().flags and source.nts is NtsState.AUTHENTICATED
    answer = ntpclock.query(entry, 10, trusted_certificates=[certificates])
    try:
        ntpclock.query(entry, 10)
    except ntpclock.KeyExchangeError:
        pass
    else:
        raise SystemExit("a stranger was trusted")
    words = {True: "authenticated", False: "not authenticated"}
    return f"{words[authenticated]}, cipher {source.nts_algorithm}, query {words[answer.authenticated]}"


if __name__ == "__main__":
    print(secure(sys.argv[1], sys.argv[2]))
