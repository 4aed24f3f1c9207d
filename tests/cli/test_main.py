from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest

from edgeswarm.cli import main
from edgeswarm.cli.app import VERBS, build_app
from edgeswarm.cli.show import human_bytes
from edgeswarm.errors import NoSpaceError, TrustError

from .processes import environment


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    """Run a command with --json: one object on stdout, nothing on stderr."""
    quiet = ["--quiet"] if arguments[0] in {"publish", "prune"} else []
    code = main([*arguments, *quiet, "--json"])
    out, err = capsys.readouterr()
    assert (code, err, out.count("\n")) == (0, "", 1)
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run a command that fails: one line on stderr, nothing on stdout."""
    code = main(arguments)
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("edgeswarm: ")
    return code, err


def test_the_whole_way_of_a_release(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fleet, file = str(tmp_path / "f"), tmp_path / "app"
    made = answer(capsys, "init", fleet, "--name", "acme", "--root-keys", "3", "--root-threshold", "2")
    assert made == {"fleet": "acme", "directory": fleet, "origin": f"{fleet}/origin", "root_keys": 3}
    assert answer(capsys, "site", "add", "harbour", "--fleet", fleet)["site"] == "harbour"
    options = ["--peer", "192.0.2.1:1", "--peer", "192.0.2.2:2", "--subscribe", "app@stable=/opt/app/"]
    node = answer(capsys, "enrol", "harbour", "a", str(tmp_path / "a"), "--fleet", fleet, *options)
    assert node["node"] == "acme/harbour/a"
    text = (tmp_path / "a" / "edgeswarm.toml").read_text()
    assert 'peers = ["192.0.2.1:1", "192.0.2.2:2"]' in text
    assert 'target = "/opt/app"\nkind = "directory"' in text
    release = ["--product", "app", "--channel", "stable", "--fleet", fleet]
    for number in (1, 2):
        file.write_bytes(b"program %d" % number)
        report = answer(capsys, "publish", str(file), "--version", f"{number}", *release)
        assert (report["changed"], report["sequence"], report["size"]) == (True, number, 9)
    assert [delta["base_version"] for delta in report["deltas"]] == ["1"]  # type: ignore[attr-defined]  # a list, from JSON
    assert answer(capsys, "publish", str(file), "--version", "2", *release)["changed"] is False
    file.write_bytes(b"program 1")
    code, error = refusal(capsys, "publish", str(file), "--version", "1", *release, "--json", "--quiet")
    assert (code, "--back" in error) == (1, True)
    assert answer(capsys, "publish", str(file), "--version", "1", "--back", *release)["sequence"] == 3
    file.write_bytes(b"-----BEGIN PRIVATE KEY-----")
    code, error = refusal(capsys, "publish", str(file), "--version", "3", *release, "--json")
    assert (code, "--allow-private-keys" in error) == (2, True)
    assert answer(capsys, "publish", str(file), "--version", "3", "--allow-private-keys", *release)["sequence"] == 4
    assert answer(capsys, "refresh", "--fleet", fleet)["files"] == ["metadata/timestamp.json"]


def test_people_see_a_few_lines_that_fit(fleet: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "app").write_bytes(b"program")
    arguments = ["publish", str(tmp_path / "app"), "--product", "app", "--version", "1", "--channel", "stable"]
    assert main([*arguments, "--fleet", fleet]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Published app 1 for any in ")
    assert "channel              stable, sequence 1" in out
    assert err == "read: 7 B\nencode: 7 B\n"
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out + err


def test_people_see_what_an_update_costs_at_80_columns(fleet: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "app").write_bytes(b"program")
    versions = ["1.0", "1.1", "v" * 58 + "1.2-rc"]
    for version in [*versions, "2.0"]:
        (tmp_path / "app").write_bytes(b"program" + version.encode())
        arguments = ["publish", str(tmp_path / "app"), "--product", "app", "--version", version, "--channel", "stable"]
        assert main([*arguments, "--fleet", fleet]) == 0
    out = capsys.readouterr().out
    last = out[out.index("Published app 2.0") :]
    assert re.search(r"^  a site with nothing +fetches [0-9.]+ KiB$", last, re.MULTILINE)
    assert re.findall(r"^  a site at ([-.v0-9rc]+) +fetches [0-9.]+ KiB$", last, re.MULTILINE) == [
        "..." + versions[2][-37:], "1.1", "1.0",
    ]  # fmt: skip
    assert max(map(len, last.splitlines())) <= 80


def test_sites_and_their_nodes_are_shown(fleet: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for site in ("harbour", "mine"):
        answer(capsys, "site", "add", site, "--fleet", fleet)
    node = ["enrol", "harbour", "press-7", str(tmp_path / "a"), "--fleet", fleet, "--role", "gateway"]
    node_id = str(answer(capsys, *node)["node_id"])
    assert refusal(capsys, *node)[0] == 2
    node[3] = str(tmp_path / "b")
    new_id = str(answer(capsys, *node, "--again")["node_id"])
    sites = answer(capsys, "site", "list", "--fleet", fleet)["sites"]
    assert [(one["site"], one["nodes"], one["expires"] is None) for one in sites] == [  # type: ignore[attr-defined]  # a list
        ("harbour", 1, False),
        ("mine", 0, True),
    ]
    (shown,) = answer(capsys, "site", "show", "harbour", "--fleet", fleet)["nodes"]  # type: ignore[misc]  # likewise
    assert (shown["node_id"], [one["node_id"] for one in shown["replaced"]]) == (new_id, [node_id])
    assert main(["site", "list", "--fleet", fleet]) == main(["site", "show", "harbour", "--fleet", fleet]) == 0
    out = capsys.readouterr().out
    assert "harbour  1 node, the first certificate ends on 20" in out
    assert f"press-7  gateway  {new_id[:16]}  until 20" in out
    assert max(map(len, out.splitlines())) <= 80


def test_people_see_what_refresh_leaves(fleet: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Path(fleet, "fleet.toml")
    settings.write_text(re.sub("(?m)^(root|targets) = .*", r"\1 = 3650", settings.read_text()))
    os.unlink(Path(fleet, "keys", "targets.pem"))
    assert main(["refresh", "--fleet", fleet]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^  timestamp  expires on [-0-9]{10} [:0-9]{5} UTC, signed now$", out, re.MULTILINE)
    assert re.search(r"^  snapshot   expires on [-0-9]{10} [:0-9]{5} UTC$", out, re.MULTILINE)
    assert "Keys that are not here: targets." in out
    assert "The root expires on 20" in out
    assert max(map(len, out.splitlines())) <= 80
    assert answer(capsys, "refresh", "--all", "--repair", "--fleet", fleet)["left"] == ["root", "targets"]


def test_the_fleet_can_be_named_by_the_environment(
    fleet: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGESWARM_FLEET", fleet)
    assert answer(capsys, "site", "add", "x")["directory"] == f"{fleet}/sites/x"


def test_the_passphrase_comes_from_the_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGESWARM_PASSPHRASE", "hush")
    answer(capsys, "init", str(tmp_path / "f"), "--name", "acme")
    answer(capsys, "refresh", "--fleet", str(tmp_path / "f"))
    monkeypatch.delenv("EDGESWARM_PASSPHRASE")
    code, error = refusal(capsys, "refresh", "--fleet", str(tmp_path / "f"))
    assert (code, "EDGESWARM_PASSPHRASE" in error) == (TrustError.exit_code, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bogus"], "bogus"),
        (["publish", "x"], "--product"),
        (["init"], "DIRECTORY"),
        (["refresh", "--nope"], "--nope"),
        (["publish", "/nowhere", "--product", "a", "--version", "1", "--channel", "c", "--level", "99"], "level"),
        (["refresh", "--fleet", "/nowhere"], "edgeswarm init"),
        (["enrol", "s", "n", "/nowhere/x", "--subscribe", "app"], "PRODUCT@CHANNEL"),
        (["enrol", "s", "n", "/nowhere/x", "--subscribe", "app@stable=/"], "PRODUCT@CHANNEL"),
        (["enrol", "s", "n", "/nowhere/x", "--peer", "192.0.2.1"], "peer: wanted host:port"),
        (["site", "rm", "harbour"], "unknown command 'site rm'; there are: site add, site list, site show"),
        (["site", "rm", "harbour", "--fleet", "x"], "there are: site add, site list, site show"),
        (["serve-origin", "/nowhere"], "no folder"),
        (["serve-origin", "/"], "no origin"),
    ],
)
def test_wrong_usage_is_one_line_and_2(capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    code, error = refusal(capsys, *arguments)
    assert code == 2
    assert says in error


def test_errors_end_with_their_exit_code(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise NoSpaceError("the disk\nis [bold]full[/bold]")

    monkeypatch.setattr("edgeswarm.cli.app.run", full)
    assert refusal(capsys, "refresh") == (28, "edgeswarm: the disk is [bold]full[/bold]\n")


def test_an_interrupt_is_quiet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgeswarm.cli.app.run", interrupted)
    assert main(["refresh"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr("edgeswarm.cli.app.run", bug)
    with pytest.raises(ZeroDivisionError):
        main(["refresh"])


def test_without_the_extra_it_says_what_to_install(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "edgeswarm.cli.app", raising=False)
    monkeypatch.setitem(sys.modules, "cyclopts", None)
    code, error = refusal(capsys, "refresh")
    assert (code, "pip install 'edgeswarm[all]'" in error) == (2, True)


def test_the_help_lists_every_command_at_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for verb in VERBS:
        assert verb.words.split()[0] in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.words)
def test_every_command_explains_itself(verb: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb.words.split(), "--help"]) == 0  # type: ignore[attr-defined]  # a Verb
    out = capsys.readouterr().out
    assert "Example: edgeswarm" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.words)
def test_every_example_parses(verb: object) -> None:
    tokens = verb.example.split()[1:]  # type: ignore[attr-defined]  # a Verb
    build_app().parse_args(tokens, exit_on_error=False, print_error=False)


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("edgeswarm 0.")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1500, "1.46 KiB"),
        (1023000, "999 KiB"),
        (10**6 * 5, "4.77 MiB"),
        (2**50, "1.02e+03 TiB"),
    ],
)
def test_bytes_for_people(count: int, text: str) -> None:
    assert human_bytes(count) == text


# ---------------------------------------------------------------------- as a process


def run(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edgeswarm", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "."}
    )


@pytest.mark.slow
@pytest.mark.net
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_origin_serves_until_it_is_told_to_stop(fleet: str, number: signal.Signals) -> None:
    with run("serve-origin", f"{fleet}/origin", "--listen", "127.0.0.1:0", "--json") as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        connection = HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=10)
        connection.request("GET", "/metadata/timestamp.json")
        assert json.load(connection.getresponse())["signed"]["_type"] == "timestamp"
        connection.close()
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.slow
def test_a_reader_that_has_gone_is_no_error() -> None:
    with run("--help") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
        process.wait(10)
    assert (process.returncode, err) == (0, "")


def unread() -> int:
    """Return the writing end of a pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize("where", ["unread", "full", "closed"])
