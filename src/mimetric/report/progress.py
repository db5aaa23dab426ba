"""How long work shows itself: a bar on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text


class Bar:
    """One bar at a time, for a terminal; lines said appear above it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("starting", total=None)

    def started(self, label: str, total: int) -> None:
        """Work of `total` steps begins in place of what was shown."""
        self._progress.reset(self._task, description=label, total=total)

    def advanced(self, steps: int) -> None:
        """`steps` more are done."""
        self._progress.advance(self._task, steps)

    def said(self, line: str) -> None:
        """Print one line above the bar."""
        self._progress.console.print(Text(line))


class Lines:
    """A line when work begins, with the time since the start; for files and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic()

    def started(self, label: str, total: int) -> None:  # noqa: ARG002
        """Print what begins."""
        self.said(label)

    def advanced(self, steps: int) -> None:
        """Nothing: a log has no use for every step."""

    def said(self, line: str) -> None:
        """Print one line after the time."""
        minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
        self._console.print(Text(f"{minutes:3}:{seconds:02}  {line}"), soft_wrap=True)


@contextmanager
def shown_progress() -> Iterator[Bar | Lines]:
    """A listener for long work: a bar if stderr is a terminal, removed at the end, else lines."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bar(progress)
