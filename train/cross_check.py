"""The finished run, three ways: in PyTorch, in TensorFlow, and exported to Hugging Face's form. `python -m train.cross_check RUN`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from configs import ModelConfig, RunConfig, UserError, load_model_config, run_command
from configs.quiet import quiet
from train.tokenization import TextTokenizer, read_tokenizer
from weight_mapping import convert, get_family

EXPORT = "huggingface"
# Of the largest logit, in float32 whatever the run was trained in: the same formula gives about 1e-6, the two forms of gelu 1e-4.
TOLERANCE = 1e-5
NEW_TOKENS = 40
# Tokens of a row: logits of a long one by a large vocabulary would fill the memory.
LONGEST = 1024
ROWS = 2


@dataclass
class Answer:
    """What one implementation makes of the same ids: logits (rows, T, V), and the prompt with the tokens it continues it with."""

    logits: np.ndarray
    tokens: list[int]


def check_exportable(config: RunConfig) -> None:
    """Raises UserError where train.cross_check is asked for, and Hugging Face has no place for the model."""
    if config.train.cross_check:
        try:
            get_family(config.model.family).write_config(config.model)
        except UserError as error:
            raise UserError(f"train.cross_check=true exports the model, and {error}; set train.cross_check=false") from None


def cross_check(run: Path, prompt: str | None = None) -> int:
    """Compare the implementations and print what was found. 0 where they agree, 1 where they do not."""
    config = load_model_config(run / "model.yaml")
    tokenizer = read_tokenizer(run)
    export = run / EXPORT
    if not export.exists():
        convert(run, export, "hf")
    prompt_ids = tokenizer.encode_prompt(prompt or "")[: max(1, config.max_length // 2)]
    new = min(NEW_TOKENS, config.max_length - len(prompt_ids))
    ids_BT = np.random.default_rng(0).integers(0, config.vocab_size, (ROWS, min(config.max_length, LONGEST)))

    implementations: dict[str, tuple[str, Callable[..., Answer], Path]] = {
        "PyTorch": ("torch", ask_pytorch, run),
        "TensorFlow": ("tensorflow", ask_tensorflow, run),
        "Hugging Face": ("transformers", ask_hugging_face, export),
    }
    print("\ncross-check: the same weights, loaded by each")
    answers: dict[str, Answer] = {}
    for name, (package, ask, folder) in implementations.items():
        if find_spec(package) is None:
            print(f"  {name} left out: {package} is not installed")
        else:
            answers[name] = ask(folder, config, ids_BT, prompt_ids, new)
    return report(answers, tokenizer, len(prompt_ids))


def report(answers: dict[str, Answer], tokenizer: TextTokenizer, prompt_length: int) -> int:
    """Print the differences of each pair and the continuation. 1 where anything disagrees."""
    failures = []
    names = list(answers)
    largest = max(float(np.abs(answer.logits).max()) for answer in answers.values())
    pairs = [(first, second) for index, first in enumerate(names) for second in names[index + 1 :]]
    for first, second in pairs:
        difference = float(np.abs(answers[first].logits - answers[second].logits).max())
        same_tokens = answers[first].tokens == answers[second].tokens
        relative = difference / largest
        verdict = f"the same {len(answers[first].tokens) - prompt_length} tokens" if same_tokens else "OTHER tokens"
        print(f"  {first + ' / ' + second:26}  largest logit difference {difference:.1e} ({relative:.1e} relative), {verdict}")
        if not relative <= TOLERANCE:
            failures.append(f"the logits of {first} and {second} are {relative:.1e} apart, more than {TOLERANCE:.0e} of the largest")
        if not same_tokens:
            failures.append(f"{first} and {second} continue the prompt differently")
    text = tokenizer.decode(answers[names[0]].tokens)
    print(f"  the continuation, without any randomness, by {', '.join(names)}")
    print("\n".join(f"  | {line}" for line in text.splitlines()))
    for failure in failures:
        print(f"error: cross-check failed: {failure}")
    return 1 if failures else 0


def ask_pytorch(folder: Path, config: ModelConfig, ids_BT: np.ndarray, prompt: list[int], new: int) -> Answer:
    import torch

    import transformer_torch

    model = transformer_torch.load(folder)
    with torch.inference_mode():
        logits_BTV = model(torch.from_numpy(ids_BT)).numpy()
    return Answer(logits_BTV, _tokens(model.generate([prompt], max_new_tokens=new)))


def ask_tensorflow(folder: Path, config: ModelConfig, ids_BT: np.ndarray, prompt: list[int], new: int) -> Answer:
    with quiet():
        import tensorflow

        import transformer_tf

        # TensorFlow would take the whole GPU just by looking at it. Where it has trained there, it has it already.
        with suppress(RuntimeError):
            tensorflow.config.set_visible_devices([], "GPU")
    # All three compute on the CPU.
    with tensorflow.device("CPU"):
        model = transformer_tf.load(folder)
        return Answer(np.asarray(model(ids_BT)), _tokens(model.generate([prompt], max_new_tokens=new)))


def ask_hugging_face(folder: Path, config: ModelConfig, ids_BT: np.ndarray, prompt: list[int], new: int) -> Answer:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model, loading = AutoModelForCausalLM.from_pretrained(str(folder), output_loading_info=True, dtype=torch.float32)
    wrong = {name: found for name, found in loading.items() if found}
    if wrong:
        raise UserError(f"{folder}: Hugging Face does not load it whole: {wrong}")
    model.eval()
    with torch.inference_mode():
        logits_BTV = model(torch.from_numpy(ids_BT)).logits.numpy()
        ids_1T = torch.tensor([prompt])
        ends = list(config.special_tokens.eos) or None
        tokens_1T = model.generate(
            ids_1T, attention_mask=torch.ones_like(ids_1T), max_new_tokens=new, do_sample=False, eos_token_id=ends, pad_token_id=0
        )
    return Answer(logits_BTV, _tokens(tokens_1T))


def _tokens(ids: Any) -> list[int]:
    return [int(token) for token in np.asarray(ids)[0]]


def main() -> int:
    description = "Compare a finished run in PyTorch, TensorFlow and Hugging Face."
    parser = argparse.ArgumentParser(prog="python -m train.cross_check", description=description)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run, such as runs/gpt2_stdlib")
    parser.add_argument("--prompt", help="what is continued (default: nothing)")
    arguments = parser.parse_args()
    if not (arguments.run / "model.yaml").is_file():
        raise UserError(f"{arguments.run} holds no model.yaml; name the folder of a finished run")
    head = load_model_config(arguments.run / "model.yaml").head.kind
    if head != "language_model":
        raise UserError(f"{arguments.run} has head.kind={head!r}; cross_check continues a prompt, which a decoder of language does alone")
    return cross_check(arguments.run, arguments.prompt)


if __name__ == "__main__":
    run_command(main)
