"""`python -m transformer_torch.generate` and `python -m transformer_tf.generate`."""

from __future__ import annotations

import builtins
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import yaml

import transformer_tf.generate
import transformer_torch.generate
from configs import UserError, load_model_config, load_run_config
from configs.audio import read_recording
from configs.text import Tokenizer
from tests.configs.test_audio import tone, write_wav
from train.tokenization import train_bpe
from transformer_torch import Transformer, for_inference, load, save
from transformer_torch.inference import PRODUCTS
from weight_mapping.generate_command import WEIGHTS, Session, read_options
from weight_mapping.text_files import read_lines

TEXTS = ["the quick brown fox jumps over the lazy dog and the cat", "a dog and a fox and the quick cat jump"] * 20
SPOKEN, HEARD = "special_tokens={eos: [7], pad: 7, decoder_start: 0}", "inputs={kind: audio, num_mel_bins: 80, length: 50}"
COMMANDS = {"torch": transformer_torch.generate.main, "tensorflow": transformer_tf.generate.main}


def folder(path: Path, preset: str, *changes: str) -> Path:
    """A run with random weights and a tokenizer of 300 tokens."""
    config = load_model_config(preset, ["vocab_size=300", "width=32", "num_layers=2", *changes])
    save(Transformer(config, seed=5), path)
    train_bpe(TEXTS, 300).save(path)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("decoder") / "run", "gpt2-mini", "max_length=64", "special_tokens={eos: [7]}")


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    special = "special_tokens={eos: [7], pad: 0, decoder_start: 0}"
    return folder(tmp_path_factory.mktemp("translator") / "run", "transformer-tiny", "max_length=64", special)


@pytest.fixture(params=COMMANDS)
def command(request: pytest.FixtureRequest) -> Callable[[list[str]], int]:
    return COMMANDS[request.param]


def expected(run: Path, prompt: str, **settings: Any) -> str:
    tokenizer, model = Tokenizer(run), load(run)
    ids = tokenizer.encode(prompt)
    text = model.generate([[*ids, 7] if model.encoder is not None else ids], **settings)[0].tolist()
    text = [token for token in text[0 if model.encoder is not None else len(ids) :] if token not in (0, 7)]
    return tokenizer.decode(([] if model.encoder is not None else ids) + text)


def test_a_prompt_goes_on_as_generate_has_it(run: Path, command: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]) -> None:
    assert command([str(run), "the quick", "max_new_tokens=9", "a dog"]) == 0
    told = capsys.readouterr().out
    first, second = (expected(run, prompt, max_new_tokens=9) for prompt in ("the quick", "a dog"))
    assert told == f"{first}\n\n{second}\n"
    assert len(first) > len("the quick") + 9


@pytest.mark.parametrize(
    ("words", "prompts", "settings"),
    [
        (["the", 'stop_strings=["the file"]', "bad_words_ids=[[1, 2]]"], ["the"], ['stop_strings=["the file"]', "bad_words_ids=[[1, 2]]"]),
        (['stop_strings="a\nb"', "a\nb"], ["a\nb"], ['stop_strings="a\nb"']),
        (["x=1", "so a=b", "=", "y == seed"], ["x=1", "so a=b", "=", "y == seed"], []),
        (["seed=1", "--interactive", "the", "--", "seed=2", "--interactive", "--"], ["the", "seed=2", "--interactive", "--"], ["seed=1"]),
    ],
)
def test_what_is_a_prompt_and_what_is_a_setting(words: list[str], prompts: list[str], settings: list[str]) -> None:
    options = read_options("transformer_torch", ["run", *words])
    assert (options.prompts, options.settings) == (prompts, settings)


