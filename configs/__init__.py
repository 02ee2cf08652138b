"""What a model and a run are. Typed, validated, frozen; no torch, no tensorflow."""

from configs.errors import UserError, nearest, run_command
from configs.generation import GenerationConfig
from configs.inputs import check_inputs
from configs.model import ModelConfig
from configs.prompts import Prompts, as_prompts
from configs.reading import build, dump, load_model_config, load_run_config
from configs.run import RunConfig
from configs.speech import speech_prompt, spoken_languages
from configs.tables import dynamic_frequencies, relative_buckets, rotary_cosines, rotary_frequencies, rotary_sines, sinusoidal_table

__all__ = [
    "GenerationConfig",
    "ModelConfig",
    "Prompts",
    "RunConfig",
    "UserError",
    "as_prompts",
    "build",
    "check_inputs",
    "dump",
    "dynamic_frequencies",
    "load_model_config",
    "load_run_config",
    "nearest",
    "relative_buckets",
    "rotary_cosines",
    "rotary_frequencies",
    "rotary_sines",
    "run_command",
    "sinusoidal_table",
    "speech_prompt",
    "spoken_languages",
]
