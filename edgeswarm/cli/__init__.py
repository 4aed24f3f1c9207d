"""The command line. One file per verb; `app` is the table of them. Nothing but this module is loaded before it is needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial

from ..errors import EdgeswarmError
from .interrupt import SIGNAL_EXIT, StoppedError, quiet_signals

USAGE_EXIT = 2
INTERRUPTED_EXIT = SIGNAL_EXIT + 2
_EXTRA = frozenset({"cyclopts", "rich"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (docs/reference/cli.md).

    An error that edgeswarm raises on purpose becomes one line on stderr; anything else is a bug and shows its traceback.

    Args:
        arguments: Without the program's name; None: those of the process.
    """
    with quiet_signals() as at_work:
        try:
            from .app import run
        except ModuleNotFoundError as error:
            if error.name not in _EXTRA:
                raise
            print("edgeswarm: the command line is not installed: pip install 'edgeswarm[all]'", file=sys.stderr)
            return USAGE_EXIT
        return _code_of(partial(run, sys.argv[1:] if arguments is None else list(arguments), at_work))


def _code_of(run: Callable[[], int]) -> int:
    from .show import OutputError, show_error

    try:
        code = _run_and_flush(run)
    except OutputError as error:
        _forget_output()
        show_error(str(error))
        return error.exit_code
    except EdgeswarmError as error:
        show_error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT
    except StoppedError as stopped:
        return SIGNAL_EXIT + stopped.number
    except BrokenPipeError:
        _forget_output()  # whoever read it has gone
        return 0
    return code


def _run_and_flush(run: Callable[[], int]) -> int:
    """Run, and write what is left of the output."""
    from .show import written

    code = run()
    with written():
        sys.stdout.flush()
    return code


def _forget_output() -> None:
    """Drop what was not written: the interpreter would try once more at exit, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
