"""The differences over depth as a picture."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parity.compare import Comparison
from parity.examine import Report
from parity.report import own_name, summary
from parity.verdict import Distance
from weight_mapping.text_files import whole_file

COLORS = {"PyTorch": "#d9480f", "TensorFlow": "#1f6feb", "Hugging Face": "#6b21a8"}
MARKERS = {"PyTorch": "o", "TensorFlow": "D", "Hugging Face": "s"}
GRAY, GREEN, RED, INK = "#6b7280", "#2a9d6f", "#c1121f", "#1c2430"
# Characters that fit beside a ring.
LONGEST = 56
# What is exactly equal stands here, on an axis that knows no zero.
FLOOR = 0.02
# What is infinitely far stands so much above the rest.
BEYOND = 10.0


def draw(report: Report) -> Any:
    """A matplotlib figure: depth from left to right, units in the last place upwards, the allowed region shaded."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    comparison, places = report.comparison, report.comparison.places
    figure = Figure(figsize=(min(18, max(9, 0.36 * len(places) + 3)), 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    _allowed(axes, comparison)
    if comparison.rounding:
        own = _heights(comparison.rounding.distances, places)
        axes.plot(range(len(places)), own, color=GRAY, linewidth=1.4, linestyle=(0, (4, 3)), label=f"{own_name(report)} in float32")
    for index, column in enumerate(comparison.columns):
        # Side by side where they coincide.
        shift = 0.07 * (index - (len(comparison.columns) - 1) / 2)
        style: dict[str, Any] = {"color": COLORS[column.name], "marker": MARKERS[column.name], "markersize": 5, "linewidth": 1.6}
        axes.plot([at + shift for at in range(len(places))], _heights(column.distances, places), label=column.name, **style)
    _scale(axes, comparison)
    _depth(axes, places)
    _mark(axes, report)
    title = f"{os.path.basename(os.path.normpath(report.options.checkpoint))}: how far from the reference, layer by layer"
    agrees, line = summary(report)
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", color=INK, pad=46, parse_math=False)
    axes.annotate(line, (0, 1), (0, 34), "axes fraction", "offset points", va="center", color=GREEN if agrees else RED, parse_math=False)
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.2, "borderpad": 0.0}
    axes.legend(frameon=False, ncols=8, fontsize=9.5, columnspacing=1.6, handlelength=1.8, **place)
    return figure


def svg(report: Report) -> str:
    """The picture as an <svg> element."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "parity"}):
        draw(report).savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def write_picture(report: Report, path: Path) -> None:
    """The picture as a file: PNG, SVG, PDF, by its suffix."""
    with whole_file(path) as temporary:
        draw(report).savefig(temporary, dpi=150, format=path.suffix[1:])


def _allowed(axes: Any, comparison: Comparison) -> None:
    """The region in which a difference is rounding."""
    band = _shown([comparison.columns[0].distances[place].allowed_units for place in comparison.places])
    depth = [-0.5, *range(len(band)), len(band) - 0.5]
    band = [band[0], *band, band[-1]]
    axes.fill_between(depth, FLOOR / 2, band, color=GREEN, alpha=0.13, linewidth=0, label="allowed")
    axes.plot(depth, band, color=GREEN, linewidth=1, alpha=0.7)


def _scale(axes: Any, comparison: Comparison) -> None:
    """Upwards: units on the left, the same relative to the largest value on the right."""
    unit = next(iter(comparison.columns[0].distances.values())).unit
    heights = [height for column in comparison.columns for height in _heights(column.distances, comparison.places)]
    allowed = _shown([comparison.columns[0].distances[place].allowed_units for place in comparison.places])
    axes.set_yscale("log")
    top = 4 * max([*heights, *allowed, 1.0])
    axes.set_ylim(FLOOR / 2, top)
    steps = range(-1, math.floor(math.log10(top)) + 1, 1 if top < 1e6 else 2)
    names = {FLOOR: "0"} | {10.0**step: f"{10.0**step:g}" if step < 4 else f"$10^{{{step}}}$" for step in steps}
    axes.set_yticks(list(names), list(names.values()))
    axes.set_ylabel(f"units in the last place ({comparison.dtype})")
    relative = axes.secondary_yaxis("right", functions=(lambda units: units * unit, lambda value: value / unit))
    relative.set_ylabel("relative to the largest value", color=GRAY)
    for drawn in (axes, relative):
        drawn.spines[["top", "left", "right"]].set_visible(False)
        drawn.tick_params(axis="y", which="both", length=0, colors=GRAY)
    axes.grid(axis="y", alpha=0.25)


def _depth(axes: Any, places: list[str]) -> None:
    """To the right: the layers of each stack."""
    last = [place.rpartition(".")[2] for place in places]
    stacks = [place.split(".")[0] if "." in place else "" for place in places]
    axes.set_xlim(-0.5, len(places) - 0.5)
    labels = ["embed" if name == "embeddings" else name for name in last]
    axes.set_xticks(range(len(places)), labels, rotation=90 if len(places) > 26 else 0)
    axes.tick_params(axis="x", length=0, colors=GRAY)
    for stack in dict.fromkeys(filter(None, stacks)):
        inside = [index for index, name in enumerate(stacks) if name == stack]
        if inside[0]:
            axes.axvline(inside[0] - 0.5, color=GRAY, linewidth=0.8, alpha=0.6)
        middle = sum(inside) / len(inside)
        offset = -42 if len(places) > 26 else -20
        axes.annotate(
            f"{stack} layers",
            (middle, 0),
            (0, offset),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            va="top",
            color=INK,
        )


def _mark(axes: Any, report: Report) -> None:
    """A ring where an implementation first parts, the place's name, and the cause where one change is all of it."""
    comparison = report.comparison
    causes = [explanation.changes[0] for explanation in report.explanations if explanation.is_whole and len(explanation.changes) == 1]
    cause = causes[0] if len(causes) == 1 else ""
    for column in {column.first: column for column in comparison.columns if column.first and not report.rounds(column)}.values():
        assert column.first
        at = comparison.places.index(column.first)
        height = _heights(column.distances, comparison.places)[at]
        axes.plot([at], [height], marker="o", markersize=17, markerfacecolor="none", markeredgecolor=RED, markeredgewidth=2, clip_on=False)
        left = at > len(comparison.places) / 2
        # Its layer is told already.
        why = cause.removeprefix(f"{column.first}.")
        axes.annotate(
            f"parts here: {column.first}" + (f"\n{why}" if 0 < len(why) <= LONGEST else ""),
            (at, height),
            (-16 if left else 0, 0 if left else -16),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center" if left else "top",
            color=RED,
            fontweight="bold",
            parse_math=False,
        )


def _heights(distances: Mapping[str, Distance], places: list[str]) -> list[float]:
    return _shown([distances[place].units for place in places])


def _shown(units: list[float]) -> list[float]:
    """Units, within what an axis can show; what is NaN or infinite stands above the rest."""
    top = BEYOND * max([1.0, *(each for each in units if math.isfinite(each))])
    return [min(max(each, FLOOR), top) if math.isfinite(each) else top for each in units]
