"""One refresh: the top level, then each product by itself, with answers that take their time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from ..errors import EdgeswarmError, ExpiredError, FetchError
from ..trust.client import Outcome, Steps, TrustClient, Want

_T = TypeVar("_T")
Answer = Callable[[Want], Awaitable[bytes | None]]


@dataclass(frozen=True, slots=True)
class Verified:
    """What one refresh brought.

    Attributes:
        client: Knows the top level, and the products that are not failed, or behind.
        outcome: What to save.
        products: Those whose newest roles verified.
        failed: Why others did not.
        behind: Those of the failed ones for which what was verified before still speaks.
    """

    client: TrustClient
    outcome: Outcome
    products: tuple[str, ...]
    failed: dict[str, EdgeswarmError]
    behind: tuple[str, ...]


async def verify(client: TrustClient, products: tuple[str, ...], answer: Answer) -> Verified:
    """Drive a client through a refresh with these products.

    A source that breaks off is not asked for the rest of them: each question to a dead link would take as long as the one before.

    Raises:
        TrustError: The top level does not verify.
        FetchError: The source broke off before the end of the top level, or lacks a part of it.
    """
    await _drive(client.refresh(), answer)
    failed: dict[str, EdgeswarmError] = {}
    for product in products:
        try:
            await _drive(client.product(product), answer)
        except EdgeswarmError as error:
            failed[product] = error
            if isinstance(error, FetchError) and error.temporary:
                answer = partial(_no_more, error)
    lacking = [product for product, error in failed.items() if not isinstance(error, ExpiredError)]
    behind = tuple(product for product in lacking if client.stand_in(product))
    known = tuple(product for product in products if product not in failed)
    return Verified(client, client.outcome(), known, failed, behind)


async def nobody(_want: Want) -> bytes | None:
    """Answer nothing: what is saved must do."""
    return None


async def _no_more(error: FetchError, _want: Want) -> bytes | None:
    raise error


async def _drive(steps: Steps[_T], answer: Answer) -> _T:
    """Run verification steps to their end with answers that may take time."""
    try:
        want = next(steps)
        while True:
            want = steps.send(await answer(want))
    except StopIteration as stop:
        result: _T = stop.value
        return result
    finally:
        steps.close()
