"""`python -m transformer_torch.generate` and `python -m transformer_tf.generate`: what both do, without either framework."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from configs import GenerationConfig, ModelConfig, UserError, as_prompts, build, load_run_config, nearest, speech_prompt
from configs.audio import read_recording
from configs.parts import AudioInputs
from configs.reading import RUN, read_settings, run_of
from configs.speculation import check_speculation
from configs.text import Tokenizer
from weight_mapping.checkpoint import Checkpoint
from weight_mapping.hub import local_folder
from weight_mapping.text_files import Progress, read_lines, whole_file

DESCRIPTION = """\
Continue prompts, or say what an encoder-decoder makes of them, token by token; of a model of speech, a prompt is a WAV file. Settings are
those of generation_config.json, where the folder has one (else of an old config.json), and key=value, under Hugging Face's names.

  python -m {package}.generate runs/gpt2_stdlib "Return a" max_new_tokens=40
  python -m {package}.generate runs/gpt2_stdlib --interactive do_sample=true top_k=50
  python -m {package}.generate runs/dates --input dates.txt --output iso.txt num_beams=4
  python -m {package}.generate openai/whisper-tiny speech.wav language=en
"""
DEFAULT_NEW_TOKENS = 100
# Those of transformer_torch.for_inference.
WEIGHTS = ("float32", "bf16", "int8")
UNFINISHED = "\N{REPLACEMENT CHARACTER}"
# Of Whisper, whose tokenizers do not all take them for special tokens.
TIMESTAMP = re.compile(r"<\|\d+\.\d+\|>")


class Session:
    """A checkpoint's tokenizer and settings, checked against prompts before weights are read, its own and those of `assistant`."""

    def __init__(self, source: str, words: Sequence[str], assistant: str | None = None) -> None:
        self.folder = local_folder(source)
        with Checkpoint(self.folder) as checkpoint:
            self.config: ModelConfig = checkpoint.config
            self.generation_file = checkpoint.generation_config
            values = GenerationConfig.merged(self.generation_file, read_settings(words))
        self.generation = build(GenerationConfig, values, "settings")
        self.assistant: ModelConfig | None = None
        if assistant:
            with Checkpoint(assistant) as checkpoint:
                self.assistant = checkpoint.config
        if self.config.head.kind != "language_model":
            raise UserError(f"{source} has head.kind={self.config.head.kind!r}; only a language-model head generates")
        self.tokenizer = Tokenizer(self.folder)

    def note(self) -> str:
        """What whoever gives it text should know."""
        run = run_of(self.folder)
        try:
            objective = None if run is None else load_run_config(run / RUN).objective
        except UserError:
            return ""
        if getattr(objective, "preprocessing", "none") == "none":
            return ""
        return (
            "this run learned from text that sacremoses had normalized, taken apart and lower-cased (objective.preprocessing: moses); "
            "give it such text, and put together again what it says"
        )

    def read(self, prompt: str, where: str) -> Sequence[Any]:
        """What the model reads of a prompt: its ids, or, where the prompt names a recording, its spectrum (mel bins, frames)."""
        if isinstance(self.config.inputs, AudioInputs):
            return read_recording(prompt, self.config.inputs)  # type: ignore[return-value]
        return self.encode(prompt, where)

    def encode(self, text: str, where: str) -> list[int]:
        """The ids of a prompt that the model can serve; an encoder's end in its end token."""
        ids, ends = self.tokenizer.encode(text), self.config.special_tokens.eos
        if not ids:
            raise UserError(f"{where} is empty; there is nothing to begin from")
        if self.config.architecture == "encoder_decoder" and ends and ids[-1] not in ends:
            ids.append(ends[0])
        try:
            self.for_batch([ids])
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        return ids

    def for_batch(self, rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """What `generate` is asked for: rows of like lengths, padded on the left for a decoder, and room for what the model may say."""
        generation = self.generation
        generation.complete(self.config).check_model(self.config)
        inputs = self.audio(rows) if self.config.inputs.kind == "audio" else self.text(rows)
        prompts = as_prompts(self.config, **inputs)
        if generation.max_new_tokens is None and generation.max_length is None:
            generation = generation.model_copy(update={"max_new_tokens": self.room(prompts.prompt_BT.shape[1])})
        generation.check_room(self.config, prompts)
        limit = generation.limit(prompts.prompt_BT.shape[1])
        check_speculation(generation, self.config, self.assistant, 1, max(prompts.source_ids.shape[1], limit))
        if "decoder_input_ids" in inputs:
            # They say language and task already.
            generation = generation.model_copy(update={"language": None, "task": None})
        return {**inputs, "config": generation, "tokenizer": self.tokenizer if generation.stop_strings else None}

    def text(self, rows: Sequence[Sequence[int]]) -> dict[str, Any]:
        """Ids and what of them is padding."""
        width, pad = max(map(len, rows)), self.config.special_tokens.pad or 0
        ids, mask = np.full((len(rows), width), pad, np.int64), np.zeros((len(rows), width), np.int64)
        for number, row in enumerate(rows):
            place = slice(width - len(row), width) if self.config.architecture == "decoder" else slice(0, len(row))
            ids[number, place], mask[number, place] = row, 1
        return {"input_ids": ids, "attention_mask": mask}

    def audio(self, rows: Sequence[Any]) -> dict[str, Any]:
        """Spectra, and what the decoder is told of them."""
        first = speech_prompt(self.config, self.generation_file, self.generation.language, self.generation.task)
        return {"input_ids": None, "input_features": np.stack(rows), "decoder_input_ids": [first]}

    def room(self, width: int) -> int:
        """How many tokens follow a decoder's prompt of this length where nobody says it: what there is room for, and not more than a
        paragraph."""
        return DEFAULT_NEW_TOKENS if self.config.longest is None else max(1, min(DEFAULT_NEW_TOKENS, self.config.longest - width))

    def generated(self, model: Any, asked: dict[str, Any]) -> list[list[int]]:
        """What `generate` gives, without what an encoder-decoder's decoder has read first."""
        rows: list[list[int]] = np.asarray(model.generate(**asked)).tolist()
        first = len(asked["decoder_input_ids"][0]) if "decoder_input_ids" in asked else 1
        return [row[first:] for row in rows] if self.config.architecture == "encoder_decoder" else rows

    def said(self, row: Sequence[int], asked: dict[str, Any]) -> str:
        """The text that the model has added to the first prompt, up to its end. row: as `generated` gives it."""
        prompt = [] if self.config.architecture == "encoder_decoder" else asked["input_ids"][0].tolist()
        generation = asked["config"].complete(self.config)
        new, ends = list(row[len(prompt) :]), generation.eos_token_id
        new = new[: next((place for place, token in enumerate(new) if token in ends), len(new))]
        # A text that nothing ends is not filled up either.
        while (ends or generation.stop_strings) and new and new[-1] == generation.pad_token_id:
            new.pop()
        text = self.tokenizer.decode(prompt + new)[len(self.tokenizer.decode(prompt)) :]
        return TIMESTAMP.sub("", text) if self.config.inputs.kind == "audio" else text


def generate_command(
    package: str, load: Callable[..., Any], arguments: Sequence[str] | None = None, pack: Callable[..., Any] | None = None
) -> int:
    """The command of one framework. load: its function that reads a checkpoint. pack: that which packs weights, if there is one."""
    options = read_options(package, arguments)
    if options.weights and pack is None:
        raise UserError(f"--weights {options.weights} packs weights for PyTorch; leave it out, or use python -m transformer_torch.generate")
    session = Session(options.source, options.settings, options.assistant)
    if options.output and (texts := session.generation.num_return_sequences) > 1:
        raise UserError(f"num_return_sequences={texts} and --output: a line has one text; set it to 1")
    if note := session.note():
        print(f"note: {note}", file=sys.stderr)
    asked = [session.for_batch([session.read(prompt, f"the prompt {prompt!r}")]) for prompt in options.prompts]
    lines = read_lines(options.input) if options.input else []
    rows = {number: session.read(line, f"{options.input}, line {number + 1}") for number, line in enumerate(lines) if line.strip()}

    def read(source: Any) -> Any:
        model = load(source, dtype=options.dtype)
        return pack(model, weights=options.weights) if pack and options.weights else model

    more = {"assistant_model": read(options.assistant)} if options.assistant else {}
    model = read(session.folder)
    for number, (prompt, question) in enumerate(zip(options.prompts, asked, strict=True)):
        print("\n" if number else "", end="")
        tell(session, model, prompt, question | more)
    if options.input:
        answers = dict(zip(rows, answer(session, model, list(rows.values()), options.batch_size, more), strict=True))
        with whole_file(options.output) as path:
            path.write_text("".join(f"{answers.get(number, '')}\n" for number in range(len(lines))), encoding="utf-8")
    if options.interactive:
        converse(session, model, more)
    return 0


def read_options(package: str, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command is asked for, with its words told apart: `settings` and `prompts`."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {package}.generate",
        description=DESCRIPTION.format(package=package),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="RUN_OR_CHECKPOINT", help="folder of a run, of a Hugging Face checkpoint, or a hub name")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="PROMPT or key=value",
        help="prompts, or WAV files, and settings such as num_beams=4; behind -- prompts alone",
    )
    parser.add_argument("--interactive", action="store_true", help="ask for prompts, until the end of the input (Ctrl-D)")
    parser.add_argument("--input", type=Path, metavar="FILE", help="prompts, one a line, gzipped or not; needs --output")
    parser.add_argument("--output", type=Path, metavar="FILE", help="what the model says to each line, one a line")
    parser.add_argument("--batch-size", type=int, default=16, help="lines of a file that are read at once (16)")
    parser.add_argument("--assistant", metavar="RUN_OR_CHECKPOINT", help="a smaller model that guesses tokens")
    parser.add_argument("--dtype", default="float32", help="type of weights and arithmetic: float32, bfloat16, float16 or float64")
    parser.add_argument("--weights", choices=WEIGHTS, help="pack weights for a few rows on a CPU (PyTorch alone; needs --dtype float32)")
    words = list(sys.argv[1:] if arguments is None else arguments)
    end = words.index("--") if "--" in words else len(words)
    options = parser.parse_intermixed_args(words[:end])
    options.settings = [word for word in options.words if is_setting(word)]
    options.prompts = [word for word in options.words if not is_setting(word)] + words[end + 1 :]
    check_options(options)
    return options


