"""The command line. One file per verb; `app` is the table of them. Nothing but this module is loaded before it is needed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial

from ..errors import EdgeswarmError
from .interrupt import SIGNAL_EXIT, StoppedError, quiet_signals
from .streams import forget_output, forgiving_stderr

USAGE_EXIT = 2
INTERRUPTED_EXIT = SIGNAL_EXIT + 2
_EXTRA = frozenset({"cyclopts", "rich"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (docs/reference/cli.md).

    An error that edgeswarm raises on purpose becomes one line on stderr; anything else is a bug and shows its traceback.

    Args:
        arguments: Without the program's name; None: those of the process.
    """
    with quiet_signals() as at_work, forgiving_stderr():
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
        forget_output()
        show_error(str(error))
        return error.exit_code
    except EdgeswarmError as error:
        show_error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT
    except StoppedError as stopped:
        return SIGNAL_EXIT + stopped.number
    return code


def _run_and_flush(run: Callable[[], int]) -> int:
    """Run, and write what is left of the output."""
    from .show import written

    code = run()
    with written():
        sys.stdout.flush()
    return code