@pytest.mark.slow
def test_work_does_not_depend_on_who_reads_standard_error(where: str, fleet: str, tmp_path: Path) -> None:
    (tmp_path / "app").write_bytes(bytes(200_000))
    words = [str(tmp_path / "app"), "--product", "app", "--version", "1", "--channel", "stable", "--fleet", fleet]
    err = unread() if where == "unread" else os.open("/dev/full", os.O_WRONLY)
    line = 'exec "$@" 2>&-' if where == "closed" else 'exec "$@"'
    command = ["sh", "-c", line, "sh", sys.executable, "-m", "edgeswarm", "publish", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=err, text=True, check=False, env=environment())
    os.close(err)
    assert done.returncode == 0
    assert done.stdout.startswith("Published app 1 ")
    assert list(Path(fleet, "origin", "packs").rglob("*"))


@pytest.mark.parametrize("how", ["print", "PlainConsole(highlight=False, soft_wrap=True).print"])
@pytest.mark.slow
def test_a_reader_that_has_gone_does_not_change_the_exit_code(how: str) -> None:
    code = f"""
import sys, edgeswarm.cli.app as app
from edgeswarm.cli import main
from edgeswarm.cli.show import PlainConsole, written
def run(*_):
    with written():
        {how}("x" * 100_000)
    return 3
app.run = run
sys.exit(main([]))
"""
    out = unread()
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=out, stderr=subprocess.PIPE, text=True, env=environment(), check=False
    )
    os.close(out)
    assert (done.returncode, done.stderr) == (3, "")