def test_sampling_and_beams(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = COMMANDS["torch"]
    command([str(run), "the quick", "max_new_tokens=9", "do_sample=true", "top_k=20", "seed=3"])
    assert capsys.readouterr().out == expected(run, "the quick", max_new_tokens=9, do_sample=True, top_k=20, seed=3) + "\n"
    command([str(run), "the quick", "max_new_tokens=5", "num_beams=3", "num_return_sequences=2"])
    assert capsys.readouterr().out.startswith(expected(run, "the quick", max_new_tokens=5, num_beams=3) + "\n")


@pytest.mark.parametrize("weights", PRODUCTS)
def test_packed_weights(run: Path, weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    COMMANDS["torch"]([str(run), "the quick", "max_new_tokens=9", "--weights", weights])
    tokenizer, model = Tokenizer(run), for_inference(load(run), weights=weights)
    said = tokenizer.decode(model.generate([tokenizer.encode("the quick")], max_new_tokens=9)[0].tolist())
    assert capsys.readouterr().out == said + "\n"


def test_packed_weights_are_pytorchs(run: Path) -> None:
    assert list(WEIGHTS) == list(PRODUCTS)
    with pytest.raises(UserError, match=r"--weights int8 packs weights for PyTorch; leave it out, or use python -m transformer_torch"):
        COMMANDS["tensorflow"]([str(run), "the", "--weights", "int8"])


@pytest.mark.parametrize(("architecture", "framework"), [("run", "torch"), ("translator", "torch"), ("translator", "tensorflow")])
def test_a_file_line_by_line(
    architecture: str, framework: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = COMMANDS[framework]
    run: Path = request.getfixturevalue(architecture)
    lines = ["the quick brown", "", "a", "the lazy dog and the cat", "fox"]
    (tmp_path / "in.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    files = ["--input", str(tmp_path / "in.txt"), "--output", str(tmp_path / "out.txt"), "--batch-size", "3"]
    assert command([str(run), *files, "max_new_tokens=6"]) == 0
    told = (tmp_path / "out.txt").read_text(encoding="utf-8").split("\n")
    for line, said in zip(lines, told, strict=False):
        whole = expected(run, line, max_new_tokens=6) if line else ""
        assert said == " ".join(whole[len(line) if architecture == "run" else 0 :].splitlines())
    assert len(told) == 6
    assert "4 lines in" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out.txt"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_line_ends_where_a_newline_stands(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """And not at a form feed, U+2028 or U+0085, by which Python's splitlines would lose count."""
    (tmp_path / "in").write_bytes(pack("one\x0ctwo\nthree\u2028four\u0085\r\n\nfive".encode()))
    assert read_lines(tmp_path / "in") == ["one\x0ctwo", "three\u2028four\u0085", "", "five"]


def test_a_mark_of_windows_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("one\ntwo\n", encoding="utf-8-sig")
    assert read_lines(tmp_path / "in") == ["one", "two"]


def test_a_conversation_goes_on_after_a_mistake(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = iter(["a dog", "", "the quick"])

    def ask(prompt: str) -> str:
        assert not prompt, "stdin is no terminal"
        try:
            return next(said)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr(builtins, "input", ask)
    COMMANDS["torch"]([str(run), "--interactive", "max_new_tokens=4"])
    told = capsys.readouterr()
    assert told.out == "".join(expected(run, prompt, max_new_tokens=4) + "\n" for prompt in ("a dog", "the quick"))
    assert told.err == "error: the prompt is empty; there is nothing to begin from\n"


def test_the_folders_own_settings_are_the_default(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("model.yaml", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    (tmp_path / "generation_config.json").write_text(json.dumps({"max_new_tokens": 3, "repetition_penalty": 1.5}), encoding="utf-8")
    COMMANDS["torch"]([str(tmp_path), "the quick"])
    assert capsys.readouterr().out == expected(run, "the quick", max_new_tokens=3, repetition_penalty=1.5) + "\n"
    COMMANDS["torch"]([str(tmp_path), "the quick", "max_new_tokens=5", "repetition_penalty=1.0"])
    assert capsys.readouterr().out == expected(run, "the quick", max_new_tokens=5) + "\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([""], "the prompt '' is empty"),
        ([], "there is nothing to begin from; give a prompt"),
        (["the", "max_new_tokens=64"], "exceed the model's max_length of 64"),
        (["the fox " * 60], "exceed the model's max_length of 64"),
        (["the", "NUM_BEAMS=4"], "unknown key 'NUM_BEAMS'; did you mean 'num_beams'\\? If it is a prompt, put it behind --"),
        (["the", "num_beam=4"], "unknown key 'num_beam'; did you mean 'num_beams'\\? If it is a prompt, put it behind --"),
        (["the", "temperature=0.5"], "set do_sample=True"),
        (["the", "--input", "lines.txt"], "--input and --output belong together"),
        (["--input", "nowhere.txt", "--output", "out.txt"], "nowhere.txt is not there"),
        (["the", "prompt_lookup_num_tokens=3", "num_beams=2"], "num_beams=2"),
        (["the", "--weights", "int8", "--dtype", "float64"], "--weights int8 packs float32 weights, and --dtype is float64"),
        (["the", "--assistant", "SMALL"], "assistant_model is a decoder with a vocabulary of 260, and the model a decoder with 300"),
        (["--input", "lines.txt", "--output", "out.txt", "num_beams=2", "num_return_sequences=2"], "a line has one text; set it to 1"),
    ],
)
def test_mistakes_are_told_before_weights_are_read(
    run: Path, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    if "SMALL" in words:
        folder(tmp_path / "SMALL", "gpt2-mini", "vocab_size=260")
    monkeypatch.setattr("transformer_torch.generate.load", lambda *arguments, **settings: pytest.fail("weights were read"))
    with pytest.raises(UserError, match=said) as caught:
        COMMANDS["torch"]([str(run), *words])
    assert "\n" not in str(caught.value)


def test_ids_that_the_model_does_not_know(run: Path, tmp_path: Path) -> None:
    small = folder(tmp_path / "small", "gpt2-mini", "vocab_size=260")
    with pytest.raises(UserError, match=r"the prompt 'the quick': input_ids has id 2.., outside the vocabulary of 260"):
        COMMANDS["torch"]([str(small), "the quick"])


def test_a_checkpoint_has_the_tokenizer_of_its_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step = tmp_path / "run" / "checkpoints" / "step_5"
    shutil.copytree(run, step)
    (step / "tokenizer.json").rename(tmp_path / "run" / "tokenizer.json")
    with pytest.raises(UserError, match=r"holds no tokenizer\.json"):
        COMMANDS["torch"]([str(step), "the"])
    (tmp_path / "run" / "run.yaml").write_text("{}")
    assert COMMANDS["torch"]([str(step), "the", "max_new_tokens=5"]) == 0
    assert capsys.readouterr().out == expected(run, "the", max_new_tokens=5) + "\n"


def test_text_that_was_taken_apart_is_told_of(translator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(translator, tmp_path / "run")
    config = load_run_config(Path(__file__).parent.parent / "configs" / "runs" / "multi30k.yaml")
    (tmp_path / "run" / "run.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    (tmp_path / "run" / "summary.json").write_text("{}")
    shutil.copytree(translator, tmp_path / "run" / "checkpoints" / "step_5")
    for place in (tmp_path / "run", tmp_path / "run" / "checkpoints" / "step_5"):
        assert COMMANDS["torch"]([str(place), "the dog", "max_new_tokens=5"]) == 0
        assert "note: this run learned from text that sacremoses had normalized, taken apart and lower-cased" in capsys.readouterr().err


def test_a_folder_that_may_not_be_written_to(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As os.access says it; to the superuser it says so of file systems alone that are only read.
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    with pytest.raises(UserError, match=rf"nothing can be written to {tmp_path}; name another file"):
        COMMANDS["torch"]([str(run), "--input", "lines.txt", "--output", str(tmp_path / "out.txt")])


def test_no_tokenizer_and_no_decoder(tmp_path: Path) -> None:
    save(Transformer(load_model_config("gpt2-mini", ["num_layers=1"])), tmp_path / "bare")
    with pytest.raises(UserError, match=r"holds no tokenizer\.json"):
        COMMANDS["torch"]([str(tmp_path / "bare"), "the"])
    save(Transformer(load_model_config("bert-tiny", ["num_layers=1"])), tmp_path / "encoder")
    with pytest.raises(UserError, match="only a language-model head generates"):
        COMMANDS["torch"]([str(tmp_path / "encoder"), "the"])


def test_what_begins_with_the_end_token_is_not_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """BART's decoder_start is its end token too."""
    run = folder(tmp_path / "run", "transformer-tiny", "max_length=64", "special_tokens={eos: [7], pad: 0, decoder_start: 7}")
    COMMANDS["torch"]([str(run), "the quick", "max_new_tokens=9", "min_new_tokens=9", "num_beams=2"])
    ids = load(run).generate([[*Tokenizer(run).encode("the quick"), 7]], max_new_tokens=9, min_new_tokens=9, num_beams=2)[0, 1:]
    assert capsys.readouterr().out == Tokenizer(run).decode([token for token in ids.tolist() if token != 7]) + "\n"
    assert len(ids) >= 9


def test_a_text_without_an_end_keeps_its_last_tokens(run: Path) -> None:
    """They are no padding, though the token is that which would fill up."""
    session = Session(str(run), ["eos_token_id=[]", "pad_token_id=9"], None)
    asked = session.for_batch([[5, 6]])
    assert session.said([5, 6, 8, 9, 9], asked) == session.tokenizer.decode([5, 6, 8, 9, 9])[len(session.tokenizer.decode([5, 6])) :]


@pytest.mark.parametrize(
    ("longest", "settings"),
    [
        (64, ["eos_token_id=[]"]),
        (256, ["max_length=60", "eos_token_id=[]"]),
        (256, ["min_length=45", "max_new_tokens=60", f"eos_token_id={list(range(1, 290))}"]),
        (256, ["max_new_tokens=16", "no_repeat_ngram_size=2", f"suppress_tokens={[*range(1, 20), *range(24, 300)]}", "eos_token_id=[]"]),
        (256, ["max_new_tokens=6", "forced_bos_token_id=20"]),
    ],
    ids=["room", "max_length", "min_length", "no_repeat_ngram_size", "forced_bos_token_id"],
)
def test_what_is_said_to_a_line_does_not_depend_on_the_lines_beside_it(longest: int, settings: list[str], tmp_path: Path) -> None:
    """A long prompt leaves little room, and a short one beside it has its own; padding is neither text nor length."""
    run = folder(tmp_path / "run", "gpt2-mini", f"max_length={longest}", "special_tokens={eos: [7]}")
    lines = ["a", " ".join(["cat"] * 30), "the quick"]
    alone = []
    for number, text in enumerate(["\n".join(lines), *lines]):
        (tmp_path / f"in{number}").write_text(text + "\n", encoding="utf-8")
        files = ["--input", str(tmp_path / f"in{number}"), "--output", str(tmp_path / f"out{number}")]
        COMMANDS["torch"]([str(run), *files, *settings])
        alone += (tmp_path / f"out{number}").read_text(encoding="utf-8").splitlines()
    assert alone[:3] == alone[3:]


def test_a_recording_becomes_text(tmp_path: Path, command: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]) -> None:
    run = folder(tmp_path / "speech", "whisper-tiny", "num_layers=1", "attention.num_heads=2", "max_length=64", SPOKEN, HEARD)
    numbers = {"lang_to_id": {"<|en|>": 290}, "task_to_id": {"transcribe": 291}, "no_timestamps_token_id": 292}
    (run / "generation_config.json").write_text(json.dumps({**numbers, "suppress_tokens": [7]}), encoding="utf-8")
    first, second = (write_wav(tmp_path / f"{number}.wav", tone(0.3, 300.0 * number)) for number in (1, 2))
    assert command([str(run), str(first), "language=en", "max_new_tokens=9"]) == 0
    told = capsys.readouterr().out
    model, tokenizer = load(run), Tokenizer(run)
    spectrum = read_recording(first, model.config.inputs)
    tokens = model.generate(input_features=spectrum[None], language="en", max_new_tokens=9)[0].tolist()
    assert tokens[:4] == [0, 290, 291, 292]
    assert told == tokenizer.decode(tokens[4:]) + "\n"
    (tmp_path / "all.txt").write_text(f"{first}\n\n{second}\n", encoding="utf-8")
    asked = ["--input", str(tmp_path / "all.txt"), "--output", str(tmp_path / "texts.txt"), "language=en", "max_new_tokens=9"]
    assert command([str(run), *asked]) == 0
    assert (tmp_path / "texts.txt").read_text(encoding="utf-8").splitlines()[:2] == [" ".join(told[:-1].splitlines()), ""]
    assert Session(str(run), ["language=no"]).generation.language == "no"
    # Timestamps are words of a tokenizer, and no part of what is said.
    words = tokenizers.Tokenizer.from_file(str(run / "tokenizer.json"))
    words.add_tokens(["<|0.00|>"])
    words.save(str(run / "tokenizer.json"))
    session = Session(str(run), ["language=en"])
    asked = session.for_batch([spectrum])
    assert session.said([words.token_to_id("<|0.00|>"), 40], asked) == session.said([40], asked)
    # Without a length there are as many as there is room for behind what is told first.
    assert command([str(run), str(first), "language=en"]) == 0
    with pytest.raises(UserError, match="language is missing"):
        command([str(run), str(first)])
    with pytest.raises(UserError, match=r"speech.mp3: No such file or directory; expected a WAV file"):
        command([str(run), "speech.mp3", "language=en"])
