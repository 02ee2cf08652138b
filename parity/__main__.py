"""Is this checkpoint the same model everywhere? `python -m parity CHECKPOINT`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from configs import UserError, run_command

DESCRIPTION = """\
Load a checkpoint in Hugging Face, PyTorch and TensorFlow, and say layer by layer how far they are apart, and where they first part.

  python -m parity runs/gpt2_stdlib                     one of this project's runs
  python -m parity path/to/folder --dtype float64       a Hugging Face folder; the strictest comparison
  python -m parity gpt2 --text "Hello, my dog is"       a model of the hub, on a text
  python -m parity vit --image cat.jpg --html cat.html  on an image, with a report to look at
  python -m parity converted --against original         somebody's conversion against where it came from: what differs, tensor by tensor

Exit code 0 where all agree, 1 where something parts or looks damaged, 2 for a mistake in the question.
"""

PICTURES = (".png", ".svg", ".pdf")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    for name, path in (("--html", options.html), ("--plot", options.plot)):
        if path and find_spec("matplotlib") is None:
            raise UserError(f"{name} draws with matplotlib, which is not installed; pip install matplotlib, or leave {name} out")
        if path and not path.resolve().parent.is_dir():
            raise UserError(f"{name} {path}: no folder {path.resolve().parent}")
        if path and path.is_dir():
            raise UserError(f"{name} {path} is a folder; name a file")
    if options.plot and options.plot.suffix not in PICTURES:
        raise UserError(f"--plot {options.plot}: the suffix tells the kind of picture; choose one of: {', '.join(PICTURES)}")
    # NumPy alone up to here: a mistake in the question is told before a framework is loaded.
    from parity.examine import Options, examine
    from parity.report import tell

    asked = {name: value for name, value in vars(options).items() if name not in ("html", "plot")}
    report = examine(Options(**asked))
    tell(report)
    if options.html:
        from parity.page import write_page

        write_page(report, options.html)
        print(f"wrote {options.html}")
    if options.plot:
        from parity.picture import write_picture

        write_picture(report, options.plot)
        print(f"wrote {options.plot}")
    return 0 if report.agrees else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m parity", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a Hugging Face folder or hub name, or the folder of a run")
    parser.add_argument("--against", metavar="OTHER", help="another checkpoint of the same architecture, which is taken to be right")
    parser.add_argument("--architecture", metavar="NAME", help="Hugging Face's class whose head is wanted (default: as config.json says)")
    question = parser.add_mutually_exclusive_group()
    question.add_argument("--text", help="ask with a text, through the checkpoint's own tokenizer")
    question.add_argument("--image", type=Path, metavar="FILE", help="ask with an image")
    question.add_argument("--audio", type=Path, metavar="FILE", help="ask with a recording, a WAV file")
    parser.add_argument("--batch", type=positive, default=4, help="rows of made-up inputs (default: 4)")
    parser.add_argument("--length", type=positive, default=32, help="their length in tokens (default: 32)")
    parser.add_argument("--seed", type=not_negative, default=0, help="what they are drawn from (default: 0)")
    parser.add_argument("--gradients", action="store_true", help="compare the gradient of every tensor too")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32", help="arithmetic (default: float32)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with tables and a picture of the differences over depth")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the picture alone: .png, .svg or .pdf")
    return parser.parse_args(arguments)


def not_negative(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


if __name__ == "__main__":
    run_command(main)