@pytest.mark.parametrize("line", ["init {}/f --name acme --json", "init {}/f --name acme", "--version", "--help"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
@pytest.mark.slow
def test_a_full_output_is_one_line(line: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgeswarm", *line.format(tmp_path).split()]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment())
    assert (done.returncode, done.stderr.count("\n")) == (28, 1)
    assert done.stderr.startswith("edgeswarm: standard output cannot be written: No space left on device")


def test_an_error_of_the_system_that_is_not_the_output_s_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise OSError(errno.ENOSPC, "not the output")

    monkeypatch.setattr("edgeswarm.cli.app.run", broken)
    with pytest.raises(OSError, match="not the output"):
        main([])


@pytest.mark.slow
def test_the_package_is_light_without_a_command() -> None:
    code = (
        "import sys, edgeswarm.cli; print([m for m in ('cyclopts', 'rich', 'tuf', 'trio', 'numpy', 'httpx') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": "."}
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("listen", "says"), [("nonsense", "nonsense"), ("192.0.2.1:1", "cannot listen")])
def test_an_origin_is_not_served_just_anywhere(capsys: pytest.CaptureFixture[str], tmp_path: Path, listen: str, says: str) -> None:
    (tmp_path / "metadata").mkdir()
    code, error = refusal(capsys, "serve-origin", str(tmp_path), "--listen", listen)
    assert code == 2
    assert says in error


def test_a_fleet_folder_with_its_keys_is_not_served(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "metadata").mkdir()
    (tmp_path / "fleet.toml").touch()
    code, error = refusal(capsys, "serve-origin", str(tmp_path))
    assert code == 2
    assert "keys" in error


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--level", "99"], "level"),
        (["--report", "/nowhere/report.html"], "no folder"),
        (["--old", "a"], "--new"),
        (["--old", "a", "--new", "a"], "same content"),
        (["--devices", "0"], "devices: wanted 1 to 200, got 0"),
        (["--own-uplinks", "9"], "own-uplinks: wanted 0 to 8"),
        (["--kill-gateway", "--own-uplinks", "0"], "own-uplinks: wanted at least one"),
        (["--report", "."], "cannot be written: Is a directory"),
        (["--json", "/proc/self/x.json"], "cannot be written"),
        (["--keep", "."], "--keep"),
        (["--keep", "nowhere/k"], "--keep"),
        (["--uplink", "fast"], "rate 'fast'"),
        (["--old", "/dev/null", "--new", "/dev/zero"], "it is neither"),
        (["--old", "a", "--new", "nowhere"], "there is nothing"),
        ([], "b: wanted a release of at least 100000 bytes"),
    ],
)
def test_a_demo_that_cannot_be_is_refused_at_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "b").write_bytes(b"new")
    releases = [] if "--old" in flags else ["--old", "a", "--new", "b"]
    code, error = refusal(capsys, "demo", *releases, *flags)
    assert code == 2
    assert says in error
