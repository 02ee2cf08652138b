"""From text to ids and back: BPE over bytes or within words, characters, or a tokenizer.json.

Hugging Face's AutoTokenizer loads what is saved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, processors, trainers

from configs import RunConfig, UserError
from configs.text import file_in
from train.run_folder import run_that_goes_on
from weight_mapping.checkpoint import read_json
from weight_mapping.hub import local_folder

END_OF_TEXT = "<|endoftext|>"
END_OF_WORD = "</w>"
# What stands in the place of a span that is left out (T5).
SENTINEL = "<extra_id_{}>"
# Objectives whose texts end in the model's end token.
ENDED = ("seq2seq", "span_corruption")
FILE = "tokenizer.json"
CONFIG = "tokenizer_config.json"


class TextTokenizer:
    """A `tokenizers.Tokenizer`, and the token that stands between documents if it has one."""

    def __init__(
        self,
        tokenizer: tokenizers.Tokenizer,
        end_of_text: str | None,
        config: Path | None = None,
        special_tokens: Mapping[str, str] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.special_tokens = dict(special_tokens or {})
        self.end_of_text = end_of_text
        self.end_of_text_id = None if end_of_text is None else tokenizer.token_to_id(end_of_text)
        self.config = config

    @property
    def vocab_size(self) -> int:
        """Rows that a model needs: one more than the largest id."""
        return max(self.tokenizer.get_vocab().values()) + 1

    def encode(self, documents: Sequence[str]) -> np.ndarray:
        """The ids of all documents in one row of int32, shape (N,), with the end-of-text token between documents."""
        between = [] if self.end_of_text_id is None else [self.end_of_text_id]
        pieces: list[np.ndarray] = []
        for document in documents:
            if pieces and between:
                pieces.append(np.array(between, np.int32))
            pieces.append(self._encode(document))
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int32)

    def encode_words(self, documents: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """As `encode`, and True where a word begins, as the tokenizer parts words: bool (N,)."""
        ids, starts = [np.zeros(0, np.int32)], [np.zeros(0, np.bool_)]
        for number, document in enumerate(documents):
            found = self._found(document)
            if number and self.end_of_text_id is not None:
                ids.append(np.array([self.end_of_text_id], np.int32))
                starts.append(np.ones(1, np.bool_))
            ids.append(np.array(found.ids, np.int32))
            starts.append(np.diff([-1 if word is None else word for word in found.word_ids], prepend=-2) != 0)
        return np.concatenate(ids), np.concatenate(starts)

    def special_ids(self) -> list[int]:
        """The ids of all tokens that no text has."""
        return [number for number, token in self.tokenizer.get_added_tokens_decoder().items() if token.special]

    def around(self) -> tuple[list[int], list[int]]:
        """What an encoder reads before and behind a text: cls_token and sep_token, where there are any."""
        first, last = ([] if token is None else [token] for token in map(self.special_id, ("cls_token", "sep_token")))
        return first, last

    def special_id(self, name: str) -> int | None:
        """The id of a special token by the name that `transformers` gives it, such as mask_token; None where there is none."""
        token = self.special_tokens.get(name)
        return None if token is None else self.tokenizer.token_to_id(token)

    def encode_each(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text, int32 (N,), without special tokens."""
        try:
            return [np.array(found.ids, np.int32) for found in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
        except Exception as error:
            raise unknown_text(error) from None

    def _encode(self, document: str) -> np.ndarray:
        return np.array(self._found(document).ids, np.int32)

    def _found(self, document: str) -> tokenizers.Encoding:
        try:
            return self.tokenizer.encode(document, add_special_tokens=False)
        except Exception as error:
            raise unknown_text(error) from None

    def encode_prompt(self, prompt: str) -> list[int]:
        """The ids of a prompt; the end-of-text token, or id 0, where it is empty. Raises UserError for unknown characters."""
        try:
            ids = [int(token) for token in self._encode(prompt)]
        except UserError as error:
            raise UserError(f"the prompt {prompt!r}: {error}") from None
        return ids or [self.end_of_text_id or 0]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        return self.tokenizer.decode([int(token) for token in ids], skip_special_tokens=skip_special_tokens)

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json into an existing folder."""
        self.tokenizer.save(str(folder / FILE))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        if self.config is not None:
            settings = json.loads(self.config.read_text(encoding="utf-8"))
        special = {} if self.end_of_text is None else {"bos_token": self.end_of_text, "eos_token": self.end_of_text}
        special = {name: token for name, token in (self.special_tokens or special).items() if name not in settings}
        (folder / CONFIG).write_text(json.dumps({**settings, **special}, indent=2) + "\n", encoding="utf-8")


def unknown_text(error: Exception) -> UserError:
    """What to tell of a text that a tokenizer without a token for unknown ones cannot read."""
    return UserError(f"a text holds what the tokenizer does not know ({error}); use other text, or a tokenizer that was made of this one")


class CharacterTokenizer(TextTokenizer):
    """One id for each character, in the order of their code points, after the special tokens."""

    def __init__(self, characters: Sequence[str], special_tokens: Mapping[str, str] | None = None, sentinels: int = 0) -> None:
        special = in_order(special_tokens or {}, sentinels)
        vocabulary = {token: index for index, token in enumerate([*special, *characters])}
        tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=None))
        tokenizer.add_special_tokens(special)
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        tokenizer.decoder = decoders.Fuse()
        super().__init__(tokenizer, end_of_text(special_tokens), special_tokens=special_tokens)
        self.first = len(special)
        self.code_points = np.array([ord(character) for character in characters], np.uint32)

    def _encode(self, document: str) -> np.ndarray:
        """What the tokenizer itself gives, a hundred times faster."""
        code_points = np.frombuffer(document.encode("utf-32-le", "surrogatepass"), np.uint32)
        ids = np.searchsorted(self.code_points, code_points).clip(max=len(self.code_points) - 1)
        if (unknown := np.flatnonzero(self.code_points[ids] != code_points)).size:
            raise UserError(f"the character {document[unknown[0]]!r} is not in the vocabulary of {len(self.code_points)}")
        return (ids + self.first).astype(np.int32)

    def encode_each(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [self._encode(text) for text in texts]


def build_tokenizer(config: RunConfig, train: Sequence[str], validation: Sequence[str]) -> TextTokenizer:
    """The tokenizer that the config asks for, and that the model has rows for; else UserError."""
    asked = config.tokenizer
    assert asked is not None
    kind, special_tokens = asked.kind, asked.special_tokens
    if kind == "bpe":
        tokenizer = train_bpe(train, asked.vocab_size or 0, special_tokens, asked.sentinels)
    elif kind == "word_bpe":
        tokenizer = train_word_bpe(train, asked.vocab_size or 0, special_tokens or {}, asked.sentinels)
    elif kind == "character":
        # Of the whole text: a character that only the held-out part has must have a row too.
        characters = sorted(set().union(*map(set, train), *map(set, validation)))
        tokenizer = CharacterTokenizer(characters, special_tokens, asked.sentinels)
    elif kind == "initial":
        # A run that goes on has it in its folder, wherever the checkpoint is by now.
        own = run_that_goes_on(config)
        tokenizer = read_tokenizer(own if own and (own / FILE).is_file() else local_folder(config.initial or ""))
    else:
        tokenizer = read_tokenizer(Path(asked.path or ""))
    if tokenizer.vocab_size > config.model.vocab_size:
        raise UserError(
            f"the {kind} tokenizer has {tokenizer.vocab_size} ids, and model.vocab_size={config.model.vocab_size}; "
            f"every id needs a row: set model.vocab_size={tokenizer.vocab_size}"
        )
    check_special_tokens(tokenizer, config)
    if kind not in ("file", "initial"):
        surround_texts(tokenizer, config.objective.kind in ENDED)
    return tokenizer


def surround_texts(tokenizer: TextTokenizer, ends: bool) -> None:
    """Whoever loads the tokenizer gets what the model is given: a text between cls_token and sep_token, or with `ends` before eos_token."""
    special = tokenizer.special_tokens
    first, last = special.get("cls_token", ""), special.get("sep_token", "")
    if ends and not (first or last):
        last = special.get("eos_token", "")
    if first or last:
        tokens = [(token, tokenizer.tokenizer.token_to_id(token)) for token in dict.fromkeys((first, last)) if token]
        single, pair = [first, "$A", last], [first, "$A", last, "$B:1", last and f"{last}:1"]
        tokenizer.tokenizer.post_processor = processors.TemplateProcessing(
            single=[part for part in single if part], pair=[part for part in pair if part], special_tokens=tokens
        )


def check_special_tokens(tokenizer: TextTokenizer, config: RunConfig) -> None:
    """The model and the tokenizer mean the same ids by end and padding, and no text has them where examples end in them."""
    special, asked = config.model.special_tokens, config.tokenizer
    of_the_model = {"eos": special.eos, "pad": () if special.pad is None else (special.pad,)}
    for name, ids in of_the_model.items():
        token = tokenizer.special_tokens.get(f"{name}_token", tokenizer.end_of_text if name == "eos" else None)
        found = None if token is None else tokenizer.tokenizer.token_to_id(token)
        key = f"model.special_tokens.{name}"
        if found is not None and ids and found not in ids:
            raise UserError(f"the tokenizer's {name}_token {token!r} has id {found}, and {key} says {ids[0]}; set {key} to {found}")
        if found is None and ids and config.objective.kind in ENDED and asked is not None and asked.kind not in ("file", "initial"):
            text = tokenizer.tokenizer.id_to_token(ids[0])
            raise UserError(f"{key}={ids[0]} is {text!r} to the tokenizer, which texts may have; set tokenizer.special_tokens.{name}_token")


def end_of_text(special_tokens: Mapping[str, str] | None, otherwise: str | None = None) -> str | None:
    """What stands between documents: eos_token, where tokens are named."""
    return otherwise if special_tokens is None else special_tokens.get("eos_token")


def in_order(special_tokens: Mapping[str, str], sentinels: int) -> list[str]:
    """Each special token once, then the sentinels: the first ids."""
    return [*dict.fromkeys(special_tokens.values()), *map(SENTINEL.format, range(sentinels))]


def train_bpe(
    documents: Sequence[str], vocab_size: int, special_tokens: Mapping[str, str] | None = None, sentinels: int = 0
) -> TextTokenizer:
    """Byte-level byte-pair encoding (GPT-2, Radford et al. 2019, 2.2), the special tokens first, `<|endoftext|>` where none are named.
    The same text gives the same ids."""
    special = in_order(special_tokens or {"eos_token": END_OF_TEXT}, sentinels)
    smallest = len(pre_tokenizers.ByteLevel.alphabet()) + len(special)
    if vocab_size < smallest:
        named = END_OF_TEXT if special == [END_OF_TEXT] else f"{len(special)} special tokens"
        raise UserError(f"tokenizer.vocab_size={vocab_size} is less than the {smallest} ids of all bytes and {named}; make it larger")
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return TextTokenizer(tokenizer, end_of_text(special_tokens, END_OF_TEXT), special_tokens=special_tokens)


def train_word_bpe(texts: Sequence[str], vocab_size: int, special_tokens: Mapping[str, str], sentinels: int = 0) -> TextTokenizer:
    """Byte-pair encoding within words that spaces part (Sennrich et al. 2016, 3.2); `</w>` ends a word. Deterministic."""
    special = in_order(special_tokens, sentinels)
    words = pre_tokenizers.WhitespaceSplit()
    last = sorted({word[-1] for text in texts for word in text.split()})
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        # The trainer would number what ends a word in the order of a hash table, another in each process; special tokens it numbers first.
        special_tokens=[*special, *(f"{character}{END_OF_WORD}" for character in last)],
        initial_alphabet=sorted(set().union(*map(set, texts)) - set(" \t\r\n")),
        end_of_word_suffix=END_OF_WORD,
        show_progress=False,
    )
    trained = tokenizers.Tokenizer(models.BPE(end_of_word_suffix=END_OF_WORD))
    trained.pre_tokenizer = words
    trained.train_from_iterator(texts, trainer)

    learned = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in learned["merges"]]
    model = models.BPE(learned["vocab"], merges, unk_token=special_tokens["unk_token"], end_of_word_suffix=END_OF_WORD)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = words
    tokenizer.decoder = decoders.BPEDecoder(suffix=END_OF_WORD)
    tokenizer.add_special_tokens(special)
    return TextTokenizer(tokenizer, end_of_text(special_tokens), special_tokens=special_tokens)


def read_tokenizer(path: Path) -> TextTokenizer:
    """A tokenizer.json, or the folder that holds one; its tokenizer_config.json names the end-of-text token."""
    file = file_in(path) if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"there is no {FILE} in {path}; name such a file or its folder by tokenizer={{kind: file, path: ...}}")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:
        raise UserError(f"{file}: not a tokenizer that `tokenizers` reads ({error})") from None
    # Files of sentence-transformers pad and cut by themselves.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    config = file.parent / CONFIG
    special_tokens = named_tokens(config)
    end = special_tokens.get("eos_token", END_OF_TEXT)
    known = tokenizer.token_to_id(end) is not None
    return TextTokenizer(tokenizer, end if known else None, config if config.is_file() else None, special_tokens)


def named_tokens(config: Path) -> dict[str, str]:
    """The special tokens that a tokenizer_config.json names, or in old folders the special_tokens_map.json beside it."""
    values: dict[str, Any] = {}
    for path in (config.with_name("special_tokens_map.json"), config):
        values |= read_json(path) if path.is_file() else {}
    tokens = {name: value["content"] if isinstance(value, dict) else value for name, value in values.items() if name.endswith("_token")}
    return {name: token for name, token in tokens.items() if isinstance(token, str)}
