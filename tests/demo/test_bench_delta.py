"""`bench.delta`: its figures are those of a real update, and a tool that is not there is said to be left out."""

from __future__ import annotations

import json
import random
import tarfile
from pathlib import Path

import pytest

pytest.importorskip("hdiffpatch", reason="the [publish] extra is not installed")

from bench.corpus import PAIRS, MissingError, Pair, fetch_pair
from bench.delta import main
from bench.measured import CommandFailedError, run_measured

OLD = random.Random(1).randbytes(400_000)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    new = bytearray(OLD[:200_000] + b"inserted" + OLD[200_000:])
    for at in range(0, len(new), 4000):
        new[at] ^= 1
    for name, data in (("old", OLD), ("new", bytes(new))):
        (tmp_path / name).write_bytes(data)
    return tmp_path / "old", tmp_path / "new"


@pytest.mark.slow
def test_one_pair(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*map(str, pair), "--peers", "hdiffpatch", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    ours, parts, peer = found["edgeswarm"], found["edgeswarm"]["parts"], found["peers"]["hdiffpatch"]
    assert ours["bytes"] == parts["units_bytes"] + parts["index_bytes"] + parts["root_bytes"]
    assert found["size"] == parts["size"] == 400_008
    assert found["ratio_to_best"] == round(ours["bytes"] / peer["bytes"], 4)
    assert 0 < peer["bytes"] < ours["bytes"] < 10_000
    for row in (ours, peer):
        assert row["encode_cpu_s"] > 0
        assert 10e6 < row["encode_peak_bytes"] < 500e6
        assert row["decode_cpu_s"] is not None
    assert err == ""


@pytest.mark.slow
def test_trees_and_missing_tools(
    tmp_path: Path, pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, file in zip(("1", "2"), pair, strict=True):
        (tmp_path / name).mkdir()
        (tmp_path / name / "app").write_bytes(file.read_bytes())
        (tmp_path / name / "link").symlink_to("app")
    monkeypatch.setattr("bench.peers.shutil.which", lambda _program: None)
    assert main([str(tmp_path / "1"), str(tmp_path / "2"), "--peers", "xdelta3"]) == 0
    out, err = capsys.readouterr()
    assert err == "bench.delta: xdelta3 is not installed, and left out\n"
    assert out.splitlines()[1].startswith("2 ")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("a", "give OLD and NEW"),
        ("a b --corpus", "or --corpus"),
        ("a b --peers tar", "no such tool"),
        ("--corpus --pairs x", "no such pair"),
    ],
)
def test_what_makes_no_sense_is_refused(flags: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(flags.split())
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(CommandFailedError, match=r"exit code 3: no room"):
        run_measured(["sh", "-c", "echo no room >&2; exit 3"], tmp_path)


@pytest.mark.slow
def test_memory_and_time_are_those_of_the_command(tmp_path: Path) -> None:
    small = run_measured(["sh", "-c", "echo hello"], tmp_path)
    large = run_measured(["python3", "-c", "x = bytes(range(256)) * 400_000; sum(x[:20_000_000])"], tmp_path)
    assert small.out == "hello\n"
    assert small.peak_bytes < 20e6 < 100e6 < large.peak_bytes
    assert small.cpu_s < large.cpu_s


def test_a_pair_is_built_once_and_its_tar_is_always_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package.tar"
    with tarfile.open(package, "w") as archive:
        for name in ("b", "a"):
            (tmp_path / name).write_text(name)
            archive.add(tmp_path / name, name)
    asked: list[str] = []
    monkeypatch.setattr("bench.corpus._download", lambda _pair, version, _into: (asked.append(version), package)[1])
    pair = Pair("p", "npm", "p", "1", "2", "tar", "test")
    old, new = fetch_pair(pair, tmp_path / "corpus")
    assert old.read_bytes() == new.read_bytes()
    with tarfile.open(old) as made:
        assert [(member.name, member.mtime, member.uid) for member in made] == [("a", 1_700_000_000, 0), ("b", 1_700_000_000, 0)]
    fetch_pair(pair, tmp_path / "corpus")
    assert asked == ["1", "2"]
    with pytest.raises(MissingError, match="no file nowhere"):
        fetch_pair(Pair("q", "npm", "p", "1", "2", "nowhere", "test"), tmp_path / "corpus")
    assert not list((tmp_path / "corpus" / "q").iterdir())


def test_pairs_have_names_of_their_own() -> None:
    assert len({pair.name for pair in PAIRS}) == len(PAIRS)
