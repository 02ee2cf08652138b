"""What Whisper's decoder reads first (Radford et al. 2022, figure 1): in which language is spoken, and what is to be done with it.

R rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from configs.errors import UserError, nearest
from configs.generation import GenerationConfig
from configs.model import ModelConfig

# Languages by name, with the code that stands in a Whisper's tokens.
NAMES = """
afrikaans af albanian sq amharic am arabic ar armenian hy assamese as azerbaijani az bashkir ba basque eu belarusian be bengali bn
bosnian bs breton br bulgarian bg burmese my cantonese yue castilian es catalan ca chinese zh croatian hr czech cs danish da dutch nl
english en estonian et faroese fo finnish fi flemish nl french fr galician gl georgian ka german de greek el gujarati gu haitian ht
haitian_creole ht hausa ha hawaiian haw hebrew he hindi hi hungarian hu icelandic is indonesian id italian it japanese ja javanese jw
kannada kn kazakh kk khmer km korean ko lao lo latin la latvian lv letzeburgesch lb lingala ln lithuanian lt luxembourgish lb
macedonian mk malagasy mg malay ms malayalam ml maltese mt mandarin zh maori mi marathi mr moldavian ro moldovan ro mongolian mn
myanmar my nepali ne norwegian no nynorsk nn occitan oc panjabi pa pashto ps persian fa polish pl portuguese pt punjabi pa pushto ps
romanian ro russian ru sanskrit sa serbian sr shona sn sindhi sd sinhala si sinhalese si slovak sk slovenian sl somali so spanish es
sundanese su swahili sw swedish sv tagalog tl tajik tg tamil ta tatar tt telugu te thai th tibetan bo turkish tr turkmen tk ukrainian uk
urdu ur uzbek uz valencian ca vietnamese vi welsh cy yiddish yi yoruba yo
"""
CODES = dict(zip(NAMES.split()[::2], NAMES.split()[1::2], strict=True))


def speech_prompt(
    model: ModelConfig, generation_config: Mapping[str, Any] | None, language: str | None = None, task: str | None = None
) -> list[int]:
    """The ids of `<|startoftranscript|><|en|><|transcribe|><|notimestamps|>`; without language and task where a model knows one alone.

    generation_config: the content of a Whisper's generation_config.json, which numbers them; without it there is decoder_start alone. The
    `forced_decoder_ids` of an old one hold where neither language nor task is given.
    language: such as "en" or "english". task: "transcribe", which is the default, or "translate", into English.
    Raises UserError for those that the model does not know, and for a language that is missing, which Hugging Face would guess.
    """
    known = generation_config or {}
    languages: Mapping[str, int] = known.get("lang_to_id") or {}
    tasks: Mapping[str, int] = known.get("task_to_id") or {}
    ids = [] if model.special_tokens.decoder_start is None else [model.special_tokens.decoder_start]
    forced = known.get("forced_decoder_ids") if language is None and task is None else None
    # A language that is left open is guessed, where there are several.
    told = [token for _, token in sorted(forced or []) if token is not None or languages]
    if told and None not in told:
        ids += told
    elif languages:
        codes = {token.strip("<|>"): token for token in languages}
        if language is None:
            raise UserError(f"language is missing; a model of {len(codes)} languages is told which one is spoken, as language='en'")
        said = language.lower().strip("<|>").replace(" ", "_")
        ids.append(languages[codes[chosen("language", CODES.get(said, said), codes)]])
        if tasks or task is not None:
            ids.append(tasks[chosen("task", task or "transcribe", tasks)])
    elif language is not None or task is not None:
        raise UserError(
            f"language={language!r} and task={task!r}: the model has no choice of them; leave both out, or give decoder_input_ids"
        )
    end = known.get("no_timestamps_token_id")
    ids += [] if end is None or ids[-1:] == [end] else [end]
    if outside := [token for token in ids if not 0 <= token < model.vocab_size]:
        raise UserError(f"generation_config.json tells the decoder {outside[0]} first, outside the vocabulary of {model.vocab_size}")
    return ids


def chosen(name: str, value: str, known: Collection[str]) -> str:
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
    # All that the file says of other things is left out.
    settings = GenerationConfig(max_new_tokens=1, suppress_tokens=tuple(others)).model_dump()
    start = [[model.config.special_tokens.decoder_start]]
    names = {token: name.strip("<|>") for name, token in languages.items()}
    tokens_R1 = next(model.stream(input_features=input_features, decoder_input_ids=start, **settings))
    return [names[token] for token in tokens_R1[:, 0].tolist()]