def is_setting(word: str) -> bool:
    """Whether a word is key=value with a key that there is. One that nearly is must be a mistake."""
    key, equals, _ = word.partition("=")
    fields = GenerationConfig.model_fields
    is_near = key.lower() in fields or difflib.get_close_matches(key, fields, n=1)
    if equals and key not in fields and is_near:
        raise UserError(f"settings: unknown key {key!r}{nearest(key.lower(), fields)} If it is a prompt, put it behind --")
    return bool(equals) and key in fields


def check_options(options: argparse.Namespace) -> None:
    """Refuse what contradicts itself, before anything is read."""
    if (options.input is None) != (options.output is None):
        raise UserError("--input and --output belong together; give both or neither")
    if not options.prompts and not options.interactive and options.input is None:
        raise UserError("there is nothing to begin from; give a prompt, --interactive, or --input and --output")
    if options.input is not None and options.output.exists():
        raise UserError(f"{options.output} exists; name another file or remove it")
    if options.input is not None and not options.output.absolute().parent.is_dir():
        raise UserError(f"{options.output.parent} is no folder; make it, or name another file")
    if options.input is not None and not os.access(options.output.absolute().parent, os.W_OK | os.X_OK):
        raise UserError(f"nothing can be written to {options.output.absolute().parent}; name another file")
    if options.weights and options.dtype != "float32":
        raise UserError(f"--weights {options.weights} packs float32 weights, and --dtype is {options.dtype}; leave one of them out")
    if options.batch_size < 1:
        raise UserError(f"--batch-size {options.batch_size}: at least one line is read at once")


