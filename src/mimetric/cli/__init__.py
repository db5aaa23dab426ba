"""The command ``mimetric``: option classes become flags, results become tables, mistakes become one line.

One file per command, each of its function, whose docstring is its help.  They import no torch: the help must be
instant.  What a command needs is imported when it runs.
"""

from __future__ import annotations

import sys

try:
    from mimetric.cli.app import command_line, main
except ModuleNotFoundError as error:
    sys.exit(f"mimetric: {error.name} is not installed; the command needs: pip install 'mimetric[app]'")

__all__ = ["command_line", "main"]
