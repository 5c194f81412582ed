"""What a params file holds, as plain values; whatever else lies there is told of in one line."""

from __future__ import annotations

import os
import re
import stat
from typing import Any

import fsspec
import yaml

from gangue.transforms.settings.section import is_local, place

_CURE = "Copy params.yaml of the project"


class _Loader(yaml.SafeLoader):
    """YAML in which a key comes once, as its standard says, and strings are Unicode; anchors and merge keys as ever."""

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        if any("\ud800" <= character <= "\udfff" for character in str(value)):  # written as an escape
            raise yaml.constructor.ConstructorError(None, None, "half of a character is no text", node.start_mark)
        return value

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                name, line = (key.tag, key.value), key.start_mark.line + 1
                if name in first:
                    problem = f"key {key.value} comes twice, first in line {first[name]}"
                    raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
                first[name] = line
        return node


def read(path: str) -> Any:
    """The values of a YAML file.

    Raises:
      FileNotFoundError: no such file.   OSError: it cannot be read.
      ValueError: it is no file, no text in UTF-8, no YAML, or empty.
    """
    content = _content(place(path))
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:1000]:
        raise ValueError(
            f"{shown(path)}: must be text in UTF-8, found UTF-16 or no text. Save it as UTF-8, or name another file"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{shown(path)}: line {line}: must be UTF-8, found byte {content[error.start]:#x}, perhaps Latin-1."
            " Save it as UTF-8"
        ) from None
    try:
        values = _Loader(text).get_single_data()  # safe: it makes plain values only
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{shown(path)}: line {mark.line + 1}" if mark else shown(path)
        problem = _one_line(error.problem or error.context or "it cannot be read")
        raise ValueError(f"{where}: must be YAML: {problem}. {_cure(problem)}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = "nested too deep" if isinstance(error, RecursionError) else _one_line(str(error))
        raise ValueError(f"{shown(path)}: must be YAML: {problem}. {_cure(problem)}") from None
    if values is None:
        raise ValueError(f"{shown(path)}: must be a mapping of sections, found nothing. {_CURE}")
    return values


def shown(path: str) -> str:
    """A path in a line of text, whatever it is made of."""
    return path.encode(errors="backslashreplace").decode().replace("\n", "\\n").replace("\0", "\\0")


def _content(path: str) -> bytes:
    mode = _mode(path)
    if stat.S_ISDIR(mode):
        raise ValueError(f"{shown(path)}: must be a params file, found a folder. Name the file in it")
    if not stat.S_ISREG(mode):
        raise ValueError(f"{shown(path)}: must be a params file, found a pipe or a device. Write it to a file first")
    try:
        filesystem, name = (fsspec.filesystem("file"), path) if is_local(path) else fsspec.core.url_to_fs(path)
        size = filesystem.info(name)["size"]
        content = bytes(filesystem.cat_file(name))
        if size is not None and len(content) != size:  # YAML that ends early may be params as well
            raise OSError(f"it must have {size} bytes, got {len(content)}")
        return content
    except FileNotFoundError:
        cure = "Its bucket does not exist: correct its name" if _lacks_bucket(path) else _CURE
        raise FileNotFoundError(f"{shown(path)}: params file must exist, found none. {cure}") from None
    except (ImportError, KeyError, ValueError) as error:  # an fsspec path of a kind that is not known here
        reason = _one_line(str(error))
        raise ValueError(
            f"{shown(path)}: must be a path that can be opened: {reason}. Copy the file to this machine"
        ) from None
    except Exception as error:  # of the system, or of a store's client
        reason = getattr(error, "strerror", None) or _one_line(str(error))
        raise OSError(
            f"{shown(path)}: must be a file that can be read: {reason}. Correct its name, permissions or credentials"
        ) from None


def _lacks_bucket(path: str) -> bool:
    """Whether a store says that there is no such bucket."""
    try:
        if not is_local(path):
            filesystem, name = fsspec.core.url_to_fs(path)
            filesystem.ls(name.rpartition("/")[0])
    except Exception as error:  # of a store's client
        return bool(re.search(r"(bucket|container) does not exist", str(error), re.IGNORECASE))
    return False


def _mode(path: str) -> int:
    """Of what lies at a path of this machine; of whatever cannot be asked, that of a file."""
    try:
        return os.stat(path).st_mode
    except (OSError, ValueError):
        return stat.S_IFREG


def _cure(problem: str) -> str:
    if "'\\t'" in problem:
        return "Indent with spaces, not tabs"
    if "comes twice" in problem:
        return "Make one of them, or remove one"
    return "Correct the line; a value with : # { [ * & ! or quotes in it goes into quotes"


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().rstrip(".")[:300]
