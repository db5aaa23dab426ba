from __future__ import annotations

import pytest

from mimetric.report.progress import Bar, Lines, shown_progress


def test_plain_lines_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress() as progress:
        assert isinstance(progress, Lines)
        progress.started("2 runs", 20)
        progress.advanced(10)
        progress.said("supcon, seed 0: [bold]0.5")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["  0:00  2 runs", "  0:00  supcon, seed 0: [bold]0.5"]


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with shown_progress() as progress:
        assert isinstance(progress, Bar)
        progress.started("2 runs", 20)
        progress.advanced(20)
        progress.said("supcon is done")
    out, err = capsys.readouterr()
    assert out == ""
    assert "2 runs" in err
    assert "20/20" in err
    assert "supcon is done" in err
