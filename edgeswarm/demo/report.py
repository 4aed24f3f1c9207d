"""The page that shows a run: one HTML file without scripts or anything from elsewhere, from the JSON of docs/reference/bench.md.

Colours are those of Okabe and Ito (jfly.uni-koeln.de/color), which colour-blind people can tell apart.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from statistics import median
from typing import Any

from .charts import (
    MANY_DEVICES,
    SOURCES,
    Scale,
    bar_plot,
    count_text,
    is_number,
    legend,
    percent_text,
    progress_plot,
    seconds_text,
    size_text,
    source_plot,
    thinned,
    uplink_plot,
)

THIS_RUN = "this run"
_SHORT_LETTERS = 12
_ROWS = 40  # of one table: more are not read
_SOURCE_TEXTS = {
    "local": "local: it was here already",
    "peer": "peer: from another device",
    "gateway": "gateway: from the site's gateway",
    "origin": "origin: over an uplink of its own",
}

_CSS = """
:root{color-scheme:light dark;--bg:#fff;--card:#f5f7f9;--ink:#1b2127;--soft:#56606b;--line:#d5dbe1;--good:#00694d;
--goodbg:#e2f4ed;
--bad:#a33a00;--badbg:#fdeae0;--local:#8a939c;--peer:#0072b2;--gateway:#009e73;--origin:#d55e00;--onpeer:#fff;--down:#d55e0033}
@media(prefers-color-scheme:dark){:root{--bg:#12161a;--card:#1c2228;--ink:#e8ecf0;--soft:#a6b0ba;--line:#38414a;--good:#4fd6ab;
--goodbg:#0d3328;--bad:#ff9d66;--badbg:#43200c;--local:#98a2ac;--peer:#56b4e9;--gateway:#1fb88c;--origin:#ef7d2b;--onpeer:#000;
--down:#ef7d2b40}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif}
main{max-width:960px;margin:0 auto;padding:28px 20px 48px}
h1{font-size:clamp(1.5rem,4.5vw,2.1rem);line-height:1.2;margin:.3em 0 .4em;text-wrap:balance}
h2{font-size:1.2rem;margin:2.4em 0 .3em}h3{font-size:.875rem;font-weight:600;margin:1.6em 0 .6em}
p{margin:.4em 0 .8em;max-width:46em}.soft,figcaption,.note,.legend{color:var(--soft)}figcaption,.note,.legend{font-size:.875rem}
figcaption{margin-top:.6em;max-width:50em}
code,pre{font-family:ui-monospace,"Liberation Mono",Menlo,Consolas,monospace;font-size:.875rem}
pre{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px 16px;overflow-x:auto}
.name{margin:0;font-weight:600;color:var(--soft);overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(160px,1fr));gap:12px;margin:1.4em 0}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 14px}
.tiles b{display:block;font-size:1.45rem;line-height:1.25;font-variant-numeric:tabular-nums}
.tiles span{color:var(--soft);font-size:.875rem}
.verdict{border:1px solid;border-left-width:6px;border-radius:8px;padding:12px 16px}.verdict strong{font-size:1.1rem}
.verdict.pass{background:var(--goodbg);border-color:var(--good)}.verdict.fail{background:var(--badbg);border-color:var(--bad)}
.verdict ul{list-style:none;margin:.5em 0 0;padding:0}
.verdict li{padding:.2em 0 .2em 4.2em;text-indent:-4.2em;overflow-wrap:anywhere}
.mark{display:inline-block;width:4.2em;text-indent:0;font-weight:700}.good .mark{color:var(--good)}.bad .mark{color:var(--bad)}
figure{margin:1em 0 0}svg{display:block;overflow:visible}svg svg{overflow:hidden}
.axes{padding:0 58px 0 80px}text{fill:var(--ink);font-size:13px}text.soft{fill:var(--soft);font-size:12px}
text.mid{text-anchor:middle}text.end{text-anchor:end}text.bold{font-weight:700}text.bad{fill:var(--bad);font-weight:700}
text.halo{paint-order:stroke;stroke:var(--bg);stroke-width:8px;stroke-linejoin:round;fill:var(--ink);font-size:12px}
.grid{stroke:var(--line)}.event{stroke:var(--soft);stroke-dasharray:2 3}.down{fill:var(--down)}
.off{fill:var(--origin)}.track{fill:var(--card)}
.curve{fill:none;stroke:var(--peer);stroke-width:2.5;vector-effect:non-scaling-stroke;stroke-linejoin:round}
.area{fill:var(--peer);fill-opacity:.16}.strip{fill:var(--peer)}.copy{stroke:var(--origin);stroke-width:2;stroke-dasharray:7 4}
.ideal{fill:none;stroke:var(--soft);stroke-width:1.5;stroke-dasharray:1 4;stroke-linecap:round;vector-effect:non-scaling-stroke}
.bar{fill:var(--local)}.bar.this{fill:var(--peer)}
.local{fill:var(--local)}.peer{fill:var(--peer)}.gateway{fill:var(--gateway)}.origin{fill:var(--origin)}
.part{stroke:var(--bg);stroke-width:1px}
text.on{fill:#000;font-weight:600;font-size:11px;text-anchor:middle}text.on.onpeer{fill:var(--onpeer)}
.legend{display:flex;flex-wrap:wrap;gap:4px 20px;margin:.2em 0 .8em;padding:0;list-style:none}
.legend svg{display:inline-block;vertical-align:-1px;margin-right:7px}
.scroll{overflow-x:auto;margin-top:.6em}
table{border-collapse:collapse;width:100%;font-size:.875rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding-bottom:.4em}
th,td{text-align:left;padding:6px 14px 6px 0;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;white-space:nowrap}.num{text-align:right;white-space:nowrap}tfoot th,tfoot td{font-weight:600;border-bottom:0}
td:last-child,th:last-child{padding-right:0}summary{cursor:pointer;margin-top:.9em;color:var(--soft);font-size:.875rem}
@media(max-width:600px){main{padding:18px 14px 36px}.axes{padding:0 48px 0 72px}th,td{padding-right:10px}
th,thead .num{white-space:normal}.short{white-space:nowrap!important}}
@media print{body{font-size:12px}h2{break-after:avoid}figure,table{break-inside:avoid}}
"""


def headline(result: Mapping[str, Any]) -> str:
    """Return what the run showed, in one sentence."""
    devices, used = result["devices"], result["uplink_bytes"]
    updated = sum(1 for device in devices if device["digests_ok"] and is_number(device["seconds"]))
    who = count_text(len(devices), "device") if updated == len(devices) else f"{updated} of {count_text(len(devices), 'device')}"
    alone = result["full_bytes"] * len(devices)
    saved = f"{percent_text(1 - used / alone)} saved" if 0 <= used < alone else "nothing saved"
    plural = "s" if result["site"].get("uplinks", 1) > 1 else ""
    return f"{who} updated with {size_text(used)} over the uplink{plural} instead of {size_text(alone)}: {saved}"


def ways(result: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return the ways to update the site, and the bytes that each takes from the uplink; the fourth is this run."""
    number = len(result["devices"])
    return [
        ("every device on its own, full", result["full_bytes"] * number),
        ("one full copy", result["full_bytes"]),
        ("every device on its own, delta", result["independent_bytes"]),
        (THIS_RUN, result["uplink_bytes"]),
        ("bound: one copy of the delta", result["delta_bytes"] + result["metadata_bytes"]),
    ]


def render_report(result: Mapping[str, Any]) -> str:
    """Return a run as one HTML page.

    The page needs no script and nothing from elsewhere, follows the reader's choice of light or dark, and fits a phone. Text of the
    result is escaped, whatever it holds. More than 24 devices are shown together.

    Args:
        result: `Result.as_dict()`, or what was loaded from its JSON; NaN, None and missing samples are allowed. A `command`, the
            words of the command line that made it, is shown if it is there.

    Raises:
        KeyError: A value of docs/reference/bench.md is missing.
    """
    title = escape(f"{result['inputs']['product']}: {headline(result)}")
    parts = (_top, _uplink, _course, _by_source, _processes, _incidents, _reproduce)
    body = "\n".join(part(result) for part in parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" content="light dark">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{title}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _top(result: Mapping[str, Any]) -> str:
    inputs, devices = result["inputs"], result["devices"]
    right = sum(1 for device in devices if device["digests_ok"])
    tiles = [
        (size_text(result["uplink_bytes"]), "over the uplink, both directions, with headers"),
        (f"{result['duplicate_factor']:.3g} \u00d7", "one copy of what changed; 1 \u00d7 is the least"),
        (seconds_text(result["time_s"]), f"until the last device; no way below {seconds_text(result['bound_s'])}"),
        (f"{right} of {len(devices)}", "devices verified, byte by byte"),
        (f"{result['refused_chunks']}", "wrong chunks refused"),
    ]
    boxes = "".join(f"<div><b>{escape(value)}</b><span>{escape(text)}</span></div>" for value, text in tiles)
    name = escape(f"{inputs['product']} {inputs['old_version']} \u2192 {inputs['new_version']}")
    return f'<p class="name">{name}</p>\n<h1>{escape(headline(result))}</h1>\n{_verdict(result)}\n<div class="tiles">{boxes}</div>'


def _verdict(result: Mapping[str, Any]) -> str:
    checks = result["checks"]
    passed = all(check["passed"] for check in checks)
    lines = "".join(map(_check, checks))
    failed = sum(not check["passed"] for check in checks)
    text = (
        f"Passed: all {count_text(len(checks), 'check')}" if passed else f"Failed: {failed} of {count_text(len(checks), 'check')}"
    )
    return f'<section class="verdict {"pass" if passed else "fail"}"><strong>{text}</strong><ul>{lines}</ul></section>'


def _check(check: Mapping[str, Any]) -> str:
    css, mark = ("good", "\u2713 pass") if check["passed"] else ("bad", "\u2717 FAIL")
    return f'<li class="{css}"><span class="mark">{mark}</span>{escape(check["name"])} ({escape(check["detail"])})</li>'


def _table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1, foot: Sequence[str] = ()
) -> str:
    """Return a table; the columns after the first `text_columns` hold numbers."""
    css = ['class="num"' if column >= text_columns else "" for column in range(len(heads))]
    head = "".join(f'<th scope="col" {how}>{escape(text)}</th>' for how, text in zip(css, heads, strict=True))

    def line(cells: Sequence[str]) -> str:
        first, *others = (f"{how}>{escape(text)}" for how, text in zip(css, cells, strict=True))
        short = 'class="short"' if len(cells[0]) <= _SHORT_LETTERS else ""  # a time keeps its unit beside it
        return f'<tr><th scope="row" {short}{first}</th>' + "".join(f"<td {other}</td>" for other in others) + "</tr>"

    end = f"<tfoot>{line(foot)}</tfoot>" if foot else ""
    body = "".join(map(line, rows))
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>{end}</table></div>"
    )


def _details(summary: str, body: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def _uplink(result: Mapping[str, Any]) -> str:
    rows = ways(result)
    table = _table(
        "Bytes over the uplink", ("Way", "Bytes", "Size"), [(text, f"{count:,}", size_text(count)) for text, count in rows]
    )
    note = (
        f"{count_text(result['uplink_requests'], 'request')} passed. {size_text(result['uplink_header_bytes'])} of this run were "
        f"headers, and {size_text(result['uplink_repeated_bytes'])} passed more than once, after breaks. One copy of the delta is "
        f"{size_text(result['delta_bytes'])} of content and {size_text(result['metadata_bytes'])} of signed metadata. "
        "1 MB is 10\u2076 bytes."
    )
    plot = f"<figure>{bar_plot(rows, THIS_RUN)}<figcaption>{note}</figcaption></figure>"
    return f"<h2>What the uplink carried</h2>\n{plot}\n{_details('As a table', table)}"


def _course(result: Mapping[str, Any]) -> str:
    samples, heading = thinned(result["samples"]), "<h2>How the update went</h2>\n"
    if not samples:
        return heading + '<p class="soft">No samples were taken.</p>'
    moments = [row["seconds"] for row in (*samples, *result["incidents"]) if is_number(row["seconds"])]
    scale, cost = Scale(max(*moments, 1e-3)), ways(result)[-1][1]
    key = [
        ('<path class="curve" d="M0 6H18"/>', "over the uplink"),
        ('<line class="copy" x1="0" x2="18" y1="6" y2="6"/>', f"one copy of the delta: {size_text(cost)}"),
        ('<path class="ideal" d="M0 6H18"/>', "the uplink at full speed, without breaks"),
        ('<rect class="down" width="18" height="12"/>', "uplink cut"),
        ('<rect class="off" width="18" height="12"/>', "device down"),
    ]
    plot = uplink_plot(result, samples, cost, scale)
    return (
        f'{heading}{legend(key)}\n<figure class="axes">{plot}</figure>\n{_progress(result, samples, scale)}{_course_table(samples)}'
    )


def _progress(result: Mapping[str, Any], samples: Sequence[Mapping[str, Any]], scale: Scale) -> str:
    text, key = "Share of the new release that each device has, and when it had installed it", ""
    if len(result["devices"]) > MANY_DEVICES:
        text = "Share of the new release that the devices have"
        key = legend([
            ('<path class="curve" d="M0 6H18"/>', "median device"),
            ('<rect class="area" width="18" height="12"/>', "middle 80 % of the devices"),
            ('<path class="ideal" d="M0 6H18"/>', "slowest device"),
        ])  # fmt: skip
    plot = progress_plot(result, samples, _release_size(result), scale)
    return f'<h3>{text}</h3>\n{key}<figure class="axes">{plot}</figure>\n'


def _release_size(result: Mapping[str, Any]) -> int:
    """Return the bytes of the new release, or the most that a device had where the inputs do not say."""
    known = result["inputs"].get("size") or result["inputs"].get("new_size")
    return int(known or max((count for row in result["samples"] for count in row["done"].values() if is_number(count)), default=0))


def _course_table(samples: Sequence[Mapping[str, Any]]) -> str:
    some = thinned(samples, 16)
    done = [[count for count in sample["done"].values() if is_number(count)] or [0] for sample in some]
    rows = [
        (seconds_text(row["seconds"]), size_text(row["uplink_bytes"]), size_text(min(have)), size_text(median(have)))
        for row, have in zip(some, done, strict=True)
    ]
    return _details("As a table", _table("Course", ("Time", "Over the uplink", "Slowest device has", "Median device has"), rows))


def _by_source(result: Mapping[str, Any]) -> str:
    devices = result["devices"]
    many = len(devices) > MANY_DEVICES
    bars = _groups(devices) if many else [(device["name"], device["by_source"]) for device in devices]
    what = "Mean over the devices of a group" if many else "Each device"
    key = legend((f'<rect class="{source} part" width="18" height="12"/>', text) for source, text in _SOURCE_TEXTS.items())
    total = ", ".join(f"{source} {size_text(result['bytes_by_source'].get(source, 0))}" for source in SOURCES)
    plot = f'<figure class="axes">{source_plot(bars)}</figure>' if bars else ""
    return (
        f'<h2>Where the bytes came from</h2>\n{key}\n{plot}<p class="note">{what}, in bytes of the unpacked release, since its '
        f"last start. All devices together: {total}.</p>\n{_device_table(devices, many=many)}"
    )


def _groups(devices: Sequence[Mapping[str, Any]]) -> list[tuple[str, dict[str, float]]]:
    """Return the mean bytes by source of all devices, of those that held the old release and of those that did not."""
    groups = {"all": devices, "had old": [d for d in devices if d["held_old"]], "empty": [d for d in devices if not d["held_old"]]}
    return [
        (name, {source: sum(d["by_source"].get(source, 0) for d in group) / len(group) for source in SOURCES})
        for name, group in groups.items()
        if group
    ]


def _device_table(devices: Sequence[Mapping[str, Any]], *, many: bool) -> str:
    """Return how each device ended; of many devices, the failed and the slowest."""
    slowest_first = sorted(devices, key=lambda d: (d["digests_ok"], -d["seconds"] if is_number(d["seconds"]) else float("-inf")))
    shown = slowest_first[:_ROWS] if many else devices
    rows = [
        (
            device["name"], "old release" if device["held_old"] else "nothing", "verified" if device["digests_ok"] else "WRONG",
            seconds_text(device["seconds"]), str(device["kills"]), str(device["refused_chunks"]),
            *(size_text(device["by_source"].get(source, 0)) for source in SOURCES),
        )
        for device in shown
    ]  # fmt: skip
    heads = ("Device", "Started with", "Content", "Done after", "Kills", "Refused", *(source.capitalize() for source in SOURCES))
    caption = f"The {len(shown)} devices that failed or were slowest, of {len(devices)}" if many else "How each device ended"
    return _details("Device by device", _table(caption, heads, rows, 3))


def _processes(result: Mapping[str, Any]) -> str:
    nodes = result["nodes"]
    table = _roles_table(nodes) if len(nodes) > MANY_DEVICES + 2 else _nodes_table(nodes)
    return f"<h2>What the processes used</h2>\n{table}"


def _nodes_table(nodes: Sequence[Mapping[str, Any]]) -> str:
    rows = [(node["name"], node["role"], cpu_text(node["cpu_s"]), size_text(node["peak_rss_bytes"])) for node in nodes]
    foot = (
        "Together",
        "",
        cpu_text(sum(node["cpu_s"] for node in nodes)),
        size_text(sum(node["peak_rss_bytes"] for node in nodes)),
    )
    return _table("CPU time and peak memory of each process", ("Process", "Role", "CPU time", "Peak memory"), rows, 2, foot)


def _roles_table(nodes: Sequence[Mapping[str, Any]]) -> str:
    groups = [(role, [node for node in nodes if node["role"] == role]) for role in sorted({node["role"] for node in nodes})]
    rows = [
        (role, str(len(group)), *_spread(group, "cpu_s", cpu_text), *_spread(group, "peak_rss_bytes", size_text))
        for role, group in groups
    ]
    heads = ("Role", "Processes", "CPU, median", "CPU, most", "Peak memory, median", "Peak memory, most")
    return _table("CPU time and peak memory by role", heads, rows)


def _spread(nodes: Sequence[Mapping[str, Any]], key: str, text: Callable[[float], str]) -> tuple[str, str]:
    values = [node[key] for node in nodes]
    return text(median(values)), text(max(values))


def cpu_text(seconds: float) -> str:
    """Return CPU time for people; always in seconds, so that a column compares."""
    return f"{seconds:.2f} s"


def _incidents(result: Mapping[str, Any]) -> str:
    incidents = result["incidents"]
    shown = [(seconds_text(row["seconds"]), row["kind"], row["text"]) for row in incidents[:_ROWS]]
    more = f'<p class="note">And {len(incidents) - _ROWS} more, in the JSON.</p>' if len(incidents) > _ROWS else ""
    return f"<h2>What happened</h2>\n{_table('Incidents, in order', ('After', 'Kind', 'What'), shown, 3)}{more}"


def _demo_command(inputs: Mapping[str, Any], site: Mapping[str, Any]) -> list[str]:
    """Return the command line of the demo that has these conditions; what is its default is left out."""
    rate, killed = f"{site.get('uplink_bits_per_second', 2e6) / 1e6:g}mbit", bool(site.get("gateway_killed"))
    options = [
        (inputs["product"] == "demo", ["--old", str(inputs["old"]), "--new", str(inputs["new"])]),
        (site.get("devices", 8) != 8, ["--devices", str(site.get("devices"))]),
        (rate != "2mbit", ["--uplink", rate]),
        (killed, ["--kill-gateway"]),
        (site.get("empty", 0) > 0, ["--half-empty"]),
        (site.get("own_uplinks", 0) != int(killed), ["--own-uplinks", str(site.get("own_uplinks"))]),
        (site.get("level", 12) != 12, ["--level", str(site.get("level"))]),
    ]
    return ["edgeswarm", "demo", *(word for wanted, words in options if wanted for word in words)]


def _reproduce(result: Mapping[str, Any]) -> str:
    inputs, site = result["inputs"], result["site"]
    words = result.get("command") or _demo_command(inputs, site)
    release = f"{inputs['product']} {inputs['old_version']} \u2192 {inputs['new_version']}"
    rows = [
        (
            "Releases",
            f"{release}; the new one: {size_text(_release_size(result))}, published in {seconds_text(result['publish_seconds'])}",
        ),
        (
            "Site",
            f"{count_text(len(result['devices']), 'device')}, {site.get('empty', 0)} of them without the old release; one gateway",
        ),
        (
            "Uplinks",
            f"{site.get('uplinks', 1)}, {site.get('uplink_bits_per_second', 0) / 1e6:g} Mbit/s in each direction, on loopback",
        ),
        ("Malicious peer", "yes, it sends wrong chunks" if site.get("bad_peer") else "no"),
    ]
    table = _table("Conditions of this run", ("What", "Value"), rows, 2)
    commands = f"pip install {shlex.quote('edgeswarm[all]')}\n{shlex.join(map(str, words))}"
    text = "<h2>How to reproduce this</h2>\n<p>On Linux, without root; only loopback is used:</p>"
    return f"{text}\n<pre><code>{escape(commands)}</code></pre>\n{table}"
