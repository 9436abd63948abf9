"""The command `ntpclock`, also as `python -m ntpclock`."""

import signal
import sys

from ._ntpclock import cli


def main() -> int:
    """Runs the command line of this process and returns its exit code."""
    # Python's own handler would only take note, and the command never comes back to Python to look.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return cli(["ntpclock", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
