"""A contest: ours, peers and a floor do the same in turns; one line for each peer, ratios first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from peaks import Step, peak
from report import Row
from timing import medians

OURS = "mimetric"


def contest(
    make: Callable[..., Step],
    at: Mapping[str, Any],
    peers: Mapping[str, bool],
    *,
    seconds: float,
    rounds: int = 30,
    least: int = 3,
    memory: bool = True,
) -> list[Row]:
    """Rows of one size, one for each peer.

    Args:
        make: makes the step of "floor", "mimetric" or a peer, ``make(who=..., **at)``.
        at: what is done and how large, as a row begins with it.
        peers: who else, and whether it is run; one that is not "dies".
        seconds, rounds, least: of :func:`timing.medians`.
        memory: whether peaks are measured too, each in a process of its own.
    """
    run = [OURS, *(peer for peer, runs in peers.items() if runs)]
    found = medians(
        {who: make(who=who, **at) for who in ("floor", *run)}, seconds=seconds, rounds=rounds, least=least
    )
    taken = {who: peak(make, {"who": who, **at}) / 2**20 for who in run} if memory else {}
    floor = found["floor"]
    row = {**at, "floor_ms": 1e3 * floor, "ours": found[OURS] / floor, "ours_mib": taken.get(OURS)}
    rows: list[Row] = []
    for peer in peers or (None,):
        seconds_of, mib = found.get(peer), taken.get(peer)
        rows.append(
            {
                **row,
                "peer": peer,
                "peer_floors": seconds_of and seconds_of / floor,
                "time_ratio": seconds_of and found[OURS] / seconds_of,
                "peer_mib": mib,
                "memory_ratio": mib and taken[OURS] / mib,
            }
        )
    return rows


def head(title: str, memory: bool) -> str:
    """The line above rows."""
    of_memory = f"{'ours MiB':>10}{'peer':>9}{'ours/peer':>10}" if memory else ""
    return f"{title:40}{'ours':>7}{'peer':>16}{'ours/peer':>10}{of_memory}{'floor ms':>10}"


def line(name: str, row: Row) -> str:
    """A row as text."""
    who = row["peer"] or ""
    if row["peer"] and row["peer_floors"] is None:
        cells = f"{row['ours']:7.2f}{who:>8}{'dies':>8}{'-':>10}"
    else:
        cells = f"{row['ours']:7.2f}{who:>8}{_number(row['peer_floors'], 8, 1)}{_number(row['time_ratio'], 10, 3)}"
    if row["ours_mib"] is not None:
        cells += (
            f"{row['ours_mib']:10.1f}{_number(row['peer_mib'], 9, 1)}{_number(row['memory_ratio'], 10, 3)}"
        )
    return f"  {name:38}{cells}{row['floor_ms']:10.2f}"


def _number(value: float | None, width: int, digits: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"
