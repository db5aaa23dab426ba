"""``python -m mimetric`` is the command ``mimetric``."""

import sys

from mimetric.cli import main

if __name__ == "__main__":
    sys.exit(main())
