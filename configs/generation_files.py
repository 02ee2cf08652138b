"""Hugging Face's `generation_config.json` under this project's names."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs.errors import UserError

FILE = "generation_config.json"
# They change the scores of tokens before one is chosen.
SCORES = (
    "repetition_penalty",
    "no_repeat_ngram_size",
    "bad_words_ids",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
    "renormalize_logits",
)
# Of the same name and meaning here, where they are set.
SAME = (
    "max_new_tokens",
    "max_length",
    "min_new_tokens",
    "min_length",
    "num_beams",
    "length_penalty",
    "early_stopping",
    "num_return_sequences",
    "do_sample",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    *SCORES,
    "prompt_lookup_num_tokens",
    "max_matching_ngram_size",
    "eos_token_id",
    "stop_strings",
    "pad_token_id",
    "language",
    "task",
)
# They change no token: what is kept and given back, how it is computed, and what the model's config holds.
WITHOUT_EFFECT = {
    "_from_model_config",
    "_commit_hash",
    "_name_or_path",
    "transformers_version",
    "architectures",
    "model_type",
    "is_encoder_decoder",
    "vocab_size",
    "dtype",
    "torch_dtype",
    "bos_token_id",
    "decoder_start_token_id",
    "use_cache",
    "cache_implementation",
    "cache_config",
    "max_cache_len",
    "return_legacy_cache",
    "return_dict_in_generate",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "output_logits",
    "compile_config",
    "disable_compile",
    "low_memory",
    "trust_remote_code",
    "use_model_defaults",
    "chat_format",
    "remove_invalid_values",
    "prefill_chunk_size",
    "is_assistant",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "assistant_confidence_threshold",
    "assistant_lookbehind",
    "target_lookbehind",
    # Of Whisper: what `configs.speech` reads, and what is for timestamps alone.
    "forced_decoder_ids",
    "is_multilingual",
    "lang_to_id",
    "task_to_id",
    "no_timestamps_token_id",
    "prev_sot_token_id",
    "alignment_heads",
    "max_initial_timestamp_index",
    "median_filter_width",
}
# They may change tokens, and are not built.
UNBUILT = (
    "constraints",
    "diversity_penalty",
    "dola_layers",
    "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "epsilon_cutoff",
    "eta_cutoff",
    "exponential_decay_length_penalty",
    "force_words_ids",
    "guidance_scale",
    "max_time",
    "num_beam_groups",
    "penalty_alpha",
    "sequence_bias",
    "token_healing",
    "top_h",
    "watermarking_config",
)
# Settings that are not built do nothing at these values, and at none, zero or nothing.
NEUTRAL = {"encoder_repetition_penalty": 1, "num_beam_groups": 1, "guidance_scale": 1}
# What Hugging Face samples from where a file that samples says nothing.
DEFAULT_TOP_K = 50


def read_generation_config(source: str | os.PathLike[str] | Mapping[str, Any]) -> Mapping[str, Any]:
    """The content of the file, which `source` is, or names, or has in it."""
    if isinstance(source, Mapping):
        return source
    path = Path(source) / FILE if Path(source).is_dir() else Path(source)
    if not path.is_file():
        raise UserError(f"there is no file {path}; expected Hugging Face's {FILE} or the folder that holds it")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds a {type(values).__name__}; expected names and values")
    return values


def hugging_face_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the file that are built here. Raises UserError for others that would change tokens."""
    for name, value in values.items():
        if name not in SAME and name not in WITHOUT_EFFECT and value and value != NEUTRAL.get(name):
            raise UserError(
                f"{FILE} (or an old config.json) sets {name}={value!r}, which is not built here and may change tokens; "
                f"take it out to go on without it"
            )
    settings = {name: values[name] for name in SAME if values.get(name) is not None}
    # Where both are there, the number of new tokens counts.
    for newer, older in (("max_new_tokens", "max_length"), ("min_new_tokens", "min_length")):
        if newer in settings:
            settings.pop(older, None)
    if settings.get("do_sample"):
        settings.setdefault("top_k", DEFAULT_TOP_K)
    if "top_k" in settings:
        settings["top_k"] = settings["top_k"] or None
    return settings