def tell(session: Session, model: Any, prompt: str, asked: dict[str, Any]) -> None:
    """Print what follows a prompt as it comes; of several texts, all at the end."""
    is_decoder = session.config.architecture == "decoder"
    if session.generation.num_beams > 1 or session.generation.num_return_sequences > 1:
        for row in session.generated(model, asked):
            print((prompt if is_decoder else "") + session.said(row, asked))
        return
    print(prompt if is_decoder else "", end="", flush=True)
    for piece in pieces(session, model, asked):
        print(piece, end="", flush=True)
    print()


def pieces(session: Session, model: Any, asked: dict[str, Any]) -> Iterator[str]:
    """New text, as soon as its characters are whole."""
    row = list(asked["input_ids"][0]) if session.config.architecture == "decoder" else []
    shown = ""
    for step in model.stream(**asked):
        row += step[0].tolist()
        text = session.said(row, asked)
        if not text.endswith(UNFINISHED):
            yield text[len(shown) :]
            shown = text
    yield session.said(row, asked)[len(shown) :]


def answer(session: Session, model: Any, rows: list[Sequence[Any]], batch_size: int, more: dict[str, Any]) -> list[str]:
    """What the model says to each row, one line each: rows of like lengths at once, the longest first, so that memory is known at once.
    Rows with another room are another group, and of another length where padding counts: what is said to a row does not depend on its
    neighbours, unless it is drawn: random numbers are by the place in a group."""
    guesses = bool(more) or session.generation.prompt_lookup_num_tokens is not None
    order = sorted(range(len(rows)), key=lambda number: -len(rows[number]))
    is_decoder = session.config.architecture == "decoder"
    room = len if session.generation.counts_padding else lambda row: session.room(len(row))
    rooms = [room(row) if is_decoder else 0 for row in rows]
    size = 1 if guesses else batch_size
    answers = [""] * len(rows)
    with Progress(len(rows)) as progress:
        while order:
            group = [number for number in order[:size] if rooms[number] == rooms[order[0]]]
            order = order[len(group) :]
            asked = session.for_batch([rows[number] for number in group])
            for place, row in enumerate(session.generated(model, asked | more)):
                own = asked if asked["input_ids"] is None else {**asked, "input_ids": asked["input_ids"][place : place + 1]}
                answers[group[place]] = " ".join(session.said(row, own).splitlines())
            progress.advance(len(group))
    return answers


def converse(session: Session, model: Any, more: dict[str, Any]) -> None:
    """Prompts from the terminal or a pipe, one a line; a mistake is told, and the next one may be right."""
    is_asked = sys.stdin.isatty()
    while True:
        try:
            prompt = input("> " if is_asked else "")
        except EOFError:
            print(end="\n" if is_asked else "")
            return
        try:
            tell(session, model, prompt, session.for_batch([session.read(prompt, "the prompt")]) | more)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
