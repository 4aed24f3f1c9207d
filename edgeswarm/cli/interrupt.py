"""How a command ends when it is interrupted: at once while it starts, in order once it works."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import trio

_T = TypeVar("_T")
SIGNAL_EXIT = 128
"""Exit code of a command that a signal ended, less the signal's number. Source: what shells report, POSIX XCU 2.8.2."""
_SAME_SECONDS = 1.0  # a guess
_SHOW_CURSOR = b"\x1b[?25h"  # DECTCEM, ECMA-48 private mode 25
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedError(BaseException):
    """A signal ended the command, which has cleaned up after itself; the number is kept.

    No `Exception`, like `KeyboardInterrupt`: libraries catch those to report them as something else.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def quiet_signals() -> Iterator[Callable[[], None]]:
    """Let no signal that asks the process to stop show a traceback or skip cleaning up while the block runs.

    Until the function that is yielded is called, which is during the imports, Ctrl-C ends the process on the spot: nothing is open
    yet, and Python's own KeyboardInterrupt would show where in them it came. From then on this and other signals to stop are raised
    as `StoppedError`. A signal that is ignored or handled already is left alone.
    """
    before = {number: signal.getsignal(number) for number in _STOPPING}
    mine = _replaceable(before)
    if signal.SIGINT in mine:
        signal.signal(signal.SIGINT, _leave)

    def at_work() -> None:
        for number in mine:
            signal.signal(number, _stop)

    try:
        yield at_work
    finally:
        for number in mine:
            signal.signal(number, before[number])


def _replaceable(before: Mapping[signal.Signals, Any]) -> list[signal.Signals]:
    """Return the signals that nobody else ignores or handles; none outside the main thread, where no handler can be set."""
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in _STOPPING if before[number] in {signal.SIG_DFL, signal.default_int_handler, _stop}]


def _leave(number: int, _frame: FrameType | None) -> None:
    os._exit(SIGNAL_EXIT + number)


def _stop(number: int, _frame: FrameType | None) -> None:
    raise StoppedError(number)


async def until_stopped(work: Callable[[], Awaitable[_T]]) -> _T:
    """Run something; a signal that asks the process to stop cancels it, unless that is ignored or handled already.

    Cleaning up may take its time. Another such signal a second later ends the process on the spot.

    Raises:
        StoppedError: It was cancelled so, and has cleaned up.
    """
    import trio

    from ..node.tasks import plain_nursery

    mine = _replaceable({number: signal.getsignal(number) for number in _STOPPING})
    if not mine:
        return await work()
    stopped: list[int] = []
    with trio.open_signal_receiver(*mine) as signals:
        async with plain_nursery() as nursery:
            nursery.start_soon(_watch, signals, mine, stopped, nursery.cancel_scope)
            result = await work()
            nursery.cancel_scope.cancel()
            return result
    raise StoppedError(stopped[0])


async def _watch(signals: Any, mine: Sequence[int], stopped: list[int], scope: trio.CancelScope) -> None:
    async for number in signals:
        stopped.append(number)
        scope.cancel()
        _let_insist(mine)


def _let_insist(numbers: Sequence[int]) -> None:
    """Let the next signal end the process at once; the handlers are put back by whoever receives signals now.

    Not within a second: a terminal and the program that runs this one may both pass on the same Ctrl-C.
    """
    since = time.monotonic()

    def insist(number: int, _frame: FrameType | None) -> None:
        if time.monotonic() - since < _SAME_SECONDS:
            return
        for descriptor in filter(os.isatty, (1, 2)):
            os.write(descriptor, _SHOW_CURSOR)  # progress bars hide it
        os._exit(SIGNAL_EXIT + number)

    for number in numbers:
        signal.signal(number, insist)
