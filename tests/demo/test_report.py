from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from edgeswarm.demo.charts import count_text, percent_text, seconds_text, size_text
from edgeswarm.demo.report import headline, render_report, ways
from edgeswarm.demo.result import Check, DeviceResult, Incident, Kill, Result, Sample

SIZE, COST, FULL = 42_000_000, 4_200_000, 8_020_000


def fake_result(devices: int = 8, *, empty: int = 1, **changes: Any) -> dict[str, Any]:
    """Return `Result.as_dict()` of a run of 20 s, after a round trip through JSON; `changes` replace whole values."""
    names = [f"device-{number}" for number in range(1, devices + 1)]
    samples = [Sample(step / 4, step * 53_700, dict.fromkeys(names, SIZE * step // 80)) for step in range(81)]
    incidents = [
        Incident(0.0, "published", "ruff 0.17.6 is published"),
        Incident(4.0, "cut", "the uplink is cut for 4 s"),
        Incident(8.0, "healed", "the uplink is back"),
        Incident(10.0, "killed", "device-1 is killed with SIGKILL"),
        Incident(11.5, "restarted", "device-1 is started again"),
        Incident(12.0, "refused", "device-2 refused a wrong chunk: evil"),
        Incident(20.0, "complete", "all devices run 0.17.6"),
    ]
    by_source = {"local": 26_000_000, "peer": 12_000_000, "gateway": 4_000_000, "origin": 0}
    rows = [
        DeviceResult(
            name, number < devices - empty, int(number == 0), 19.0 + number % 5 / 10, True, dict(by_source), int(number == 1)
        )
        for number, name in enumerate(names)
    ]
    nodes = [{"name": "gateway", "role": "gateway", "cpu_s": 2.5, "peak_rss_bytes": 71e6}]
    nodes += [{"name": name, "role": "device", "cpu_s": 1.25, "peak_rss_bytes": 61_000_000} for name in names]
    result = Result(
        inputs={"product": "ruff", "old_version": "0.17.5", "new_version": "0.17.6", "old": "/a", "new": "/b", "size": SIZE},
        site={"devices": devices, "empty": empty, "bad_peer": True, "uplink_bits_per_second": 2e6, "uplinks": 1, "level": 12},
        uplink_bytes=4_296_000, uplink_repeated_bytes=31_300, uplink_requests=94, uplink_header_bytes=41_200,
        uplink_allowed_requests=100, uplink_largest_header_bytes=450,
        delta_bytes=COST - 25_700, metadata_bytes=25_700, full_bytes=FULL,
        independent_bytes=(devices - empty) * COST + empty * FULL, duplicate_factor=1.0229, time_s=19.4, bound_s=17.1,
        bytes_by_source={source: count * devices for source, count in by_source.items()}, refused_chunks=1, samples=samples,
        incidents=incidents, kill=Kill(name="device-1", size=SIZE, done_bytes=30, received_bytes=9, again_bytes=29),
        devices=rows, nodes=nodes,
        checks=[Check("every device has the right bytes", True, f"{devices} of {devices} devices verified")], publish_seconds=3.4,
    )  # fmt: skip
    loaded: dict[str, Any] = json.loads(json.dumps(result.as_dict()))
    return loaded | changes


_VOID = {"meta"}
_CLOSED_ALONE = {"rect", "line", "path"}


class _Page(HTMLParser):
    """Keeps the text and the elements, and insists that each is closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        assert tag not in _CLOSED_ALONE
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        assert tag in _CLOSED_ALONE

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data + "\n"

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def _broken() -> dict[str, Any]:
    result = fake_result(3, time_s=math.nan, samples=[], checks=[{"name": "all", "passed": False, "detail": "2 of 3"}])
    result["devices"][1] |= {"seconds": None, "digests_ok": False, "by_source": {}}
    return result


@pytest.mark.parametrize(
    "result",
    [
        fake_result(),
        fake_result(1, empty=0),
        pytest.param(fake_result(500, empty=20), id="500 devices"),
        pytest.param(_broken(), id="failed"),
        fake_result(devices=24),
        fake_result(25),
        fake_result(0, empty=0),
        fake_result(incidents=[], nodes=[], checks=[]),
        fake_result(
            samples=[{"seconds": math.nan, "uplink_bytes": 1, "done": {}}, {"seconds": 0.0, "uplink_bytes": 0, "done": {}}]
        ),
        fake_result(uplink_bytes=0, full_bytes=0, independent_bytes=0, delta_bytes=0, metadata_bytes=0, bytes_by_source={}),
        fake_result(bound_s=math.nan, time_s=None, incidents=[{"seconds": math.nan, "kind": "cut", "text": "x"}]),
        fake_result(incidents=[{"seconds": float(n), "kind": "made up" if n % 2 else "cut", "text": ""} for n in range(90)]),
    ],
)
def test_any_result_makes_a_well_formed_page_without_nan(result: dict[str, Any]) -> None:
    page = render_report(result)
    parsed = _Page(page)
    assert not re.search(r"\bnan\b|\binf\b|None", page)
    for name in ("x", "y", "x1", "x2", "width", "height"):
        values = [tag[1][name] for tag in parsed.tags if name in tag[1]]
        assert all(re.fullmatch(r"-?[\d.]+%?", value or "") for value in values)


def test_nothing_comes_from_elsewhere_and_nothing_runs() -> None:
    page = render_report(fake_result())
    parsed = _Page(page)
    assert not {tag for tag, _ in parsed.tags} & {"script", "link", "img", "iframe", "object", "form"}
    assert "url(" not in page
    assert "@import" not in page
    assert not [attributes for _, attributes in parsed.tags if {"href", "src"} & attributes.keys()]
    assert "default-src 'none'" in str(parsed.all("meta"))


def test_text_of_the_result_is_escaped() -> None:
    evil = '<script>alert("1")</script>&\''
    result = fake_result(3)
    result["inputs"] |= {"product": evil, "old_version": evil, "new_version": evil}
    result["checks"] = [{"name": evil, "passed": True, "detail": evil}]
    result["incidents"] = [{"seconds": 1.0, "kind": kind, "text": evil} for kind in ("killed", evil)]
    result["devices"][0]["name"] = result["nodes"][0]["name"] = result["nodes"][1]["role"] = evil
    result["command"] = ["edgeswarm", evil]
    page = render_report(result)
    assert "<script" not in page
    assert _Page(page).text.count(evil) >= 10


def test_the_numbers_are_there() -> None:
    text = _Page(render_report(fake_result())).text
    assert "8 devices updated with 4.30 MB over the uplink instead of 64.2 MB: 93 % saved" in text
    wanted = (
        "64.2 MB", "8.02 MB", "37.4 MB", "4.30 MB", "4.20 MB", "37,420,000", "1.02 \u00d7", "19.4 s", "17.1 s", "8 of 8",
        "94 requests", "41.2 kB", "31.3 kB", "25.7 kB", "208 MB", "96.0 MB", "32.0 MB", "2.50 s", "71.0 MB", "61.0 MB",
        "12.50 s", "2 Mbit/s", "device-8", "the uplink is cut for 4 s", "device-1 killed", "bad chunk refused", "uplink back",
        "3.4 s", "all done", "62 %", "29 %",
    )  # fmt: skip
    assert [number for number in wanted if number not in text] == []


def test_a_failed_run_says_so_in_words() -> None:
    text = _Page(render_report(_broken())).text
    assert "2 of 3 devices updated" in text
    assert "Failed: 1 of 1 check" in text
    assert "FAIL" in text
    assert "WRONG" in text
    assert "never" in text
    assert "No samples were taken." in text
    assert "Passed: all 1 check" in _Page(render_report(fake_result())).text


def test_it_is_accessible_and_follows_the_reader() -> None:
    page = render_report(fake_result())
    parsed = _Page(page)
    assert parsed.all("html") == [{"lang": "en"}]
    assert "@media(prefers-color-scheme:dark)" in page
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in parsed.all("meta")
    identities = {attributes.get("id") for tag, attributes in parsed.tags if tag in {"title", "desc"}}
    images = [attributes for attributes in parsed.all("svg") if attributes.get("role") == "img"]
    assert len(images) == 4
    assert {part for image in images for part in (image["aria-labelledby"] or "").split()} == identities - {None}
    assert len(parsed.all("caption")) == len(parsed.all("table")) == 6
    assert all(head.get("scope") for head in parsed.all("th"))


def _luminance(colour: str) -> float:
    digits = colour * 2 if len(colour) == 3 else colour
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_contrast_as_wcag_wants() -> None:
    """4.5 for text and 3 for graphics (WCAG 2.2, 1.4.3 and 1.4.11), in light and in dark."""
    palettes = re.findall(r":root\{(.*?)\}", render_report(fake_result()), re.DOTALL)
    assert len(palettes) == 2
    for palette in palettes:
        colours = dict(re.findall(r"--(\w+):\s*#([0-9a-f]{3,6})", palette))
        for text, ground in (
            ("ink", "bg"),
            ("soft", "bg"),
            ("soft", "card"),
            ("good", "goodbg"),
            ("bad", "badbg"),
            ("ink", "goodbg"),
        ):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for source in ("local", "peer", "gateway", "origin"):
            assert _contrast(colours[source], colours["bg"]) >= 3, source
            on = colours["onpeer"] if source == "peer" else "000"
            assert _contrast(on, colours[source]) >= 4.5, source


def test_labels_of_incidents_do_not_touch_even_on_a_phone() -> None:
    names = ("cut", "healed", "killed", "restarted", "refused", "gateway-killed", "joined")
    result = fake_result(incidents=[{"seconds": 3.0 * n, "kind": kind, "text": "device-1 x"} for n, kind in enumerate(names)])
    page = render_report(result)
    labels = re.findall(r'<svg x="([\d.]+)%" y="(\d+)" width="1" height="17"[^>]*><text x="(-?5)"[^>]*>([^<]+)', page)
    assert len(labels) == len(names)
    spans: dict[str, list[tuple[float, float]]] = {}
    for x, lane, side, text in labels:
        left = float(x) if side == "5" else float(x) - len(text) * 2.5
        spans.setdefault(lane, []).append((left, left + len(text) * 2.5))  # 2.5 % of 230 px is about a letter
    for lane in spans.values():
        assert all(one[1] <= two[0] for one, two in zip(sorted(lane), sorted(lane)[1:], strict=False))


def test_the_same_incident_of_many_devices_is_one_mark() -> None:
    incidents = [{"seconds": 12 + n / 20, "kind": "refused", "text": f"device-{n} refused"} for n in range(5)]
    text = _Page(render_report(fake_result(incidents=incidents))).text
    assert "5 bad chunks refused" in text


def test_a_device_that_stays_down_is_marked_until_the_end() -> None:
    result = fake_result(incidents=[{"seconds": 10.0, "kind": "killed", "text": "device-1 is killed"}])
    bars = _Page(render_report(result)).all("rect")
    downs = [bar for bar in bars if bar["class"] == "off" and "%" in (bar.get("x") or "")]
    assert [(tag["x"], tag["width"]) for tag in downs] == [("50.00%", "50.00%")]


def test_many_devices_are_shown_together_and_the_page_stays_small() -> None:
    page = render_report(fake_result(500, empty=20))
    assert len(page) < 100_000
    text = _Page(page).text
    assert "median device" in text
    assert "500 of 500" in text
    assert "The 40 devices that failed or were slowest, of 500" in text
    assert len(re.findall(r"^device-\d+$", text, re.MULTILINE)) == 40


def test_a_long_run_is_thinned_out_but_keeps_its_end() -> None:
    samples = [{"seconds": n / 4, "uplink_bytes": n * 100, "done": {}} for n in range(20_001)]
    page = render_report(fake_result(samples=samples))
    assert len(page) < 100_000
    assert "83 min 20 s" in page


@pytest.mark.parametrize(
    ("changes", "inputs", "wanted"),
    [
        ({}, {}, "edgeswarm demo\n"),
        ({"devices": 4, "uplink_bits_per_second": 4e6}, {}, "edgeswarm demo --devices 4 --uplink 4mbit --half-empty"),
        ({"gateway_killed": True, "own_uplinks": 1, "level": 3}, {}, "edgeswarm demo --kill-gateway --half-empty --level 3"),
        ({"own_uplinks": 2}, {"product": "demo", "old": "/x y", "new": "/z"}, "edgeswarm demo --old '/x y' --new /z"),
    ],
)
def test_it_says_how_to_repeat_it(changes: dict[str, Any], inputs: dict[str, Any], wanted: str) -> None:
    result = fake_result(empty=0 if wanted == "edgeswarm demo\n" else 4)
    result["site"] |= changes
    result["inputs"] |= inputs
    assert wanted in _Page(render_report(result)).text


def test_a_command_of_the_result_is_shown_instead() -> None:
    text = _Page(render_report(fake_result(command=["python", "-m", "bench.site", "--devices", "50"]))).text
    assert "python -m bench.site --devices 50" in text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (4_296_000, "4.30 MB"), (64_160_000, "64.2 MB"), (190e6, "190 MB"),
        (999_600, "1.00 MB"), (999_400, "999 kB"), (4.01e9, "4.01 GB"), (5e12, "5.00 TB"), (None, "\u2013"), (math.nan, "\u2013"),
    ],
)  # fmt: skip
def test_sizes(count: float | None, text: str) -> None:
    assert size_text(count) == text


def test_times_shares_and_counts() -> None:
    assert [seconds_text(value) for value in (0.04, 19.44, 119.96, 200.4, None, math.nan)] == [
        "0.0 s", "19.4 s", "2 min 0 s", "3 min 20 s", "never", "never",
    ]  # fmt: skip
    assert [percent_text(share) for share in (0, 0.5, 0.93, 0.9997, 1, 1.02)] == ["0 %", "50 %", "93 %", "99.9 %", "100 %", "102 %"]
    assert [percent_text(share) for share in (1e-9, 0.0015, 0.006, 0.0123)] == ["0.1 %", "0.1 %", "0.6 %", "1 %"]
    assert [count_text(number, "device") for number in (0, 1, 8)] == ["0 devices", "1 device", "8 devices"]


def test_headline_never_claims_a_saving_that_is_none() -> None:
    assert headline(fake_result(1, empty=0, uplink_bytes=9_000_000)).endswith("instead of 8.02 MB: nothing saved")
    assert "1 device updated" in headline(fake_result(1, empty=0))


def test_ways() -> None:
    assert [count for _, count in ways(fake_result())] == [64_160_000, 8_020_000, 37_420_000, 4_296_000, 4_200_000]
