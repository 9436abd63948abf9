"""What is installed: the module's symbols, its types, its command."""

import importlib.metadata
import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import ntpclock
import ntpclock._ntpclock as native
import pytest

COMMAND = Path(sysconfig.get_path("scripts")) / "ntpclock"


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "NTPCLOCK_SERVERS"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=inherited | environment)


def test_the_module_exports_its_init_function_and_nothing_else() -> None:
    symbols = run("nm", "--dynamic", "--defined-only", native.__file__)
    assert [line.split()[-1] for line in symbols.stdout.splitlines()] == ["PyInit__ntpclock"]


def test_the_module_has_no_soname_and_needs_no_foreign_library() -> None:
    dynamic = run("readelf", "--dynamic", "--wide", native.__file__).stdout
    assert "NEEDED" in dynamic
    # With one, a process that later loads a library of that name would be given this module.
    assert "SONAME" not in dynamic
    assert "libpython" not in dynamic
    assert "libntpclock" not in dynamic


def test_one_build_serves_every_python_from_3_10_on() -> None:
    assert native.__file__.endswith("_ntpclock.abi3.so")


def test_the_package_passes_the_strict_type_checker() -> None:
    checked = run(sys.executable, "-m", "mypy", "--strict", "-p", "ntpclock")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_manual_describes_what_is_there() -> None:
    checked = run(sys.executable, "-m", "mypy.stubtest", "ntpclock")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_everything_public_is_in_the_package_and_has_a_text() -> None:
    assert set(ntpclock.__all__) == set(native.__all__) | {"__version__"}
    for name in set(ntpclock.__all__) - {"__version__"}:
        assert getattr(ntpclock, name).__doc__, name


# The second way is that of servers that have interpreters share their lock, for which CPython leaves the check to us.
SUBINTERPRETERS = """
import sys, threading
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

def refused(interpreter):
    program = "try:\\n import ntpclock\\nexcept ImportError as e: assert 'subinterpreters' in str(e), e\\nelse: raise SystemError('in')"
    failed = interpreters.run_string(interpreter, program)
    assert failed is None, failed

def sharing():
    return interpreters.create("legacy") if sys.version_info >= (3, 13) else interpreters.create(isolated=False)

def all_refused():
    for interpreter in (interpreters.create(), sharing()):
        refused(interpreter)
        interpreters.destroy(interpreter)

all_refused()
import ntpclock
told = threading.Event()
with ntpclock.Clock(sys.argv[1]) as clock:
    clock.wait(10)
    all_refused()
    clock.on_event(lambda _: told.set())
    assert told.wait(20)
# This one is left for the end of the process.
refused(interpreters.create())
"""


def test_subinterpreters_cannot_import_it_and_the_main_one_is_none_the_worse(upstream: str) -> None:
    tried = run(sys.executable, "-c", SUBINTERPRETERS, upstream)
    assert (tried.returncode, tried.stderr) == (0, "")


def test_there_is_one_version() -> None:
    command = run(COMMAND, "--version").stdout.strip()
    assert command == f"ntpclock {ntpclock.__version__}"
    assert importlib.metadata.version("ntpclock") == ntpclock.__version__


def test_the_command_line_takes_paths_for_arguments(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("nonsense")
    assert ntpclock.cli([Path("ntpclock"), "cookie-keys", tmp_path / "keys"]) == 1
    assert ntpclock.cli(["ntpclock", "--version"]) == 0


def test_the_command_and_the_module_are_the_same(upstream: str) -> None:
    for command in ([COMMAND], [sys.executable, "-m", "ntpclock"]):
        told = run(*command, "query", upstream)
        assert told.returncode == 0, told.stderr
        assert upstream in told.stdout


def test_the_command_reads_the_environment(upstream: str) -> None:
    told = run(COMMAND, "now", NTPCLOCK_SERVERS=upstream)
    assert told.returncode == 0, told.stderr
    assert "±" in told.stdout


def test_the_command_fails_with_a_sentence_and_a_code() -> None:
    told = run(COMMAND, "now")
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith("ntpclock: no server is named")
    assert run(COMMAND, "nonsense").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "ends_with"),
    [(["serve", "--listen", "127.0.0.1:0", "--local", "2", "--root-dispersion", "1"], 0), (["demo"], -signal.SIGINT)],
)
def test_ctrl_c_ends_the_command(arguments: list[str], ends_with: int) -> None:
    whole: list[str | Path] = [COMMAND, *arguments]
    with subprocess.Popen(whole, stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        assert command.stdout.readline()
        command.send_signal(signal.SIGINT)
        assert command.wait(timeout=10) == ends_with
