"""The plots of the demo's report: SVG without scripts, and how numbers are written.

Plots give x in percent of their width and y in pixels, so that they stretch to any screen while their text keeps its size; curves
lie in an inner SVG that is stretched. Classes are styled by the page (`edgeswarm.demo.report`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple, TypeGuard

SOURCES = ("local", "peer", "gateway", "origin")
MANY_DEVICES = 24  # a guess: more rows than this are no longer looked at one by one
_POINTS = 400  # of one curve: more than a screen can show
_NARROW_PX, _LETTER_PX = 230, 6.4  # a plot on a phone, and a letter of a label in it: labels must not touch even there
_LANE_PX, _LANES = 17, 6
_UPLINK_PX, _STRIP_PX, _TOGETHER_PX, _BAR_PX = 180, 18, 150, 46
_TOGETHER_PERCENT = 4.0  # a guess: incidents of one kind that are nearer than this share of the time are one mark
# Labels of one incident, where {} is the device, and of several at about one time, where {} is how many.
_LABELS = {
    "cut": ("uplink cut", ""),
    "healed": ("uplink back", ""),
    "killed": ("{} killed", "{} devices killed"),
    "restarted": ("{} restarted", "{} devices restarted"),
    "gateway-killed": ("gateway killed", ""),
    "joined": ("empty devices join", ""),
    "refused": ("bad chunk refused", "{} bad chunks refused"),
    "complete": ("all done", ""),
}


class Scale(NamedTuple):
    """The time axis.

    Attributes:
        span: Seconds at its right end; more than 0.
    """

    span: float

    def at(self, seconds: float) -> float:
        """Return where a time is, in percent of the width."""
        return round(min(max(seconds / self.span, 0.0), 1.0) * 100, 2)


def size_text(count: float | None) -> str:
    """Return bytes for people, three digits, MB = 10^6 bytes; a dash for what is not known."""
    if not is_number(count):
        return "\u2013"
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= 0.9995 * scale:
            return f"{count / scale:#.3g}".rstrip(".") + f" {unit}"
    return f"{count:.0f} B"


def seconds_text(seconds: float | None) -> str:
    """Return a time for people; `never` for None or NaN."""
    if not is_number(seconds):
        return "never"
    whole = round(seconds)
    return f"{seconds:.1f} s" if seconds < 119.95 else f"{whole // 60} min {whole % 60} s"


def percent_text(share: float) -> str:
    """Return a share for people, rounded so that it never claims all where it is less, or nothing where it is more."""
    percent = 100 * share
    if 0 < percent < 1:
        return f"{max(percent, 0.1):.1f} %"
    return f"{math.floor(percent * 10) / 10:g} %" if 99 < percent < 100 else f"{percent:.0f} %"


def is_number(value: float | None) -> TypeGuard[float]:
    """Tell if a value of the JSON is a number that can be drawn."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def count_text(count: int, noun: str) -> str:
    """Return `1 device`, `8 devices`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _svg(ident: str, title: str, description: str, height: int, body: str) -> str:
    names = f'<title id="{ident}-t">{escape(title)}</title><desc id="{ident}-d">{escape(description)}</desc>'
    return f'<svg width="100%" height="{height}" role="img" aria-labelledby="{ident}-t {ident}-d">{names}{body}</svg>'


def _text(x: float | str, y: float, text: str, css: str = "") -> str:
    return f'<text x="{x}" y="{y:g}" class="{css}">{escape(text)}</text>'


def _rect(x: float, y: float, width: float, height: float, css: str) -> str:
    return f'<rect x="{x:.2f}%" y="{y:g}" width="{width:.2f}%" height="{height:g}" class="{css}"/>'


def legend(items: Iterable[tuple[str, str]]) -> str:
    """Return the key of a plot as HTML, from (drawing in 18 x 12 px, text)."""
    rows = "".join(f'<li><svg width="18" height="12" aria-hidden="true">{mark}</svg>{escape(text)}</li>' for mark, text in items)
    return f'<ul class="legend">{rows}</ul>'


def bar_plot(rows: Sequence[tuple[str, int]], strong: str) -> str:
    """Return labelled bars of bytes from (label, bytes); the one labelled `strong` stands out."""
    most = max(max(count for _, count in rows), 1)
    body = ""
    for index, (text, count) in enumerate(rows):
        y, css, weight = index * _BAR_PX, "bar this" if text == strong else "bar", "bold" if text == strong else ""
        body += _text(0, y + 15, text[0].upper() + text[1:], weight) + _text("100%", y + 15, size_text(count), f"end {weight}")
        # Two pixels at least, or a small share of a large fleet would look like nothing.
        body += _rect(0, y + 22, 100, 14, "track") + f'<rect x="0" y="{y + 22}" width="2" height="14" class="{css}"/>'
        body += _rect(0, y + 22, 100 * count / most, 14, css)
    described = "; ".join(f"{text}: {size_text(count)}" for text, count in rows)
    return _svg("ways", "Bytes over the uplink", described, len(rows) * _BAR_PX, body)


def thinned(samples: Sequence[Mapping[str, Any]], most: int = _POINTS) -> list[Mapping[str, Any]]:
    """Return at most `most` + 1 of the samples that have a time and a count, the last one among them."""
    good = [sample for sample in samples if is_number(sample["seconds"]) and is_number(sample["uplink_bytes"])]
    step = max(1, math.ceil(len(good) / most))
    return good[:-1:step] + good[-1:]


def uplink_plot(result: Mapping[str, Any], samples: Sequence[Mapping[str, Any]], cost: int, scale: Scale) -> str:
    """Return the bytes over the uplink over time, with what happened, against `cost`, the bytes of one copy."""
    lanes, flags = _flags(result, scale)
    top, most = _LANE_PX * lanes + 8, 1.08 * max(cost, 1, *(sample["uplink_bytes"] for sample in samples))
    points = [(0.0, 0.0), *((scale.at(row["seconds"]), row["uplink_bytes"] / most * _UPLINK_PX) for row in samples)]
    curves = _ideal(result["site"], cost, cost / most, scale)
    curves += _curve(points, _UPLINK_PX, "area", fill=True) + _curve(points, _UPLINK_PX, "curve")
    y = top + (1 - cost / most) * _UPLINK_PX
    body = _grid([(tick / most, _tick_text(tick)) for tick in _ticks(most, 4)], top, _UPLINK_PX)
    body += _downs(result, scale, top, _UPLINK_PX) + _stretched(top, _UPLINK_PX, curves)
    body += f'<line class="copy" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>{flags}' + _times(scale, top + _UPLINK_PX)
    described = (
        f"{size_text(samples[-1]['uplink_bytes'])} after {seconds_text(samples[-1]['seconds'])}; one copy is {size_text(cost)}"
    )
    return _svg("course", "Bytes over the uplink over time", described, top + _UPLINK_PX + 30, body)


def _tick_text(count: float) -> str:
    return size_text(count).replace(".00 ", " ").replace(".0 ", " ")


def _ideal(site: Mapping[str, Any], cost: int, share: float, scale: Scale) -> str:
    """Return the line of uplinks that always carry what they can."""
    rate = (site.get("uplink_bits_per_second") or 0) * (site.get("uplinks") or 1) / 8
    if not is_number(rate) or rate <= 0:
        return ""
    return _curve([(0, 0), (100 * cost / rate / scale.span, share * _UPLINK_PX)], _UPLINK_PX, "ideal")


def _times(scale: Scale, y: float) -> str:
    return "".join(_text(f"{scale.at(seconds)}%", y + 18, f"{seconds:g} s", "soft mid") for seconds in _ticks(scale.span, 4))


def progress_plot(result: Mapping[str, Any], samples: Sequence[Mapping[str, Any]], size: int, scale: Scale) -> str:
    """Return the share of the new release, of `size` bytes, that each device had over time; of many devices, how it is spread."""
    names = [device["name"] for device in result["devices"]]
    shares = [[_share(sample["done"].get(name), size) for name in names] for sample in samples]
    whens = [scale.at(sample["seconds"]) for sample in samples]
    described = f"{count_text(len(names), 'device')}; at the end the slowest has {percent_text(min(shares[-1], default=0.0))}"
    if len(names) > MANY_DEVICES:
        height, body = _TOGETHER_PX + 40, _together(whens, shares) + _times(scale, 8 + _TOGETHER_PX)
    else:
        height, body = 26 * len(names) + 30, _times(scale, 26 * len(names))
        for index, device in enumerate(result["devices"]):
            body += _strip(result, device, index * 26, list(zip(whens, (row[index] for row in shares), strict=True)), scale)
    return _svg("progress", "Share of the new release over time", described, height, body)


def _share(done: object, size: int) -> float:
    return min(done / size, 1.0) if isinstance(done, (int, float)) and is_number(done) and size else 0.0


def _strip(
    result: Mapping[str, Any], device: Mapping[str, Any], y: int, points: Sequence[tuple[float, float]], scale: Scale
) -> str:
    """Return the row of one device."""
    area = _curve([(0.0, 0.0), *((x, share * _STRIP_PX) for x, share in points)], _STRIP_PX, "strip", fill=True)
    end, css = seconds_text(device["seconds"]), "soft" if is_number(device["seconds"]) else "bad"
    body = _rect(0, y, 100, _STRIP_PX, "track") + _stretched(y, _STRIP_PX, area)
    body += _downs(result, scale, y, _STRIP_PX, device["name"]) + _text(-8, y + 13, _short(device["name"]), "soft end")
    # To the right of 100 %: an inner SVG is the one way to say "100 % and 8 px".
    return body + f'<svg x="100%" y="{y}" width="1" height="{_STRIP_PX}" style="overflow:visible">{_text(8, 13, end, css)}</svg>'


def _short(name: str) -> str:
    return name if len(name) <= 9 else f"{name[:5]}\u2026{name[-3:]}"


def _together(whens: Sequence[float], shares: Sequence[Sequence[float]]) -> str:
    """Return the spread of many devices: slowest, middle four fifths, median."""
    rows = [sorted(row) for row in shares]
    low, tenth, middle, ninth = (
        [(x, row[int(part * (len(row) - 1))] * _TOGETHER_PX) for x, row in zip(whens, rows, strict=True)]
        for part in (0.0, 0.1, 0.5, 0.9)
    )
    band = "M" + "L".join(f"{x:.2f} {_TOGETHER_PX - y:.1f}" for x, y in (*ninth, *reversed(tenth))) + "Z"
    inner = f'<path class="area" d="{band}"/>' + _curve(middle, _TOGETHER_PX, "curve") + _curve(low, _TOGETHER_PX, "ideal")
    return _grid([(share, percent_text(share)) for share in (0, 0.5, 1)], 8, _TOGETHER_PX) + _stretched(8, _TOGETHER_PX, inner)


def source_plot(rows: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    """Return stacked bars of bytes by source from (label, bytes by source)."""
    most = max(1.0, *(sum(by_source.get(source, 0) for source in SOURCES) for _, by_source in rows))
    body = "".join(_stack(index * 28, label, by_source, most) for index, (label, by_source) in enumerate(rows))
    described = "; ".join(
        f"{label}: " + ", ".join(f"{s} {size_text(b.get(s, 0))}" for s in SOURCES) for label, b in rows[:MANY_DEVICES]
    )
    return _svg("sources", "Bytes of the new release by where they came from", described, 28 * len(rows), body)


def _stack(y: int, label: str, by_source: Mapping[str, float], most: float) -> str:
    body, x = _text(-8, y + 15, _short(label), "soft end") + _rect(0, y, 100, 22, "track"), 0.0
    for source in SOURCES:
        share = by_source.get(source, 0) / most
        body += _rect(x, y, 100 * share, 22, f"{source} part") if share else ""
        if share >= 0.13:  # where its label fits, on a phone too
            body += _text(f"{x + 50 * share:.2f}%", y + 15, percent_text(share), f"on on{source}")
        x += 100 * share
    total = size_text(sum(by_source.get(source, 0) for source in SOURCES))
    return body + f'<svg x="100%" y="{y}" width="1" height="22" style="overflow:visible">{_text(8, 15, total, "soft")}</svg>'


def _curve(points: Iterable[tuple[float, float]], height: int, css: str, *, fill: bool = False) -> str:
    """Return a path through (percent, pixels from the bottom)."""
    dots = [(f"{x:.2f}", f"{height - y:.1f}") for x, y in points]
    path = "M" + "L".join(f"{x} {y}" for x, y in dots)
    return f'<path class="{css}" d="{path}{f"V{height}H{dots[0][0]}Z" if fill else ""}"/>'


def _stretched(y: float, height: int, body: str) -> str:
    return f'<svg x="0" y="{y:g}" width="100%" height="{height}" viewBox="0 0 100 {height}" preserveAspectRatio="none">{body}</svg>'


def _ticks(most: float, about: int) -> list[float]:
    """Return round numbers from 0 up to `most`."""
    raw = most / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    return [step * index for index in range(int(most / step + 1e-9) + 1)]


def _grid(lines: Iterable[tuple[float, str]], top: int, height: int) -> str:
    """Return lines across a plot from (share of the height, label)."""
    return "".join(
        f'<line class="grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>' + _text(-8, y + 4, text, "soft end")
        for y, text in ((top + height * (1 - share), text) for share, text in lines)
    )


def _downs(result: Mapping[str, Any], scale: Scale, top: float, height: int, name: str = "") -> str:
    """Return the times when the uplink was cut, or, with a device's name, when that was down."""
    begin, end, css = ("killed", "restarted", "off") if name else ("cut", "healed", "down")
    body, since = "", None
    for row in (*result["incidents"], {"kind": end, "seconds": scale.span, "text": f"{name} "}):
        if not is_number(row["seconds"]) or not row["text"].startswith(f"{name} " if name else ""):
            continue
        if row["kind"] == begin and since is None:
            since = scale.at(row["seconds"])
        elif row["kind"] == end and since is not None:
            body, since = body + _rect(since, top, scale.at(row["seconds"]) - since, height, css), None
    return body


