"""What long work tells while it runs; who shows it decides how."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Hears of a piece of work: its name and size, then how far it is, and now and then a line."""

    def started(self, label: str, total: int) -> None:
        """Work of `total` steps begins, and what was shown before has ended."""

    def advanced(self, steps: int) -> None:
        """`steps` more of them are done."""

    def said(self, line: str) -> None:
        """One line for the reader."""


class Silent:
    """Shows nothing."""

    def started(self, label: str, total: int) -> None:
        """Nothing."""

    def advanced(self, steps: int) -> None:
        """Nothing."""

    def said(self, line: str) -> None:
        """Nothing."""
