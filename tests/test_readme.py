"""The README's library example runs as printed, with torch and numpy only from the library's side."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_library_example_trains() -> None:
    [example] = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    apps = "{'accelerate', 'plotly', 'matplotlib', 'sklearn', 'cyclopts', 'rich', 'jinja2'}"
    keep = "\n    losses.append(float(loss))"
    code = example.replace("loss.backward()", f"loss.backward(){keep}")
    check = (
        f"\nimport sys\nassert not {apps} & set(sys.modules)\nassert sum(losses[-5:]) < 0.9 * sum(losses[:5])"
    )
    for text in (code, code.replace("temperature=0.1", "temperature=0.5")):
        done = subprocess.run(
            [sys.executable, "-c", "losses = []\n" + text + check], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
