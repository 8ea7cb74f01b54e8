"""YAML of settings, read within bounds: a short text must not take unbounded time or memory.

Aliases (`*name`) are refused. With them, ten lines can stand for billions of values, or a value can
contain itself, and no setting needs them.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

MOST_BYTES = 500_000  # of a text: a preset with a thousand columns has a fifth of it
MOST_LEVELS = 30  # of nesting: the settings have six
USUAL = re.compile(r"[-+]?(0|[1-9][0-9_]*)")  # and not 010, which YAML reads as 8, or 12:30, as 750
MOST_DIGITS = 100  # of a whole number: Python needs quadratic time for long ones


class Reader(yaml.SafeLoader):
    """YAML in which `1e-5` is a number, as it is in YAML 1.2 (PyYAML wants `1.0e-5`)."""

    level = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """One node and all below it; raises YAMLError beyond the bounds."""
        mark = self.peek_event().start_mark
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) are not allowed: write the value out", problem_mark=mark
            )
        if self.level == MOST_LEVELS:
            raise yaml.MarkedYAMLError(
                problem=f"nested more than {MOST_LEVELS} levels deep", problem_mark=mark
            )
        self.level += 1
        node = super().compose_node(parent, index)
        self.level -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Raises YAMLError for a key that is given twice: YAML would keep the last value."""
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value[:80]!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > MOST_DIGITS:
            raise yaml.MarkedYAMLError(
                problem=f"a whole number of {len(node.value):,} characters; at most {MOST_DIGITS}"
                " are read",
                problem_mark=node.start_mark,
            )
        if not USUAL.fullmatch(node.value):
            raise yaml.MarkedYAMLError(
                problem=f"YAML reads {node.value!r} as {super().construct_yaml_int(node)}: write"
                " that, or the text in quotes",
                problem_mark=node.start_mark,
            )
        return super().construct_yaml_int(node)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        real = _Real(super().construct_yaml_float(node))
        real.written = node.value
        return real


class _Real(float):
    """A number that keeps how it was `written`, for a setting that is a text."""

    written: str


Reader.add_constructor("tag:yaml.org,2002:int", Reader.construct_yaml_int)
Reader.add_constructor("tag:yaml.org,2002:float", Reader.construct_yaml_float)


class Writer(yaml.SafeDumper):
    """Quotes the text `1e-5`, so that `Reader` reads text again, and writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _side in (Reader, Writer):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
        list("-+.0123456789"),
    )


def read_yaml(text: str | bytes) -> Any:
    """The value that the text stands for. Raises yaml.YAMLError, or ValueError for what Python
    refuses: bytes that are not UTF-8, the date 2024-13-45."""
    if len(text) > MOST_BYTES:
        raise yaml.YAMLError(f"more than {MOST_BYTES:,} bytes")
    return yaml.load(text.decode("utf-8") if isinstance(text, bytes) else text, Reader)


def explained(error: Exception) -> str:
    """What is wrong and where, without the lines around it: they may hold a password."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split())
    mark = error.problem_mark
    parts = filter(None, (error.context, error.problem))
    return f"{': '.join(parts)} (line {mark.line + 1}, column {mark.column + 1})"
