"""How fast bytes may pass: a rate as text, and the meter that enforces it."""

from __future__ import annotations

import re

import trio

from ..errors import ConfigError

BURST_BYTES = 16 * 1024
"""Most bytes that pass at once after a pause: far below what a second carries on the links that are shown, 256 KiB at 2 Mbit/s."""

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def parse_rate(text: str) -> float:
    """Return the bit/s that a text such as `2mbit`, `512kbit`, `1.5 Mbit/s` or `64000` means; units are powers of ten.

    Raises:
        ConfigError: It means no rate above 0.
    """
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([kmg]?)(?:bit(?:/s)?)?", text.strip().lower())
    rate = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if rate <= 0:
        raise ConfigError(f"rate {text!r}: want a number of bit/s above 0, e.g. 2mbit, 512kbit or 64000")
    return rate


class Meter:
    """Lets bytes through at a rate, first come, first served.

    The next free moment of the link is kept rather than a number of tokens: the two are equivalent, and this one needs no task that
    refills a bucket. Late wake-ups are made up for, up to the burst, so that the mean rate is exact.

    Source: virtual scheduling algorithm of the generic cell rate algorithm, ITU-T I.371, annex A.

    Args:
        rate: In bit/s; None lets everything through at once.
        burst: In bytes.
    """

    def __init__(self, rate: float | None, *, burst: int = BURST_BYTES) -> None:
        self._seconds_per_byte = 0.0
        self._burst = burst
        self._free_at = float("-inf")
        self.set_rate(rate)

    def set_rate(self, rate: float | None) -> None:
        """Change the rate in bit/s; counts for the bytes that come from now on."""
        self._seconds_per_byte = 0.0 if rate is None else 8 / rate

    def reset(self) -> None:
        """Forget what is queued: the link was cut, and those who waited are gone."""
        self._free_at = min(self._free_at, trio.current_time())

    async def pass_on(self, n_bytes: int) -> None:
        """Wait until these bytes have left the link."""
        now = trio.current_time()
        idle_since = now - self._burst * self._seconds_per_byte
        self._free_at = max(self._free_at, idle_since) + n_bytes * self._seconds_per_byte
        await trio.sleep_until(max(now, self._free_at))