def _flags(result: Mapping[str, Any], scale: Scale) -> tuple[int, str]:
    """Return how many lanes of labels are needed above the uplink's plot, and the labels with their lines."""
    marks = _marks(result, scale)
    ends: list[float] = []  # of each lane: where its last label ends, in percent
    placed: list[tuple[float, int, str, str]] = []
    for x, text in marks:
        width = 100 * (len(text) * _LETTER_PX + 10) / _NARROW_PX
        left, css = (x, "halo") if x + width < 120 else (x - width, "halo end")
        lane = next((index for index, end in enumerate(ends) if end <= left), len(ends))
        if lane == len(ends) and lane < _LANES:
            ends.append(0.0)
        if lane < _LANES:
            ends[lane] = left + width
        placed.append((x, lane, text if lane < _LANES else "", css))
    bottom = _LANE_PX * len(ends) + 8 + _UPLINK_PX
    lines = "".join(
        f'<line class="event" x1="{x}%" x2="{x}%" y1="{_LANE_PX * min(lane, _LANES - 1) + 2}" y2="{bottom}"/>'
        for x, lane, _, _ in placed
    )
    texts = "".join(
        f'<svg x="{x}%" y="{_LANE_PX * lane}" width="1" height="{_LANE_PX}" style="overflow:visible">'
        f"{_text(-5 if css.endswith('end') else 5, 13, text, css)}</svg>"
        for x, lane, text, css in placed
        if text
    )
    return len(ends), lines + texts


def _marks(result: Mapping[str, Any], scale: Scale) -> list[tuple[float, str]]:
    """Return (percent, label) of what happened, in order; the same thing to many devices at about one time is one mark."""
    marks: list[tuple[float, str]] = []
    last, count = ("", -100.0), 1
    for row in result["incidents"]:
        if not is_number(row["seconds"]) or row["kind"] not in _LABELS:
            continue
        x = scale.at(row["seconds"])
        one, many = _LABELS[row["kind"]]
        if many and row["kind"] == last[0] and x - last[1] < _TOGETHER_PERCENT:
            count += 1
            marks[-1] = (marks[-1][0], many.format(count))
        else:
            count, last = 1, (row["kind"], x)
            marks.append((x, one.format(_short(row["text"].partition(" ")[0]))))
    return marks
