"""now.py SERVERS: waits until the clock is synchronised and shows what it knows, as bindings/c/now.c does."""

import sys

import ntpclock


def main() -> int:
    servers = sys.argv[1] if len(sys.argv) > 1 else None
    try:
        ntpclock.start(servers)
        ntpclock.wait(timeout=10)
    except ntpclock.NtpError as error:
        print(f"now.py: {error}", file=sys.stderr)
        return 1
    reading = ntpclock.read()
    print(f"time    {reading.datetime.isoformat()} ({reading.unix_ns} ns since 1970)")
    print(f"offset  {ntpclock.offset():+} ns: add it to the system clock")
    print(f"bound   {reading.error_ns} ns: UTC is within the time plus or minus this")
    print(f"status  {reading.state.name}")
    for source in ntpclock.sources():
        print(f"source  {source.name} {source.selection.name.lower()}, stratum {source.stratum}, ", end="")
        print(f"offset {source.offset_ns:+} ns, delay {source.delay_ns} ns")
    ntpclock.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
