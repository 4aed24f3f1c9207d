"""Documents and examples say what is so: commands run, blocks parse, tables equal the code, links lead somewhere."""

from __future__ import annotations

import configparser
import dataclasses
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.delta import Figures
from edgeswarm.cli.app import VERBS
from edgeswarm.demo.result import Check, DeviceResult, Incident, Result, Sample
from edgeswarm.errors import ConfigError, EdgeswarmError
from edgeswarm.node.config import config_from, load_config
from edgeswarm.publish import DeltaReport, NodeRecord, PruneReport, PublishReport, RefreshReport
from edgeswarm.publish.sites import Certificate

from .shell import ROOT, Running, blocks_of
from .tables import attributes, pages, renewed, tables_of

DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").rglob("*.md")
)
RUN = [document for document in DOCUMENTS if any(block.runs for block in blocks_of(document))]
EXAMPLES = ROOT / "examples"
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Path, Running]]:
    """Start all documents at once: most of their time is spent waiting."""
    folder = tmp_path_factory.mktemp("docs")
    found = {document: Running(document, folder / str(number)) for number, document in enumerate(RUN)}
    yield found
    for one in found.values():
        one.end()


@pytest.mark.slow
@pytest.mark.net
@pytest.mark.parametrize("document", RUN, ids=_name)
def test_what_a_document_shows_works(document: Path, running: dict[Path, Running]) -> None:
    code, output = running[document].wait()
    assert code == 0, output


