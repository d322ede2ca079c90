"""Line charts as inline SVG: no script, no font, no library; colours come from the page's CSS.

Nothing is interactive but a tooltip on the last point.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 460, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 12, 30


@dataclass(frozen=True)
class Series:
    """One line. ``points``: (step, value), steps rising; ``colour``: number of a CSS colour."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: int = 0


def training_charts(log: list[dict]) -> str:
    """Reward, length, signal, cut-offs, KL and entropy over steps: each chart whose numbers are in
    the log, per task where they are logged per task, and a line that names what is not.

    Args:
        log: entries of ``log.jsonl``, steps rising; keys as ``rl.run_log`` and TRL name them.
    """
    tasks = sorted(
        {
            key.split("/")[1]
            for line in log
            for key in line
            if key.startswith("tasks/") and key.count("/") == 2
        }
    )
    functions = sorted(
        {
            key.split("/")[1]
            for line in log
            for key in line
            if key.startswith("rewards/") and key.endswith("/mean")
        }
    )

    def curves(*wanted: tuple[str, str, int]) -> list[Series]:
        return [
            Series(label, points, colour)
            for label, key, colour in wanted
            if (points := [(line["step"], line[key]) for line in log if _plots(line.get(key))])
        ]

    def per_task(name: str, *overall: tuple[str, str]) -> list[Series]:
        split = curves(
            *((t.replace("_", " "), f"tasks/{t}/{name}", 1 + i) for i, t in enumerate(tasks))
        )
        return split or next((c for label, key in overall if (c := curves((label, key, 0)))), [])

    reward = per_task("reward") or curves(
        *((f.replace("_", " "), f"rewards/{f}/mean", 1 + i) for i, f in enumerate(functions))
    )
    length = per_task("length", ("all", "completions/mean_length"))
    zero_variance = per_task(
        "zero_variance", ("all", "groups/zero_variance"), ("all", "frac_reward_zero_std")
    )
    cut_off = per_task("cut_off", ("all", "completions/clipped_ratio"))
    charts = [
        (
            "Reward",
            "mean over sampled completions, times its weight",
            reward or curves(("all", "reward", 0)),
            False,
        ),
        ("Completion length", "tokens", length, False),
        (
            "Zero-variance groups",
            "share of prompts whose completions all earn the same",
            zero_variance,
            True,
        ),
        ("Cut off", "share of completions that hit the length limit", cut_off, True),
        ("KL", "distance from the reference policy, nats a token", curves(("KL", "kl", 0)), False),
        ("Entropy", "of the next token, nats", curves(("entropy", "entropy", 0)), False),
    ]
    drawn = "".join(
        line_chart(title, note, series, share=share)
        for title, note, series, share in charts
        if series
    )
    absent = [title for title, _, series, _ in charts if not series]
    note = f"Not logged: {', '.join(absent)}." if absent else ""
    if "KL" in absent:
        note += " Without a KL term (beta 0) there is no reference policy to be distant from."
    return f'<div class="charts">{drawn}</div><p class="note">{note}</p>'


def _plots(value) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def line_chart(title: str, note: str, series: Sequence[Series], *, share: bool = False) -> str:
    """A figure with a legend; each line smoothed, its raw points faint behind it.

    Args:
        title, note: above the chart; plain text.
        series: at least one, each with at least one point.
        share: the axis runs from 0 to 1 and is labelled in per cent.
    """
    xs = [x for s in series for x, _ in s.points]
    ys = [y for s in series for _, y in s.points]
    x_ticks = ticks(min(xs), max(xs), whole=True)
    y_ticks = [0, 0.25, 0.5, 0.75, 1] if share else ticks(min(0, *ys), max(ys))
    x_low, x_high = min(xs), max(max(xs), min(xs) + 1)
    y_low, y_high = min(y_ticks[0], *ys), max(y_ticks[-1], *ys)

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - _LEFT - _RIGHT),
            HEIGHT - _BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - _TOP - _BOTTOM),
        )

    parts = []
    for y in y_ticks:
        _, top = place(x_low, y)
        text = f"{y:.0%}" if share else number(y)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{top:.1f}" '
            f'y2="{top:.1f}"/><text class="tick" x="{_LEFT - 7}" y="{top + 4:.1f}" '
            f'text-anchor="end">{text}</text>'
        )
    for x in x_ticks:
        if x_low <= x <= x_high:
            left, _ = place(x, y_low)
            parts.append(
                f'<text class="tick" x="{left:.1f}" y="{HEIGHT - 10}" '
                f'text-anchor="middle">{number(x)}</text>'
            )
    for s in series:
        raw = " ".join(f"{a:.1f},{b:.1f}" for a, b in (place(x, y) for x, y in s.points))
        mean = smooth(s.points)
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in (place(x, y) for x, y in mean))
        end_x, end_y = place(*mean[-1])
        last = f"{mean[-1][1]:.1%}" if share else number(mean[-1][1])
        parts.append(
            f'<g class="c{s.colour % 6}"><polyline class="raw" points="{raw}"/>'
            f'<polyline class="line" points="{line}"/>'
            f'<circle cx="{end_x:.1f}" cy="{end_y:.1f}" r="3.5"><title>{escape(s.label)}: {last} '
            f"at step {number(mean[-1][0])}</title></circle></g>"
        )
    legend = "".join(f'<span class="key c{s.colour % 6}">{escape(s.label)}</span>' for s in series)
    return (
        f'<figure class="chart"><figcaption><strong>{escape(title)}</strong> '
        f'<span class="note">{escape(note)}</span><div class="legend">{legend}</div>'
        f'</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg></figure>'
    )


def smooth(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Centred moving average over about a twelfth of the points; the ends use what there is."""
    reach = len(points) // 24
    return [
        (x, sum(y for _, y in near) / len(near))
        for i, (x, _) in enumerate(points)
        for near in [points[max(0, i - reach) : i + reach + 1]]
    ]


def ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Some five round numbers that cover ``low`` to ``high``."""
    size = max(abs(low), abs(high))
    # A range too narrow to divide is drawn as wide as its values are large.
    span = high - low if high - low > max(1e-9 * size, 1e-12) else max(size, 1.0)
    step = 10 ** math.floor(math.log10(span / 4))
    step *= next(m for m in (1, 2, 2.5, 5, 10) if span / (step * m) <= 5)
    if whole:
        step = max(1, round(step))
    first = math.floor(low / step)
    count = math.ceil(high / step - 1e-9) - first
    return [round((first + i) * step, 12) for i in range(max(count, 1) + 1)]


def number(value: float) -> str:
    """Short: ``150``, ``0.25``, ``1.2e-05``."""
    if value and abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:,.3f}".rstrip("0").rstrip(".") if abs(value) < 1e5 else f"{value:,.0f}"
