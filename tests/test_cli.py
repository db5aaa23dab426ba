from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import mimetric
from mimetric import catalog, recipes
from mimetric.cli import command_line, main
from mimetric.core.errors import InputError
from mimetric.train.options import CompareOptions
from sample_results import sample_results

SMALL = [
    "--data",
    "digits",
    "--objectives",
    "supcon,cross-entropy",
    "--seeds",
    "2",
    "--steps",
    "6",
    "--probes",
    "2",
]


def parsed(*words: str) -> CompareOptions:
    tokens = ["compare", *words]
    _, bound, _ = command_line(tokens).parse_args(tokens, exit_on_error=False, print_error=False)
    options = bound.arguments.get("options", CompareOptions())
    assert isinstance(options, CompareOptions)
    return options


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """`compare` writes and trains nothing: it makes its folder and returns made-up results."""
    results = sample_results()

    def compare(options: CompareOptions, **_: object) -> dict[str, Any]:
        options.out.mkdir(parents=True, exist_ok=True)
        return results

    monkeypatch.setattr("mimetric.train.compare.compare", compare)
    return results


@pytest.mark.parametrize("words", ["compare --help", "reproduce --help", "reproduce --list"])
def test_help_loads_no_torch(words: str) -> None:
    code = (
        f"import sys, mimetric.cli as c; code = c.main({words.split()});"
        "print(code, sorted({'torch', 'numpy', 'sklearn', 'accelerate', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_help_shows_every_option_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--help"]) == 0
    text = capsys.readouterr().out
    for field in fields(CompareOptions):
        assert f"--{field.name.replace('_', '-')}" in text
    assert "[default: 128]" in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{mimetric.__version__}\n"


