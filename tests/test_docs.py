"""Every command that the docs name exists, and takes the options that are shown."""

import pathlib
import re
import runpy
import shlex
import sys

import pytest
import typer.main

from gangue.pipeline.command import cli

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMED = re.compile(r"^(?:[A-Z_]+=\S+ )*(gangue|make|dvc|python -m benchmarks\.\w+)(?: (.*))?$")
ELLIPSIS = ("…", "...")


def named():
    """(program, words after it) of every command in code, as it stands on a page."""
    found = set()
    for page in PAGES:
        text = page.read_text()
        blocks = re.findall(r"```bash\n(.*?)```", text, re.S)
        code = [line for block in blocks for line in block.splitlines()]
        code += re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"```.*?```", "", text, flags=re.S))
        for line in code:
            for part in re.sub(r"\s+#.*", "", line).split("&&"):
                match = NAMED.match(part.strip())
                if match and not any(mark in part for mark in ELLIPSIS):
                    found.add((match[1], (match[2] or "").strip()))
    return sorted(found)


def of(program):
    return [arguments for name, arguments in named() if name == program]


def test_there_are_commands_to_check():
    assert len(of("gangue")) >= 8
    assert len({name for name, _ in named() if "benchmarks" in name}) >= 12
    assert len(of("dvc")) >= 4


@pytest.mark.parametrize("arguments", of("gangue"))
def test_gangue_takes_what_the_docs_show(arguments):
    words = shlex.split(re.sub(r"\[(.*?)\]", r"\1", arguments))
    group = typer.main.get_command(cli.app)
    if not words or words[0].startswith("--"):
        assert all(word in ("--version", "--help", "--install-completion") for word in words)
        return
    command = group.commands[words[0]]
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words[1:] if word.startswith("--")} <= options | {"--help"}


@pytest.mark.filterwarnings("ignore:.* found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("program", sorted({name for name, _ in named() if name.startswith("python -m")}))
def test_a_module_takes_what_the_docs_show(program, monkeypatch, capsys):
    module = program.split()[-1]
    wanted = {word for arguments in of(program) for word in re.findall(r"--[a-z][a-z-]*", arguments)}
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__")
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert [word for word in sorted(wanted) if word not in shown] == []


@pytest.mark.parametrize("arguments", of("make"))
def test_make_has_the_target(arguments):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert not arguments or arguments.split()[0] in targets


@pytest.mark.parametrize("arguments", of("dvc"))
def test_dvc_has_the_command(arguments):
    words = [word for word in shlex.split(arguments) if not word.startswith("-") and not re.search(r"[=@/A-Z]", word)]
    known = ("repro", "metrics", "exp", "plots", "push", "pull", "checkout", "dag", "params")
    assert not words or words[0] in known
