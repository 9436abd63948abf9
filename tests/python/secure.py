"""secure EXCHANGER CERTIFICATES: has authenticated time, from a server that CERTIFICATES vouch for.

secure EXCHANGER CERTIFICATES OTHERS: beside others, and says what the time is worth until these have answered.
"""

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


def provisional(exchanger: str, certificates: str, others: str) -> str:
    entries = [f"{entry} nts" for entry in (exchanger, *others.split(","))]
    with ntpclock.Clock(",".join(entries), trusted_certificates=certificates, platform_trust=False) as clock:
        clock.wait(timeout=20)
        flags, source = clock.read().flags, clock.sources()[0]
    is_provisional = Flags.PROVISIONAL in flags and Flags.AUTHENTICATED not in flags
    return f"{'provisional' if is_provisional else 'not provisional'}, source {source.nts.name.lower()}"


if __name__ == "__main__":
    print(provisional(*sys.argv[1:]) if len(sys.argv) == 4 else secure(*sys.argv[1:]))
