"""How text is generated: settings that both frameworks read, checked before anything is computed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from configs.base import Config
from configs.errors import UserError
from configs.generation_files import DEFAULT_TOP_K, SCORES, hugging_face_settings, read_generation_config
from configs.model import ModelConfig
from configs.prompts import Prompts

DEFAULT_NEW_TOKENS = 20
# Settings that act in sampling alone, and in beam search alone.
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p")
BEAMS = ("length_penalty", "early_stopping")
# Settings that count tokens before a text, or look for some in it.
PADDED = ("max_length", "min_length", "no_repeat_ngram_size", "stop_strings")
# Two ways to say the same thing: what a user says replaces the other one in a file.
TWINS = {"max_new_tokens": "max_length", "max_length": "max_new_tokens", "min_new_tokens": "min_length", "min_length": "min_new_tokens"}

Ids = Annotated[tuple[int, ...], Field(strict=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Text = Annotated[str, Field(min_length=1)]


class GenerationConfig(Config):
    """Settings of `generate`, under Hugging Face's names and with their meaning. Lengths count tokens.

    max_new_tokens: the most tokens that are added to a prompt. Default: 20, unless max_length is set.
    max_length: the most tokens of prompt and text together; of an encoder-decoder those of the decoder, decoder_start among them.
    min_new_tokens: no text ends before so many tokens have been added; 0 sets no limit.
    min_length: no text ends before prompt and text together have so many tokens; 0 sets no limit.
    num_beams: texts of each prompt that are kept at each step; 1 is no beam search (Sutskever et al. 2014, 3.2).
    length_penalty: a beam's score is the sum of its log-probabilities divided by length ** length_penalty: above 0 favors long texts.
    early_stopping: when a beam search ends: True as soon as num_beams texts have ended, False when a better one is unlikely, "never"
        when a better one is impossible.
    num_return_sequences: texts that are returned for each prompt, of a beam search the best first.
    do_sample: draw each token from softmax(logits / temperature); False takes the most probable one.
    temperature: below 1 probable tokens become more probable, above 1 less (Holtzman et al. 2020, 3.3).
    top_k: draw from the so many most probable tokens only (Fan et al. 2018, 5.4). Default: from all.
    top_p: draw from the fewest most probable tokens whose probabilities add up to it; 1 is all (nucleus: Holtzman et al. 2020, 3.1).
    min_p: draw from tokens with at least this share of the best one's probability; 0 is all (Nguyen et al. 2024, 3).
    typical_p: draw from the tokens whose information is nearest to the entropy, until their probabilities add up to it; 1 is all
        (Meister et al. 2023, 4.1). Where several of these four are set, they act in this order.
    seed: of the random numbers; the same seed draws the same tokens in PyTorch and TensorFlow, and in every call: who draws again gives
        another one.
    repetition_penalty: divides positive logits of tokens that are in the text already, and multiplies negative ones; 1 changes nothing
        (CTRL, Keskar et al. 2019, 4.1, but for negative ones). Padding on the left does not count, which to Hugging Face it does.
    no_repeat_ngram_size: no so many tokens in a row come twice; 0 allows it (Paulus et al. 2018, 2.5).
    bad_words_ids: sequences of tokens that are never generated.
    forced_bos_token_id: the token that follows a prompt of one token, such as decoder_start: a language, for multilingual translators.
    forced_eos_token_id: the last token of a text that reaches its longest length; of several, all are equally probable.
    suppress_tokens: tokens that are never generated.
    begin_suppress_tokens: tokens that are not generated right behind a prompt; where forced_bos_token_id follows one, behind that.
    renormalize_logits: make probabilities add up to 1 again after the settings above; it changes the scores of beams.
    prompt_lookup_num_tokens: guess so many tokens at once: those that followed, earlier in the text, the tokens it now ends in (Saxena
        2023). Default: no guesses. What the model would not have generated is dropped (Leviathan et al. 2023, algorithm 1).
    max_matching_ngram_size: how many of the last tokens prompt lookup compares, at most.
    num_assistant_tokens: how many tokens an assistant_model guesses at once (Leviathan et al. 2023, algorithm 1).
    eos_token_id: tokens that end a text, one or several; () for none. Default: the model's.
    stop_strings: strings that end a text, one or several, with the token that completes one; they may begin in the prompt.
    pad_token_id: what fills up texts that have ended. Default (-1): the model's pad token, else its first end token, else 0.
    language: of Whisper, which is spoken, such as "en": its decoder reads it first, unless the caller gives decoder_input_ids.
    task: of Whisper, "transcribe" or "translate", into English; see `configs.speech`.
    """

    max_new_tokens: PositiveInt | None = None
    max_length: PositiveInt | None = None
    min_new_tokens: NonNegativeInt = 0
    min_length: NonNegativeInt = 0
    num_beams: PositiveInt = 1
    length_penalty: Annotated[float, Field(ge=-50, le=50)] = 1.0
    early_stopping: bool | Literal["never"] = False
    num_return_sequences: PositiveInt = 1
    do_sample: bool = False
    temperature: PositiveFloat = 1.0
    top_k: PositiveInt | None = None
    top_p: Share = 1.0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    typical_p: Share = 1.0
    seed: NonNegativeInt = 0
    repetition_penalty: PositiveFloat = 1.0
    no_repeat_ngram_size: NonNegativeInt = 0
    bad_words_ids: Annotated[tuple[Ids, ...], Field(strict=False)] = ()
    forced_bos_token_id: int | None = None
    forced_eos_token_id: Ids | None = None
    suppress_tokens: Annotated[Ids, Field(strict=False)] = ()
    begin_suppress_tokens: Annotated[Ids, Field(strict=False)] = ()
    renormalize_logits: bool = False
    prompt_lookup_num_tokens: PositiveInt | None = None
    max_matching_ngram_size: PositiveInt = 2
    num_assistant_tokens: PositiveInt = 5
    eos_token_id: Ids | None = None
    stop_strings: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    pad_token_id: int = -1
    language: str | None = None
    task: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, values: Any) -> Any:
        # NumPy's numbers are numbers.
        is_numpy = (np.generic, np.ndarray)
        return {name: value.tolist() if isinstance(value, is_numpy) else value for name, value in dict(values).items()}

    @field_validator("top_k", mode="before")
    @classmethod
    def _none_or_several(cls, value: Any) -> Any:
        return None if value == 0 else value

    @field_validator("eos_token_id", "forced_eos_token_id", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) else value

    @field_validator("language", mode="before")
    @classmethod
    def _norwegian(cls, value: Any) -> Any:
        # YAML, in which the command line is read, takes its code for a boolean.
        return "no" if value is False else value

    @field_validator("stop_strings", mode="before")
    @classmethod
    def _one_string_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _settings_fit(self) -> GenerationConfig:
        if not self.do_sample and (lost := self._changed(SAMPLING)):
            raise ValueError(f"{lost} acts in sampling alone, and do_sample is False; set do_sample=True or leave it out")
        if self.num_beams == 1 and (lost := self._changed(BEAMS)):
            raise ValueError(f"{lost} acts in beam search alone, and num_beams is 1; set num_beams or leave it out")
        if self.do_sample and self.num_beams > 1:
            raise ValueError(f"do_sample=True with num_beams={self.num_beams}: beams are not sampled here; choose one of them")
        if not self.do_sample and self.num_return_sequences > self.num_beams:
            raise ValueError(
                f"num_return_sequences={self.num_return_sequences} is more than num_beams={self.num_beams}; "
                f"raise num_beams, or set do_sample=True with one beam"
            )
        if self.max_new_tokens is not None and self.max_length is not None:
            raise ValueError(f"max_new_tokens={self.max_new_tokens} and max_length={self.max_length} say the same; set one of them")
        if self.min_new_tokens and self.min_length:
            raise ValueError(f"min_new_tokens={self.min_new_tokens} and min_length={self.min_length} say the same; set one of them")
        if any(not word for word in self.bad_words_ids):
            raise ValueError("bad_words_ids has a word of no tokens; each must have at least one")
        return self

    @property
    def counts_padding(self) -> bool:
        """Whether what is said depends on how many tokens of padding stand before a prompt: their number counts, or they are text."""
        several = any(len(word) > 1 for word in self.bad_words_ids)
        return several or any(getattr(self, name) for name in PADDED) or self.forced_bos_token_id is not None

    @property
    def changes_scores(self) -> bool:
        """Whether anything but a model's logits decides which token is the best, behind the shortest length."""
        return bool(self._changed(SCORES))

    def _changed(self, names: tuple[str, ...]) -> str:
        """The first of these settings that is not at its default, with its value; else nothing."""
        fields = type(self).model_fields
        found = [f"{name}={getattr(self, name)!r}" for name in names if getattr(self, name) != fields[name].default]
        return found[0] if found else ""

    @classmethod
    def from_hugging_face(cls, source: str | os.PathLike[str] | Mapping[str, Any], **changes: Any) -> GenerationConfig:
        """The settings of a `generation_config.json`: its folder, its path or its content, with `changes` of your own.

        Settings that act only in sampling, or only in beam search, are left out where there is none, as in Hugging Face.
        Raises UserError for settings that would change tokens and are not built here.
        """
        return cls.model_validate(cls.merged(source, changes))

    @staticmethod
    def merged(source: str | os.PathLike[str] | Mapping[str, Any] | None, changes: Mapping[str, Any]) -> dict[str, Any]:
        """As `from_hugging_face`, but names and values that are not checked yet; without a file only the changes."""
        if source is None:
            return dict(changes)
        return GenerationConfig.changed(hugging_face_settings(read_generation_config(source)), changes)

    @staticmethod
    def changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """Settings with `changes`, and without what these leave without meaning."""
        values = {name: value for name, value in values.items() if TWINS.get(name) not in changes} | dict(changes)
        dropped = (() if values.get("do_sample") else SAMPLING) + (BEAMS if values.get("num_beams", 1) == 1 else ())
        return {name: value for name, value in values.items() if name not in dropped or name in changes}

    def complete(self, model: ModelConfig) -> GenerationConfig:
        """The same settings with the model's special tokens where none are set. Hugging Face's default of top_k is cut to the
        vocabulary."""
        eos = model.special_tokens.eos if self.eos_token_id is None else self.eos_token_id
        pads = (self.pad_token_id, model.special_tokens.pad, *eos, 0)
        settings = {"eos_token_id": eos, "pad_token_id": next(pad for pad in pads if pad is not None and pad >= 0)}
        if self.top_k == DEFAULT_TOP_K > model.vocab_size:
            settings["top_k"] = model.vocab_size
        return self.model_copy(update=settings)

    @property
    def rows_of_a_prompt(self) -> int:
        """Texts that are generated from each prompt at once."""
        return self.num_beams if self.num_beams > 1 else self.num_return_sequences

    @property
    def ahead(self) -> int:
        """The most tokens that are read at once behind a text: its last one, and guesses."""
        return 1 + max(self.num_assistant_tokens, self.prompt_lookup_num_tokens or 0)

    def limit(self, length: int) -> int:
        """Tokens of the longest text behind a prompt of `length` tokens (of an encoder-decoder: the decoder's prompt)."""
        if self.max_length is None:
            return length + (self.max_new_tokens or DEFAULT_NEW_TOKENS)
        return self.max_length

    def shortest(self, length: int) -> int:
        """Tokens of the shortest text that may end, prompt included."""
        return length + self.min_new_tokens if self.min_new_tokens else self.min_length

    def check_model(self, model: ModelConfig) -> None:
        """Refuse a model that generates nothing, and settings that it can serve for no prompt."""
        if model.head.kind != "language_model":
            raise UserError(
                f"this model has head.kind={model.head.kind!r}; only a language-model head generates, and where the file has one, or "
                f"ties it, load(..., architecture=) with Hugging Face's class of it reads it so"
            )
        if model.architecture == "encoder_decoder" and model.special_tokens.decoder_start is None:
            raise UserError("this model has no special_tokens.decoder_start, and the decoder cannot begin; set it in the model's config")
        if model.inputs.kind != "audio" and (self.language is not None or self.task is not None):
            raise UserError(f"language={self.language!r} and task={self.task!r} are for models of audio; leave them out")
        self._check_ids(model)

    def check_room(self, model: ModelConfig, prompts: Prompts) -> None:
        """Refuse prompts that leave no room for new tokens, and those beyond the positions that the model knows."""
        length, source_length = prompts.prompt_BT.shape[1], prompts.source_ids.shape[1]
        if self.limit(length) <= length:
            raise UserError(
                f"max_length={self.max_length} leaves no room behind a prompt of {length} tokens; raise it or use max_new_tokens"
            )
        if self.shortest(length) > self.limit(length):
            least = f"min_new_tokens={self.min_new_tokens}" if self.min_new_tokens else f"min_length={self.min_length}"
            raise UserError(f"{least} asks for more than the {self.limit(length) - length} new tokens that may come; change one of them")
        if model.longest is not None and source_length > model.longest:
            raise UserError(f"the input's length of {source_length} exceeds the model's max_length of {model.longest}; shorten it")
        if model.longest is not None and self.limit(length) > model.longest:
            asked = f"max_length={self.max_length}" if self.max_length else f"max_new_tokens={self.limit(length) - length}"
            if length == 1 and prompts.source is not None:
                raise UserError(f"{asked} behind decoder_start exceeds the model's max_length of {model.longest}; make it smaller")
            raise UserError(
                f"a prompt of {length} tokens and {asked} exceed the model's max_length of {model.longest}; shorten one of them"
            )

    def _check_ids(self, model: ModelConfig) -> None:
        """Every id of a setting is one of the vocabulary."""
        ends, pads = self.eos_token_id or (), (self.pad_token_id,) if self.pad_token_id >= 0 else ()
        first = () if self.forced_bos_token_id is None else (self.forced_bos_token_id,)
        last = self.forced_eos_token_id or ()
        groups = {
            "eos_token_id or pad_token_id": (*ends, *pads),
            "forced_bos_token_id": first,
            "forced_eos_token_id": last,
            "bad_words_ids": tuple(token for word in self.bad_words_ids for token in word),
            "suppress_tokens": self.suppress_tokens,
            "begin_suppress_tokens": self.begin_suppress_tokens,
        }
        for name, ids in groups.items():
            if outside := [token for token in ids if not 0 <= token < model.vocab_size]:
                raise UserError(f"{name} is {outside[0]}, outside the vocabulary of {model.vocab_size}")
        # The first new token may be the last one.
        at_the_end = {*self.suppress_tokens, *(self.begin_suppress_tokens if self.max_new_tokens == 1 else ())}
        forced = (
            ("forced_bos_token_id", first, {*self.suppress_tokens}),
            ("forced_eos_token_id", last, at_the_end),
        )
        for name, ids, suppressed in forced:
            if ids and set(ids) <= suppressed:
                raise UserError(f"{name}={ids[0]} is among the tokens that are suppressed, and nothing may follow; leave one of them out")
        forbidden = ({word[0] for word in self.bad_words_ids if len(word) == 1} - set(ends)) | set(self.suppress_tokens)
        forbidden |= set(ends) if self.min_new_tokens or self.min_length else set()
        if len(forbidden | set(self.begin_suppress_tokens)) == model.vocab_size:
            raise UserError(
                f"bad_words_ids, suppress_tokens and begin_suppress_tokens forbid each of the {model.vocab_size} tokens, and nothing may "
                f"follow; leave some out"
            )
        if self.top_k is not None and self.top_k > model.vocab_size:
            raise UserError(f"top_k={self.top_k} is more than the vocabulary of {model.vocab_size}")
        if self.num_beams > model.vocab_size // (1 + max(1, len(ends))):
            raise UserError(f"num_beams={self.num_beams} is too much for a vocabulary of {model.vocab_size} and {len(ends)} ends; lower it")
