"""What Whisper's decoder reads first (Radford et al. 2022, figure 1): in which language is spoken, and what is to be done with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from configs.errors import UserError, nearest
from configs.model import ModelConfig


def speech_prompt(
    model: ModelConfig, generation_config: Mapping[str, Any] | None, language: str | None = None, task: str | None = None
) -> list[int]:
    """The ids of `<|startoftranscript|><|en|><|transcribe|><|notimestamps|>`; without language and task where a model knows one alone.

    generation_config: the content of a Whisper's generation_config.json, which numbers them; without it there is decoder_start alone.
    language: such as "en". task: "transcribe", which is the default, or "translate", into English.
    Raises UserError for those that the model does not know, and for a language that is missing, which Hugging Face would guess.
    """
    known = generation_config or {}
    languages, tasks = known.get("lang_to_id") or {}, known.get("task_to_id") or {}
    ids = [] if model.special_tokens.decoder_start is None else [model.special_tokens.decoder_start]
    if languages:
        codes = {token.strip("<|>"): token for token in languages}
        if language is None:
            raise UserError(f"language is missing; a model of {len(codes)} languages is told which one is spoken, as language='en'")
        ids.append(languages[codes[chosen("language", language.strip("<|>"), codes)]])
        ids.append(tasks[chosen("task", task or "transcribe", tasks)])
    elif language is not None or task is not None:
        raise UserError(f"language={language!r} and task={task!r}: the model has no choice of them; leave both out")
    if known.get("no_timestamps_token_id") is not None:
        ids.append(known["no_timestamps_token_id"])
    return ids


def chosen(name: str, value: str, known: Mapping[str, Any]) -> str:
    if value not in known:
        raise UserError(f"{name}={value!r} is none that the model knows{nearest(value, known)}")
    return value


def spoken_languages(model: Any, input_features: Any) -> list[str]:
    """The language of each recording, such as "en": the one of those that a model knows which it takes for the most probable (2.3).

    model: a Whisper, loaded in either framework. input_features: log-mel spectra (B, mel bins, frames).
    """
    languages = (model.generation_config or {}).get("lang_to_id")
    if not languages:
        raise UserError("this model's generation_config.json has no lang_to_id: it knows one language, or none")
    others = sorted(set(range(model.config.vocab_size)) - set(languages.values()))
    settings = {"max_new_tokens": 1, "suppress_tokens": others, "begin_suppress_tokens": (), "num_beams": 1, "do_sample": False}
    start = [[model.config.special_tokens.decoder_start]]
    tokens = model.generate(input_features=input_features, decoder_input_ids=start, **settings)[:, -1].numpy()
    names = {token: name.strip("<|>") for name, token in languages.items()}
    return [names[int(token)] for token in tokens]
