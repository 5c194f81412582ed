"""Functions of a tree of Python files: a docstring asks for the code it was taken out of."""

from __future__ import annotations

import ast
import inspect
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

from upath import UPath

from gangue.transforms.datasets import remote
from gangue.transforms.settings.section import Count
from gangue.transforms.sources import files
from gangue.transforms.sources.blocks import Record, content_ids, rejected
from gangue.transforms.sources.files import File
from gangue.transforms.sources.source import SourceSection

SKIPPED = frozenset({"test", "tests", "idlelib", "lib2to3", "site-packages", "__pycache__"})
QUERY_CHARACTERS = 15  # a shorter first paragraph asks for nothing in particular
Function = ast.FunctionDef | ast.AsyncFunctionDef


class PythonCode(SourceSection):
    """Functions of a tree of ``.py`` files: docstring paragraph -> source without the docstring."""

    kind: Literal["python_code"]
    path: str
    packages: tuple[str, ...] = ()  # modules or packages under path; none: every file
    min_characters: Count = 60  # shorter functions are rejected

    def records(self) -> Iterator[Record]:
        """A document for each function, and a query for each that has a telling docstring.

        Raises:
          FileNotFoundError: the folder, or one of the packages, is missing.
        """
        root = files.folder(self.path, "Make the link with `make`, or set source.path to a folder of .py files")
        for file in _files(root, self.packages):
            yield from _functions(file, self.min_characters)


def _files(root: Path | UPath, packages: tuple[str, ...]) -> list[File]:
    """All files of the packages, each once, sorted by path."""
    found: dict[str, Path | UPath] = {}
    for package in packages or ("",):
        path = root / package
        if PurePosixPath(package).is_absolute() or ".." in PurePosixPath(package).parts:
            raise ValueError(f"source.packages: {package} must be below {root}. Write its path from there")
        if path.is_dir():
            for file in files.matching(path, "**/*.py") if isinstance(path, UPath) else path.rglob("*.py"):
                if file.is_file() and SKIPPED.isdisjoint(file.relative_to(str(path)).parts[:-1]):
                    found[files.origin(file, root)] = file
        elif path.is_file() and path.suffix == ".py":
            found[files.origin(path, root)] = path
        else:
            raise FileNotFoundError(
                f"source.packages: {package} must be a .py file or a folder of {root}, found neither. Remove it"
            )
    return [File(found[origin], origin) for origin in sorted(found)]


def _functions(file: File, min_characters: int) -> Iterator[Record]:
    with remote.answering(str(file.path)):
        content = file.path.read_bytes()
    try:
        # Python itself reads any end of line as \n, and counts its lines that way.
        source = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        yield rejected(file.origin, line, "not UTF-8", content[:2000].decode(errors="replace"))
        return
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        yield rejected(file.origin, line, "not Python", source)
        return

    lines = source.split("\n")
    seen: Counter[str] = Counter()
    for name, node in functions(tree):
        seen[name] += 1
        number = f"#{seen[name]}" if seen[name] > 1 else ""
        document_id = f"{file.origin}::{name}{number}"
        place = (file.origin, node.lineno)
        body = without_docstring(lines, node)
        fault = _fault(node, body, min_characters)
        if fault:
            yield rejected(*place, fault, body)
            continue
        yield Record("documents", (document_id, "", body, *place))
        question = first_paragraph(node)
        if len(question) >= QUERY_CHARACTERS:
            [query_id] = content_ids("q-", [question])
            yield Record("queries", (query_id, question, [], *place))
            yield Record("positives", (query_id, document_id, 1.0, *place))


def _fault(node: Function, body: str, min_characters: int) -> str:
    rest = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    if all(isinstance(statement, ast.Pass) or _is_ellipsis(statement) for statement in rest):
        return "no body"
    return "shorter than min_characters" if len(body) < min_characters else ""


def _is_ellipsis(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and statement.value.value is Ellipsis
    )


def functions(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    r"""Qualified name and node of each function outside of functions, in source order.

    >>> source = "class A:\n  def f(self):\n    def inner(): 0\nif 1:\n  async def g(): 0"
    >>> [name for name, _ in functions(ast.parse(source))]
    ['A.f', 'g']
    """
    # A stack, for a chain of a thousand elif is a tree that deep.
    waiting: list[tuple[str, ast.AST]] = [("", tree)]
    while waiting:
        prefix, node = waiting.pop()
        if isinstance(node, Function):
            yield prefix + node.name, node
            continue
        if isinstance(node, ast.ClassDef):
            prefix = f"{prefix}{node.name}."
        children = [
            child
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case)
        ]
        waiting.extend((prefix, child) for child in reversed(children))


def without_docstring(lines: list[str], node: Function) -> str:
    r"""Source of a function, dedented, without its docstring; everything else as it stands, comments too.

    Args:
      lines: of the file.
      node: the function.

    >>> source = 'def f():\n    "Adds."  # two\n    return 2'
    >>> print(without_docstring(source.split("\n"), ast.parse(source).body[0]))
    def f():
        # two
        return 2
    """
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
    last = node.end_lineno or node.lineno
    kept = lines[first:last]
    docstring = node.body[0]
    if ast.get_docstring(node, clean=False) is not None and docstring.end_lineno is not None:
        begin, end = docstring.lineno - 1 - first, docstring.end_lineno - 1 - first
        # ast counts columns in bytes of UTF-8.
        before = kept[begin].encode()[: docstring.col_offset].decode()
        after = kept[end].encode()[docstring.end_col_offset :].decode()
        after = re.sub(r"^\s*;?\s*", "", after)
        kept[begin : end + 1] = [before + after] if before.strip() or after else []
    indent = kept[0][: len(kept[0]) - len(kept[0].lstrip())]
    return "\n".join(line.removeprefix(indent) for line in kept).strip("\n")


def first_paragraph(node: Function) -> str:
    r"""First paragraph of a function's docstring on one line; nothing where it has none.

    >>> first_paragraph(ast.parse("def f():\n  '''Adds\n  two.\n\n  More.'''").body[0])
    'Adds two.'
    """
    docstring = ast.get_docstring(node, clean=False) or ""
    paragraph = " ".join(re.split(r"\n\s*\n", inspect.cleandoc(docstring))[0].split())
    # A docstring may escape half a surrogate pair, which no file can hold.
    return "" if re.search("[\ud800-\udfff]", paragraph) else paragraph