def test_flags_become_options_and_underscores_are_accepted() -> None:
    assert parsed("--batch-size", "64", "--lr=0.1", "--out", "a b") == CompareOptions(
        batch_size=64, lr=0.1, out=Path("a b")
    )
    assert parsed("--batch_size", "64") == parsed("--batch-size=64")
    assert parsed() == CompareOptions()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("comprae", 'mimetric: unknown command "comprae"; did you mean "compare"?'),
        (
            "--bogus",
            'mimetric: unknown command "--bogus"; available commands: compare, train, evaluate, doctor, embed, '
            "explain, export, mine, ..",
        ),
        (
            "compare --bacht-size 3",
            "mimetric compare: unknown option: --bacht-size; did you mean --batch-size?",
        ),
        ("compare --zz", "mimetric compare: unknown option: --zz; see mimetric compare --help"),
        (
            "compare digits",
            "mimetric compare: unexpected 'digits'; give values by name, see mimetric compare --help",
        ),
        (
            "compare --sampler randm",
            'mimetric compare: invalid value "randm" for --sampler; choose from: "class-balanced", "random"; '
            'did you mean "random"?',
        ),
        (
            "compare --steps many",
            'mimetric compare: invalid value for --steps: unable to convert "many" into int; '
            "see mimetric compare --help",
        ),
        ("compare --seeds 0", "mimetric compare: seeds must be a whole number, at least 1, got 0; try 3"),
        ("objectives --x", "mimetric objectives: unknown option: --x; see mimetric objectives --help"),
        (
            "reproduce",
            f"mimetric reproduce: name recipes, or give --all; there are {', '.join(recipes.names())}",
        ),
        (
            "reproduce --all boudiaf2020",
            f"mimetric reproduce: name recipes, or give --all; there are {', '.join(recipes.names())}",
        ),
        (
            "reproduce boudiaf202",
            "mimetric reproduce: unknown recipe 'boudiaf202'; did you mean boudiaf2020?",
        ),
        (
            "reproduce --quick boudiaf202",
            "mimetric reproduce: unknown recipe 'boudiaf202'; did you mean boudiaf2020?",
        ),
        (
            "reproduce boudiaf202 --data digits",
            "mimetric reproduce: unknown recipe 'boudiaf202'; did you mean boudiaf2020?",
        ),
        ("reproduce --lst", "mimetric reproduce: unknown option: --lst; did you mean --list?"),
        (
            "reproduce boudiaf2020 --toy-step 3",
            "mimetric reproduce: unknown option: --toy-step; did you mean --toy-steps?",
        ),
        (
            "reproduce boudiaf2020 --steps many",
            'mimetric reproduce: invalid value for --steps: unable to convert "many" into int; '
            "see mimetric reproduce --help",
        ),
        ("reproduce boudiaf2020 --steps 0", "mimetric reproduce: boudiaf2020: steps must be > 0, got 0"),
        (
            "reproduce boudiaf2020 --seeds 0",
            "mimetric reproduce: seeds must be a whole number, at least 1, got 0; try 3",
        ),
        (
            "reproduce boudiaf2020 --out .",
            "mimetric reproduce: out: must be a file in a folder that is there, got .; name another by --out",
        ),
        (
            "reproduce boudiaf2020 --out no/where.md",
            "mimetric reproduce: out: must be a file in a folder that is there, got no/where.md; name another by --out",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    assert capsys.readouterr() == ("", f"{line}\n")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--data", "glyhps"], ["glyhps", "glyphs"]),
        (["--data", "npz:nowhere.npz"], ["nowhere.npz"]),
        (["--data", "digits", "--objectives", "tripelt"], ["tripelt", "did you mean triplet"]),
        (
            ["--data", "digits", "--objectives", "supcon:temprature=1"],
            ["temprature", "did you mean temperature"],
        ),
        (["--data", "digits", "--out", "a_file/inside"], ["a_file/inside"]),
    ],
)
def test_bad_input_leaves_nothing_behind(
    words: list[str], parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("a_file").touch()
    assert main(["compare", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("mimetric compare: ")
    assert all(part in err for part in parts)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "a_file"]


def test_compares_on_real_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "o u t"
    assert main(["compare", *SMALL, "--out", str(folder), "--json"]) == 0
    out, err = capsys.readouterr()
    results = json.loads(out)
    assert results == json.loads((folder / "results.json").read_text())
    assert list(results["objectives"]) == ["supcon", "cross-entropy"]
    assert len((folder / "results.csv").read_text().splitlines()) == 1 + 4
    assert len(list(folder.glob("checkpoints/*/*.safetensors"))) == 4
    assert "finds the right class first" in (folder / "report.html").read_text()
    assert "4 runs of 6 steps" in err


def test_prints_the_table(
    made_up: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "--out", str(tmp_path)]) == 0
    out, _ = capsys.readouterr()
    assert all(name in out for name in made_up["objectives"])
    assert "raw input" in out
    assert (tmp_path / "report.html").exists()


def test_json_is_one_object_on_stdout(
    made_up: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "--json", "--out", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == made_up


@pytest.mark.usefixtures("made_up")
def test_the_default_folder_is_never_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(3):
        assert main(["compare", "--json"]) == 0
    Path("runs/compare-4").mkdir()  # empty: of a run that failed at once
    assert main(["compare", "--json"]) == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == [
        "compare", "compare-2", "compare-3", "compare-4",
    ]  # fmt: skip


def test_an_error_of_the_work_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def compare(*_: object, **__: object) -> None:
        raise InputError("folder:pets: no class folders; put the images of each class in a folder of its own")

    monkeypatch.setattr("mimetric.train.compare.compare", compare)
    assert main(["compare", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr() == (
        "",
        "mimetric compare: folder:pets: no class folders; put the images of each class in a folder of its own\n",
    )


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to a child there")
def test_ctrl_c_is_one_line_and_130(tmp_path: Path) -> None:
    # A process started in the background may ignore Ctrl-C, and its children with it: ask for it again.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code += "; from mimetric.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["compare", "--data", "digits", "--steps", "100000", "--out", str(tmp_path)]
    with subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        first = process.stderr.readline()  # the run has begun
        process.send_signal(signal.SIGINT)
        try:
            _, rest = process.communicate(timeout=60)
        finally:
            process.kill()
    assert "runs of 100000 steps" in first
    assert process.returncode == 130
    assert rest == "mimetric compare: stopped by Ctrl-C; runs that had ended are kept\n"


def test_says_what_to_install_where_the_command_is_not_complete() -> None:
    code = "import sys; sys.modules['cyclopts'] = None; import mimetric.cli"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        done.stderr == "mimetric: cyclopts is not installed; the command needs: pip install 'mimetric[app]'\n"
    )


def test_objectives_lists_the_catalog(capsys: pytest.CaptureFixture[str]) -> None:
    names = [*catalog.entries(), *catalog.others()]
    assert main(["objectives"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in names)
    assert main(["objectives", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == names


RESULT = {
    "name": "boudiaf2020", "header": recipes.header("boudiaf2020"), "settings": {"steps": 3}, "seeds": [0],
    "measured": {}, "claims": [], "seconds": 1.0, "environment": {"packages": {"torch": "2"}},
}  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any, int]]:
    """`reproduce` runs nothing: what it was asked to run, with which options and how many seeds."""
    heard: list[tuple[str, Any, int]] = []

    def reproduce(recipe: Any, options: Any, *, seeds: int, **_: object) -> dict[str, Any]:
        heard.append((recipe.name, options, seeds))
        return RESULT

    monkeypatch.setattr("mimetric.train.recipe.reproduce", reproduce)
    return heard


def test_the_help_of_a_recipe_shows_its_claim_and_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "boudiaf2020", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert recipes.header("boudiaf2020")["title"] in text
    assert "--toy-steps INT Optimizer steps there" in text
    assert "[default: glyphs]" in text
    assert "[default: 70]" in text
    assert main(["reproduce", "boudiaf2020", "--quick", "--help"]) == 0
    assert "[default: 70]" not in capsys.readouterr().out


def test_a_recipe_runs_where_pydantic_is_loaded(capsys):
    """The parser then checks defaults too: the page and other packages load it."""
    pytest.importorskip("pydantic")
    assert main(["reproduce", "boudiaf2020", "--seeds", "0"]) == 2
    assert "seeds must be a whole number" in capsys.readouterr().err


def test_flags_of_a_recipe_become_its_options(asked: list[Any]) -> None:
    recipe = recipes.load("boudiaf2020")
    for words in ([], ["--seeds", "5", "--steps=400"], ["--quick"], ["--quick", "--steps", "400"]):
        assert main(["reproduce", "boudiaf2020", *words]) == 0
    assert asked == [
        ("boudiaf2020", recipe.options(), 3),
        ("boudiaf2020", recipe.options(), 5),
        ("boudiaf2020", recipe.quick(), 3),
        ("boudiaf2020", recipe.quick(steps=400), 3),
    ]


@pytest.mark.usefixtures("asked")
def test_all_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "--all"]) == 2
    assert capsys.readouterr().err == (
        "mimetric reproduce: out: must be a file in a folder that is there, got docs/reproduced.md; "
        "name another by --out\n"
    )
    assert main(["reproduce", "--all", "--quick"]) == 0
    assert not list(tmp_path.iterdir())
    Path("docs").mkdir()
    assert main(["reproduce", "--all"]) == 0
    assert main(["reproduce", *recipes.names(), "--out", "named.md"]) == 0
    assert Path("named.md").read_text() == Path("docs/reproduced.md").read_text()
    assert "## boudiaf2020" in Path("named.md").read_text()


def test_all_runs_every_recipe_and_a_name_given_twice_runs_once(asked: list[Any]) -> None:
    assert main(["reproduce", "--all", "--quick"]) == 0
    assert [name for name, _, _ in asked] == recipes.names()
    asked.clear()
    assert main(["reproduce", "boudiaf2020", "boudiaf2020"]) == 0
    assert len(asked) == 1


def test_the_page_stays_where_a_recipe_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("as it was")

    def reproduce(*_: object, **__: object) -> None:
        raise InputError("no")

    monkeypatch.setattr("mimetric.train.recipe.reproduce", reproduce)
    assert main(["reproduce", "boudiaf2020", "--out", str(page)]) == 2
    assert page.read_text() == "as it was"
    assert list(tmp_path.iterdir()) == [page]


def test_reproduces_on_real_data(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["reproduce", "boudiaf2020", "--quick", "--seeds", "1", "--steps", "1", "--json"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)["boudiaf2020"]
    assert found["settings"]["steps"] == 1
    assert {claim["verdict"] for claim in found["claims"]} == {"inconclusive"}
    assert "boudiaf2020, seed 0: " in err


def test_lists_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "--list"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for name in recipes.names():
        assert f"{name} {recipes.header(name)['title']} {recipes.header(name)['Claim']}" in text
    assert main(["reproduce", "--list", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == recipes.names()


def test_ctrl_c_in_a_recipe_promises_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def reproduce(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mimetric.train.recipe.reproduce", reproduce)
    assert main(["reproduce", "boudiaf2020"]) == 130
    assert capsys.readouterr().err == "mimetric reproduce: stopped by Ctrl-C\n"
