"""The curves of one run or several as a picture: `python -m train.plot RUN [RUN ...]`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from configs import UserError, run_command
from train.metrics import FILE, read_metrics

COLORS = ("#1f6feb", "#d1495b", "#2a9d6f", "#8a63d2", "#e08e00", "#4a5568")


def plot(runs: Sequence[Path], destination: Path) -> None:
    """Training and validation loss over steps, and the learning rate below them, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    losses, rates = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    for run, color in zip(runs, COLORS * len(runs), strict=False):
        rows = read_metrics(run)
        trained = [row for row in rows if "loss" in row]
        validated = [row for row in rows if "validation_loss" in row]
        if not trained:
            raise UserError(f"{run}: no steps in {FILE}; name the folder of a run")
        prefix = f"{run.resolve().name}: " if len(runs) > 1 else ""
        steps = [row["step"] for row in trained]
        losses.plot(steps, [row["loss"] for row in trained], color=color, alpha=0.35, linewidth=1, label=f"{prefix}training")
        if validated:
            final = validated[-1]["validation_loss"]
            style = {"color": color, "linewidth": 1.8, "marker": "o", "markersize": 4}
            points = [row["step"] for row in validated], [row["validation_loss"] for row in validated]
            losses.plot(*points, **style, label=f"{prefix}validation, {final:.3f} at the end")
        rates.plot(steps, [row["learning_rate"] for row in trained], color=color, linewidth=1.2)
    losses.set_ylabel("loss (nats per target)")
    names = [run.resolve().name for run in runs]
    losses.set_title(", ".join(names) if len(names) <= 3 else f"{len(names)} runs", loc="left", fontweight="bold")
    losses.legend(frameon=False)
    rates.set_ylabel("learning rate")
    rates.set_xlabel("step")
    rates.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    for axes in (losses, rates):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
    figure.savefig(destination, dpi=150, format="png")


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m train.plot", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, such as runs/gpt2_stdlib")
    parser.add_argument(
        "-o", "--output", type=Path, help="the picture to write (default: loss.png in the run's folder, or here for several)"
    )
    arguments = parser.parse_args(words)
    folder = arguments.runs[0] if len(arguments.runs) == 1 else Path.cwd()
    output = arguments.output or folder / "loss.png"
    if missing := [run for run in arguments.runs if not run.is_dir()]:
        raise UserError(f"{missing[0]}: no such folder; name that of a run, such as runs/gpt2_stdlib")
    if output.suffix != ".png" or not output.parent.is_dir():
        raise UserError(f"{output}: the picture is a PNG in a folder that exists; name a .png there")
    plot(arguments.runs, output)
    print(f"wrote {output}")


if __name__ == "__main__":
    run_command(main)