def test_the_documents_that_matter_are_run() -> None:
    assert {"README.md", "docs/tutorial.md", "docs/how-to/publish-from-ci.md", "docs/how-to/roll-back.md"} <= set(map(_name, RUN))
    assert any(block.language == "python" and block.runs for block in blocks_of(ROOT / "README.md"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_blocks_parse(document: Path) -> None:
    for block in blocks_of(document):
        if block.language == "toml":
            _check_toml(tomllib.loads(block.text))
        elif block.language == "python":
            compile(block.text, str(document), "exec")
        elif block.language == "sh":
            subprocess.run(["bash", "-n", "-c", block.text], check=True)


def _check_toml(data: dict[str, Any]) -> None:
    """A block may show a part of a configuration; the parts that it shows must be right."""
    config_from({"node": {"state": "state", "identity": "."}} | data, Path("/"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_make_targets_and_verbs_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    verbs = {verb.words.split()[0] for verb in VERBS}
    for block in blocks_of(document):
        if block.language == "sh":
            assert set(re.findall(r"^make ([a-z]+)", block.text, re.MULTILINE)) <= targets
            assert set(re.findall(r"^edgeswarm ([a-z-]+)", block.text, re.MULTILINE)) <= verbs
    for module in re.findall(r"python -m bench\.(\w+)", document.read_text(encoding="utf-8")):
        assert (ROOT / "bench" / f"{module}.py").exists()


def test_an_origin_is_copied_without_what_is_not_finished_and_the_timestamp_last() -> None:
    document = ROOT / "docs/how-to/publish-from-ci.md"
    (lines,) = [block.text.splitlines() for block in blocks_of(document) if "rsync" in block.text]
    first, last = (shlex.split(line) for line in lines)
    assert {"/.*", "/metadata/timestamp.json"} <= set(first)
    assert last[-2].endswith("/metadata/timestamp.json")


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_links_lead_somewhere(document: Path) -> None:
    for link in _LINK.findall(document.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        place, _, anchor = link.partition("#")
        target = (document.parent / place).resolve() if place else document
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target), link


def _anchors(document: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_page_is_reachable_from_the_index() -> None:
    text = (ROOT / "docs" / "README.md").read_text() + (ROOT / "docs" / "decisions" / "README.md").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        if page.name not in {"README.md", "figures.md"}:
            assert f"{page.name})" in text, page


# Tables against the code.


@pytest.mark.parametrize("page", list(pages()), ids=lambda page: page.name)
def test_tables_equal_the_code(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert renewed(text) == text, "make them anew: python tests/docs/tables.py"


def test_every_command_and_section_has_its_table() -> None:
    assert tables_of((ROOT / "docs/reference/cli.md").read_text()) == _in_order([verb.words for verb in VERBS])
    config = tables_of((ROOT / "docs/reference/config.md").read_text())
    assert config == [f"config.{name}" for name in ("node", "lan", "uplink", "subscribe", "install")]


def _in_order(words: list[str]) -> list[str]:
    text = (ROOT / "docs/reference/cli.md").read_text()
    return sorted(words, key=lambda word: text.index(f"### edgeswarm {word}\n"))


def test_every_exit_code_is_documented() -> None:
    text = (ROOT / "docs/reference/cli.md").read_text()
    for code in {error.exit_code for error in _errors(EdgeswarmError)}:
        assert f"\n| {code} |" in text


def _errors(kind: type[EdgeswarmError]) -> Iterator[type[EdgeswarmError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__.startswith("edgeswarm.errors"):
            yield from _errors(child)


def test_every_key_of_a_result_is_documented() -> None:
    text, _, deltas = (ROOT / "docs/reference/bench.md").read_text().partition("\n## `bench.delta`\n")
    for entry in dataclasses.fields(Figures):
        assert re.search(rf"`(edgeswarm\.)?{entry.name}`", deltas), entry.name
    keys = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert sorted(keys) == sorted([*(entry.name for entry in dataclasses.fields(Result)), "passed"])
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    for key, kind in {"samples": Sample, "incidents": Incident, "devices": DeviceResult, "checks": Check}.items():
        for entry in dataclasses.fields(kind):
            assert f"`{entry.name}`" in rows[key], entry.name


@pytest.mark.parametrize(
    ("verb", "kinds"),
    [
        ("publish", [PublishReport, DeltaReport]),
        ("refresh", [RefreshReport]),
        ("prune", [PruneReport]),
        ("site show", [NodeRecord, Certificate]),
    ],
    ids=str,
)
def test_every_json_key_of_a_report_is_documented(verb: str, kinds: list[type[Any]]) -> None:
    text = (ROOT / "docs/reference/cli.md").read_text()
    section = text[text.index(f"### edgeswarm {verb}\n") :].split("\n### ")[0]
    keys = re.findall(r"`(\w+)`", section[section.index("`--json`", section.index("<!-- end -->")) :])
    wanted = {entry.name for kind in kinds for entry in dataclasses.fields(kind)} - {"certificate"}
    assert wanted <= set(keys)


def test_docstrings_are_read_over_several_lines() -> None:
    text = "One.\n\nAttributes:\n    first: What\n        it is.\n    second: Other."  # as inspect.getdoc cleans it
    assert attributes(text) == {"first": "What it is.", "second": "Other."}


# Examples.


@pytest.mark.parametrize("name", ["gateway.toml", "device.toml"])
def test_example_configurations_are_valid(name: str) -> None:
    config = load_config(EXAMPLES / name)
    assert config.node.role == name.removesuffix(".toml")
    assert config.subscribe


def test_an_example_configuration_with_a_wrong_key_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "gateway.toml"
    broken.write_text((EXAMPLES / "gateway.toml").read_text().replace("poll_seconds", "pol_seconds"))
    with pytest.raises(ConfigError, match=r"uplink\.pol_seconds"):
        load_config(broken)


@pytest.mark.parametrize("name", ["gateway", "agent"])
def test_units_start_the_verb_of_their_name(name: str) -> None:
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[method-assign,assignment]  # systemd's keys have capitals
    unit.read(EXAMPLES / "systemd" / f"edgeswarm-{name}.service")
    assert unit["Service"]["Type"] == "notify"
    assert f"edgeswarm {name} --config " in unit["Service"]["ExecStart"]
    assert unit["Service"]["RestartPreventExitStatus"] == str(ConfigError.exit_code)


@pytest.mark.slow
@pytest.mark.net
def test_example_programs_work_together(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(
        "```sh run\n"
        "head -c 300000 /dev/urandom > one\n"
        'python "$EXAMPLES/publish_release.py" fleet one app 0.9 stable\n'
        "printf changed | dd of=one conv=notrunc status=none\n"
        'python "$EXAMPLES/publish_release.py" fleet one app 1.0 stable\n'
        "edgeswarm site add harbour --fleet fleet\n"
        'edgeswarm enrol harbour press-8 press-8 --fleet fleet --listen 127.0.0.1:0 --origin "$PWD/fleet/origin"\n'
        'python "$EXAMPLES/embed_node.py" press-8/edgeswarm.toml app stable\n'
        "```\n"
    )
    code, output = Running(document, tmp_path / "work").wait()
    assert code == 0, output
    assert re.search(r"^app 1.0 is sequence 2 of stable\n  a site with nothing fetches \d+ bytes$", output, re.MULTILINE)
    (cost,) = re.findall(r"^  a site at 0.9 fetches (\d+) bytes$", output, re.MULTILINE)
    assert int(cost) < 100_000
    assert "app 1.0: 300000 bytes, sequence 2 of stable" in output
    assert "300000 of 300000 bytes (300000 from origin)" in output
