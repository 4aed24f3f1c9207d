"""The tables of docs/reference that are made from the code.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`. `python tests/docs/tables.py` makes all anew; a test compares.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cyclopts import App
from cyclopts.argument import Argument

from edgeswarm.cli.app import VERBS, Verb, build_app
from edgeswarm.node import InstallSection, LanSection, NodeSection, SubscribeSection, UplinkSection

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
_MARK = re.compile(r"(<!-- table: ([a-z ._-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
_SECTIONS = {
    "node": NodeSection,
    "lan": LanSection,
    "uplink": UplinkSection,
    "subscribe": SubscribeSection,
    "install": InstallSection,
}
_KINDS = {str: "text", int: "whole number", float: "number", Path: "path", bool: "yes or no"}


# Commands.


def command_table(verb: Verb) -> str:
    """Return the table of one command, from what its help is made from."""
    app: App = build_app()
    for word in verb.words.split():
        app = app[word]
    found = [argument for argument in app.assemble_argument_collection(parse_docstring=True) if argument.show]
    usage = " ".join(["edgeswarm", verb.words, *(name for argument in found for name in argument.names if name[0] != "-")])
    rows = [f"| {_flag(argument)} | {_default(argument)} | {argument.parameter.help} |" for argument in found]
    return "\n".join([f"`{usage} [OPTIONS]`", "", "| argument | default | meaning |", "|---|---|---|", *rows, ""])


def _flag(argument: Argument) -> str:
    name = argument.names[0]
    if not name.startswith("-"):
        return f"`{name}`"
    if argument.hint is bool:
        return f"`{name}`"
    choices = "\\|".join(argument.get_choices() or ())
    return f"`{name} {choices or name.strip('-').rpartition('-')[2].upper()}`"


def _default(argument: Argument) -> str:
    if argument.required:
        return "required"
    value = argument.field_info.default
    shown = "" if value in (None, "", (), False) else f"`{value}`"
    variables = ", ".join(f"`${name}`" for name in argument.parameter.env_var or ())
    return ", else ".join(part for part in (variables, shown) if part)


# Configuration.


def section_table(name: str) -> str:
    """Return the table of one section of the configuration, from its dataclass."""
    section = _SECTIONS[name]
    meanings = attributes(inspect.getdoc(section) or "")  # cleaned: since 3.13 the compiler strips indentation
    hints = typing.get_type_hints(section)
    rows = [
        f"| `{entry.name}` | {_kind(hints[entry.name])} | {_value(entry)} | {meanings[entry.name]} |"
        for entry in dataclasses.fields(section)
    ]
    return "\n".join(["| key | kind | default | meaning |", "|---|---|---|---|", *rows, ""])


def attributes(text: str) -> dict[str, str]:
    """Return what a Google docstring says of each attribute."""
    _, _, block = text.partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in block.splitlines():
        start = re.match(r"    (\w+): (.*)", line)
        if start is not None:
            name, found[start[1]] = start[1], start[2]
        elif name and line.startswith("        "):
            found[name] += " " + line.strip()
    return found


def _kind(hint: Any) -> str:
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return "list of " + _kind(arguments[0]) + "s"
    if typing.get_origin(hint) is dict:
        return "table of text"
    if arguments:
        return _kind(arguments[0])
    return _KINDS.get(hint, "table")


def _value(entry: dataclasses.Field[Any]) -> str:
    if entry.default is dataclasses.MISSING:
        return "required" if entry.default_factory is dataclasses.MISSING else "none"
    if entry.default in (None, "", ()):
        return "none"
    return f"`{entry.default}`" if not isinstance(entry.default, str) else f'`"{entry.default}"`'


# Pages.


def _maker(name: str) -> Callable[[], str]:
    for verb in VERBS:
        if name == verb.words:
            return lambda: command_table(verb)
    return lambda: section_table(name.removeprefix("config."))


def renewed(text: str) -> str:
    """Return a page with all of its tables made anew."""
    return _MARK.sub(lambda match: match[1] + _maker(match[2])() + match[4], text)


def tables_of(text: str) -> list[str]:
    """Return the names of a page's tables."""
    return [match[2] for match in _MARK.finditer(text)]


def pages() -> Iterator[Path]:
    """Yield the pages that may have tables."""
    yield from sorted(REFERENCE.glob("*.md"))


if __name__ == "__main__":
    for page in pages():
        page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")
        print(page, *tables_of(page.read_text(encoding="utf-8")), sep="\n  ", file=sys.stderr)
