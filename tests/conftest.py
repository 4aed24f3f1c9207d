"""For all tests."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Let processes under test see the signals that they are sent: started by nohup or in the background, some are ignored here."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
