"""The table of commands. Each is loaded when it is called, and is one function in the file of its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from cyclopts import App, CycloptsError, Group, Parameter, UnknownCommandError, UnusedCliTokensError

from .. import __version__
from . import USAGE_EXIT
from .show import PlainConsole, show_error

PUBLISHER = "Publisher"
NODE = "Node"
TRY = "Try it"


class Verb(NamedTuple):
    """One command.

    Attributes:
        words: What is typed.
        target: `module:function`, the module below `edgeswarm.cli`.
        group: Heading in the help.
        summary: One line in the help; here, so that the help loads no command.
        example: A command line that works.
    """

    words: str
    target: str
    group: str
    summary: str
    example: str


VERBS = (
    Verb(
        "init",
        "init:init",
        PUBLISHER,
        "Make a fleet: keys, certificate authority and a signed, empty origin.",
        "edgeswarm init fleet --name acme --root-keys 3 --root-threshold 2",
    ),
    Verb("site add", "site:add", PUBLISHER, "Add a site to the fleet.", "edgeswarm site add harbour --fleet fleet"),
    Verb("site list", "site:list_sites", PUBLISHER, "List the sites.", "edgeswarm site list --fleet fleet"),
    Verb("site show", "site:show_site", PUBLISHER, "Show the nodes of a site.", "edgeswarm site show harbour --fleet fleet"),
    Verb(
        "enrol",
        "enrol:enrol",
        PUBLISHER,
        "Make the identity folder of a node.",
        "edgeswarm enrol harbour press-7 out/press-7 --fleet fleet --subscribe app@stable=/opt/app/app",
    ),
    Verb(
        "publish",
        "publish:publish",
        PUBLISHER,
        "Publish a file, image or directory, and point a channel at it.",
        "edgeswarm publish build/app --product app --version 1.4.2 --channel stable --fleet fleet",
    ),
    Verb("refresh", "refresh:refresh", PUBLISHER, "Sign again what would expire, or repair.", "edgeswarm refresh --fleet fleet"),
    Verb(
        "prune",
        "prune:prune",
        PUBLISHER,
        "Remove old releases from the origin.",
        "edgeswarm prune --product app --keep 10 --fleet fleet",
    ),
    Verb(
        "serve-origin",
        "serve_origin:serve",
        PUBLISHER,
        "Serve an origin folder over HTTP.",
        "edgeswarm serve-origin fleet/origin --listen 0.0.0.0:8080",
    ),
    Verb("agent", "agent:agent", NODE, "Run a node that installs releases.", "edgeswarm agent --config device/edgeswarm.toml"),
    Verb("gateway", "agent:gateway", NODE, "Run the seeding node of a site.", "edgeswarm gateway --config gateway/edgeswarm.toml"),
    Verb(
        "fetch",
        "fetch:fetch",
        NODE,
        "Fetch one release, and install it if wanted.",
        "edgeswarm fetch app --channel stable --out /opt/app/app --config device/edgeswarm.toml",
    ),
    Verb("status", "status:status", NODE, "Show what a running node does.", "edgeswarm status --config device/edgeswarm.toml"),
    Verb(
        "activate",
        "activate:activate",
        NODE,
        "Switch to the staged release.",
        "edgeswarm activate --config device/edgeswarm.toml",
    ),
    Verb(
        "rollback",
        "rollback:rollback",
        NODE,
        "Go back to the previous release.",
        "edgeswarm rollback --config device/edgeswarm.toml",
    ),
    Verb("demo", "demo:demo", TRY, "See it work on this machine.", "edgeswarm demo --devices 4 --uplink 4mbit"),
)

_HELP_COLUMNS = 80
_SUMMARIES = {"site": "Sites of the fleet."}
_DESCRIPTION = "One copy of a release per site, as nothing but the difference, and never unsigned."


def build_app() -> App:
    """Return the application with all commands registered and none loaded."""
    app = App(
        name="edgeswarm", help=_DESCRIPTION, version=f"edgeswarm {__version__}", help_format="plaintext", help_on_error=False,
        exit_on_error=False, print_error=False, suppress_keyboard_interrupt=False, result_action="return_value",
        console=PlainConsole(), default_parameter=Parameter(show_default=_shown_default),
    )  # fmt: skip
    groups = {name: Group(name, sort_key=number) for number, name in enumerate((PUBLISHER, NODE, TRY))}
    parents: dict[str, App] = {"": app}
    for verb in VERBS:
        parent, _, name = verb.words.rpartition(" ")
        if parent not in parents:
            parents[parent] = App(name=parent, help=_SUMMARIES[parent], group=groups[verb.group], version_flags=[])
            app.command(parents[parent])
        heading = groups[verb.group] if not parent else None
        parents[parent].command(
            f"{__package__}.{verb.target}", name=name, help=verb.summary, help_epilogue=_example(verb.example), group=heading,
            version_flags=[],
        )  # fmt: skip
    return app


def _shown_default(value: object) -> str | None:
    """Return a default as the help shows it; what means "none" or "no" goes without saying."""
    return None if value in (None, "", (), False) else f"{value:g}" if isinstance(value, float) else str(value)


def _example(line: str) -> str:
    """Return the last line of a help; a command that is too long for 80 columns is continued as a shell wants it."""
    text = f"Example: {line}"
    if len(text) <= _HELP_COLUMNS:
        return text
    at = text.rindex(" --", 0, _HELP_COLUMNS - 1)
    return f"{text[:at]} \\\n   {text[at:]}"


def run(arguments: Sequence[str], at_work: Callable[[], None]) -> int:
    """Run one command; return its exit code. Errors of edgeswarm itself are raised, wrong usage is shown.

    Args:
        arguments: Without the program's name.
        at_work: Called when the command is loaded and begins.
    """
    try:
        command, bound, _ = build_app().parse_args(list(arguments))
        at_work()
        result = command(*bound.args, **bound.kwargs)
    except UnknownCommandError as error:
        # Its own text lists the commands and loads each of them for that.
        show_error(_unknown(list(error.command_chain or ()), list(error.unused_tokens or ())))
        return USAGE_EXIT
    except UnusedCliTokensError as error:
        show_error(f"not understood: {' '.join(error.unused_tokens or [])!r}; see --help")
        return USAGE_EXIT
    except CycloptsError as error:
        show_error(" ".join(str(error).split()))
        return USAGE_EXIT
    return result if isinstance(result, int) else 0


def _unknown(chain: list[str], tokens: list[str]) -> str:
    """Say what could have been typed in the place of the first token that is not known, after those that are."""
    depth = len(chain)
    known = dict.fromkeys(" ".join(words[: depth + 1]) for verb in VERBS if (words := verb.words.split())[:depth] == chain)
    return f"unknown command {' '.join([*chain, *tokens[:1]])!r}; there are: {', '.join(known)}"
