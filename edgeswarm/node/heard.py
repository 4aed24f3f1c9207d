"""What came of asking for metadata, by whom was asked: what a peer says must neither raise nor hide an alarm about the origin."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from ..errors import EdgeswarmError, ExpiredError, FetchError, NoSpaceError, TrustError

STALE_EXIT = 3


class Heard:
    """What the last refresh from the origin, from any peer, or from the files that were saved, failed with.

    Attributes:
        source: "origin", "peers" or "saved".
        error: Of the top level; None: it verified.
        products: Of the products that failed, though the top level verified.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.error: EdgeswarmError | None = None
        self.products: Mapping[str, EdgeswarmError] = {}

    def failed(self, error: EdgeswarmError) -> None:
        """Note that the top level failed; what it was with the products before is not known to be otherwise."""
        self.error = error

    def came(self, products: Mapping[str, EdgeswarmError]) -> None:
        """Note that the top level verified, and which products failed."""
        self.error, self.products = None, dict(products)

    def forgive(self, known: Container[str]) -> None:
        """Note that another source brought what this one did not; that this one's answer did not verify stays to be told.

        Args:
            known: Products that are up to date now.
        """
        if not isinstance(self.error, TrustError) or self.source == "saved":
            self.error = None
        self.products = {
            product: error for product, error in self.products.items() if isinstance(error, TrustError) or product not in known
        }

    @property
    def is_refused(self) -> bool:
        """Whether something came that does not verify."""
        return any(isinstance(error, TrustError) for error in (self.error, *self.products.values()))

    def waits(self, product: str) -> bool:
        """Tell if a product was only not had because the carrier broke off: it may come by itself."""
        error = self.products.get(product)
        return isinstance(error, FetchError) and error.temporary

    def rows(self, products: Container[str]) -> list[dict[str, Any]]:
        """Return a row for each error, as JSON has it.

        Args:
            products: Those that count for this node.
        """
        failed = [("", self.error)] if self.error is not None else []
        failed += [(product, error) for product, error in self.products.items() if product in products]
        return [
            {"source": self.source, "product": product, "error": str(error), "exit_code": exit_code(error, product)}
            for product, error in failed
        ]


def exit_code(error: EdgeswarmError, product: str = "") -> int:
    """Return 77 for what does not verify, 28 for a full disk, else 3: it could not be had.

    A product whose role has expired is 3, too: it is genuine, and what the publisher signed last.
    """
    if isinstance(error, NoSpaceError):
        return NoSpaceError.exit_code
    is_lapsed = bool(product) and isinstance(error, ExpiredError)
    return TrustError.exit_code if isinstance(error, TrustError) and not is_lapsed else STALE_EXIT
