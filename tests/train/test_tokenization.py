"""Text to ids and back, exactly; and AutoTokenizer loads what is saved."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from transformers import AutoTokenizer

from configs import UserError, load_run_config
from tests.train.runs import environment, run_config, write_text
from train.objectives import prepare
from train.ready import ready
from train.tokenization import END_OF_TEXT, CharacterTokenizer, build_tokenizer, read_tokenizer, train_bpe

TEXT = "To be,  or not\n\tto be:\r\n that is the «question» — 'tis n't! 日本 🙂\n"


@pytest.fixture
def character():
    return CharacterTokenizer(sorted(set(TEXT)))


@pytest.fixture
def bpe():
    return train_bpe([TEXT * 3, "to be or not to be"], 300)


@pytest.mark.parametrize("kind", ["character", "bpe"])
def test_round_trip_and_hugging_face(kind, request, tmp_path):
    tokenizer = request.getfixturevalue(kind)
    ids = tokenizer.encode([TEXT])
    assert tokenizer.decode(ids) == TEXT
    tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(str(tmp_path))
    assert theirs(TEXT)["input_ids"] == ids.tolist()
    assert theirs.decode(ids) == TEXT
    again = read_tokenizer(tmp_path)
    np.testing.assert_array_equal(again.encode([TEXT, TEXT]), tokenizer.encode([TEXT, TEXT]))


def test_the_fast_way_to_encode_characters_is_the_tokenizers_own(character):
    assert character.tokenizer.encode(TEXT).ids == character.encode([TEXT]).tolist()
    assert [character.tokenizer.id_to_token(index) for index in range(character.vocab_size)] == sorted(set(TEXT))


def test_end_of_text_stands_between_documents(bpe, character):
    assert bpe.end_of_text_id == 0
    ids = bpe.encode(["to be", "or not"])
    assert (ids == 0).sum() == 1
    assert bpe.decode(ids) == f"to be{END_OF_TEXT}or not"
    assert character.decode(character.encode(["to", "be"])) == "tobe"


def test_bpe_is_deterministic_and_learns_merges(bpe):
    assert bpe.tokenizer.to_str() == train_bpe([TEXT * 3, "to be or not to be"], 300).tokenizer.to_str()
    assert 257 < bpe.vocab_size <= 300
    assert len(bpe.encode(["to be or not to be"])) < 18


def test_words_and_merges_are_the_same_in_every_process():
    """Sets of characters come in another order in each process, and an id is a place in an order."""
    program = (
        "from train.tokenization import train_word_bpe\n"
        "names = {'eos_token': '</s>', 'unk_token': '<unk>', 'pad_token': '<pad>'}\n"
        "print(train_word_bpe(['zwei alte Männer', 'two old men'], 60, names).tokenizer.to_str())\n"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program], env=environment(PYTHONHASHSEED=seed), capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(printed) == 1


def test_unknown_characters_are_named(character):
    with pytest.raises(UserError, match=r"prompt 'Zebra'.*'Z' is not in the vocabulary"):
        character.encode_prompt("Zebra")


@pytest.mark.parametrize("method", ["encode", "encode_words", "encode_each"])
def test_they_are_refused_in_one_line_by_what_was_saved_too(character, tmp_path, method):
    """Read back it is any tokenizer without a token for the unknown."""
    character.save(tmp_path)
    with pytest.raises(UserError, match=r"a text holds what the tokenizer does not know"):
        getattr(read_tokenizer(tmp_path), method)([TEXT, "Zebra"])


def test_a_model_without_a_row_for_every_id_is_refused(tmp_path):
    write_text(tmp_path)
    with pytest.raises(UserError, match=r"tokenizer has 27 ids, and model.vocab_size=20; .*set model.vocab_size=27"):
        build_tokenizer(run_config(tmp_path, model__vocab_size=20), ["abcdefghijklmnopqrstuvwxyz"], ["!"])


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [
        (
            "{kind: character}",
            r"special_tokens.eos=0 is ' ' to the tokenizer, which texts may have; set tokenizer.special_tokens.eos_token",
        ),
        (
            '{kind: character, special_tokens: {eos_token: "</s>"}}',
            r"special_tokens.pad=1 is .* set tokenizer.special_tokens.pad_token",
        ),
        ("{kind: bpe, vocab_size: 300}", r"the tokenizer's eos_token '<\|endoftext\|>' has id 0, and model.special_tokens.eos says 5"),
    ],
)
def test_an_end_that_texts_may_have_is_refused(tokenizer, said):
    model = ["model.special_tokens.eos=[5]", "model.vocab_size=300"] if "bpe" in tokenizer else []
    config = load_run_config("configs/runs/dates.yaml", [f"tokenizer={tokenizer}", *model])
    with pytest.raises(UserError, match=said):
        build_tokenizer(config, ["a day, and a year"], [])


def test_characters_of_the_test_are_read_before_the_run():
    """200 days in words lack letters that 2,000 have."""
    config = load_run_config("configs/runs/dates.yaml", ["data.train=200", "data.validation=100", "train.batch_tokens=600"])
    corpus = prepare(config)
    assert set("ILVw") <= set(corpus.tokenizer.tokenizer.get_vocab())


def test_a_prompt_that_cannot_be_read_is_refused_before_the_run(tmp_path):
    write_text(tmp_path)
    with pytest.raises(UserError, match="the prompt 'Ü': the character 'Ü' is not in the vocabulary"):
        ready(run_config(tmp_path, train__sample_prompt="Ü", tokenizer={"kind": "character"}))


def test_characters_of_the_held_out_part_count(tmp_path):
    assert build_tokenizer(run_config(tmp_path), ["ab"], ["c"]).vocab_size == 3


def test_a_file_is_taken_as_it_is(tmp_path, bpe):
    bpe.save(tmp_path)
    config = run_config(tmp_path, tokenizer__kind="file", tokenizer__path=tmp_path / "tokenizer.json", model__vocab_size=300)
    tokenizer = build_tokenizer(config, [TEXT], [TEXT])
    assert tokenizer.end_of_text_id == 0
    assert tokenizer.encode([TEXT]).tolist() == bpe.encode([TEXT]).tolist()
    with pytest.raises(UserError, match=r"there is no tokenizer.json in .*nowhere; name such a file"):
        read_tokenizer(tmp_path / "nowhere")
