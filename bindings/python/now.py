"""Prints the synchronised time: now.py [SERVERS]. Without SERVERS, $NTPCLOCK_SERVERS names them."""

import sys

import ntpclock


def ms(ns: int | None, form: str = ".6f") -> str:
    return "unknown" if ns is None else format(ns / 1e6, form)


def print_time(reading: ntpclock.Reading) -> None:
    seconds = reading.datetime().strftime("%Y-%m-%dT%H:%M:%S")
    print(f"time    {seconds}.{reading.unix_ns % 1_000_000_000:09}Z")


def print_sources() -> None:
    print(f"{'selection':<12} {'source':<32} {'stratum':>7} {'offset ms':>12} {'delay ms':>12}")
    for source in ntpclock.sources():
        offset, delay = ms(source.offset_ns, "+.6f"), ms(source.delay_ns)
        stratum = source.stratum or 0
        print(
            f"{source.selection.name.lower():<12} {source.name:<32} {stratum:>7} {offset:>12} {delay:>12}",
            source.fault or "",
        )


def main() -> int:
    try:
        ntpclock.start(sys.argv[1] if len(sys.argv) > 1 else None)
    except ntpclock.NtpError as error:
        print(f"now: {error}", file=sys.stderr)
        return 2
    waited = 0
    try:
        ntpclock.wait(timeout=10)
    except ntpclock.NtpError as error:
        print(f"now: {error}", file=sys.stderr)
        waited = 1

    reading = ntpclock.read()
    print_time(reading)
    print(f"offset  {ms(ntpclock.offset(), '+.6f')} ms")
    print(f"bound   {ms(reading.error_ns)} ms")
    print(f"status  {reading.state.name}\n")
    print_sources()
    ntpclock.stop()
    return waited


if __name__ == "__main__":
    sys.exit(main())
