"""``python -m weight_mapping convert SRC DST --to hf|run`` and ``python -m weight_mapping inspect SRC``."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

from configs import run_command
from weight_mapping.checkpoint import ABSENT, Checkpoint, Row, convert


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m weight_mapping", description="Weights between Hugging Face and this project.")
    commands = parser.add_subparsers(dest="command", required=True)
    converting = commands.add_parser("convert", help="write a checkpoint in the other form")
    converting.add_argument("source", help="a folder (Hugging Face's or a run), or a hub name")
    converting.add_argument("destination", help="a new folder")
    converting.add_argument("--to", choices=["hf", "run"], required=True, help="hf: Hugging Face's form; run: this project's")
    inspecting = commands.add_parser("inspect", help="show every tensor: canonical name, name in the file, shape, operation")
    inspecting.add_argument("source", help="a folder (Hugging Face's or a run), or a hub name")
    for command in (converting, inspecting):
        command.add_argument(
            "--architecture", metavar="NAME", help="Hugging Face's class whose head is wanted (default: as config.json says)"
        )
    options = parser.parse_args(arguments)
    if options.command == "convert":
        notes: list[str] = []
        count = convert(options.source, options.destination, options.to, options.architecture, notes)
        print(f"{count} tensors from {options.source} to {options.destination}")
        print("".join(f"note: {note}\n" for note in notes), end="")
    else:
        with Checkpoint(options.source, options.architecture) as checkpoint:
            print(table(checkpoint.rows()))
            print("".join(f"note: {note}\n" for note in checkpoint.notes), end="")
    return 0


def table(rows: Sequence[Row]) -> str:
    """Rows as aligned columns, with a line of totals."""
    lines = [("canonical name", "name in the file", "shape", "type", "operations")]
    lines += [(row.target, row.source, _shapes(row), row.dtype, ", ".join(row.operations) or "same") for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    sources = {row.source: row.shape for row in rows if row.dtype != ABSENT}
    parameters = sum(math.prod(shape) for shape in sources.values())
    return "\n".join(
        [
            text[0],
            "  ".join("-" * width for width in widths),
            *text[1:],
            f"{len(rows)} canonical tensors from {len(sources)} in the file, {parameters:,} parameters",
        ]
    )


def _shapes(row: Row) -> str:
    """That in the file, and what the operations make of it where that is another."""
    here, there = ("x".join(map(str, shape)) for shape in (row.shape, row.target_shape))
    return here if here == there else f"{here} -> {there}"


if __name__ == "__main__":
    run_command(main)
