"""Which layers have a window: `layer_types`, and the keys that told it before."""

from __future__ import annotations

from typing import Any

import pytest
import transformers

from configs import ModelConfig
from tests.weight_mapping.folders import refused
from weight_mapping import families

SLIDING, FULL = "sliding_attention", "full_attention"


def settings(family: str, **keys: Any) -> dict[str, Any]:
    kept = {key: value for key, value in families()[family].revealing.items() if key not in ("layer_types", "sliding_window")}
    return {"model_type": families()[family].model_type, **kept, "num_hidden_layers": 7, **keys}


def read(family: str, source: dict[str, Any]) -> ModelConfig:
    return families()[family].read_config(source, "config.json")


def windows(config: ModelConfig) -> list[int | None]:
    return [config.window_of(layer) for layer in range(config.num_layers)]


CASES: list[tuple[str, dict[str, Any], list[int | None]]] = [
    ("mistral", {}, [4096] * 7),
    ("mistral", {"sliding_window": 5}, [5] * 7),
    ("mistral", {"sliding_window": None}, [None] * 7),
    ("qwen2", {}, [None] * 7),
    ("qwen2", {"sliding_window": 5, "max_window_layers": 2}, [None] * 7),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2}, [None] * 2 + [5] * 5),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 9}, [None] * 7),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 5, "layer_types": [SLIDING] * 3 + [FULL] * 4}, [5] * 3 + [None] * 4),
    ("qwen3", {"use_sliding_window": True, "max_window_layers": 6}, [None] * 6 + [4096]),
    ("gemma2", {"sliding_window": 5}, [5, None, 5, None, 5, None, 5]),
    ("gemma2", {"layer_types": [FULL] * 7}, [None] * 7),
    ("gemma3", {"sliding_window": 5}, [5, 5, 5, 5, 5, None, 5]),
    ("gemma3", {"sliding_window": 5, "sliding_window_pattern": 3}, [5, 5, None, 5, 5, None, 5]),
    ("gemma3", {"sliding_window": 5, "layer_types": [FULL, SLIDING] * 3 + [SLIDING]}, [None, 5, None, 5, None, 5, 5]),
]


@pytest.mark.parametrize(("family", "keys", "expected"), CASES)
def test_windows_layer_by_layer(family: str, keys: dict[str, Any], expected: list[int | None]) -> None:
    source = settings(family, **keys)
    config = read(family, source)
    assert windows(config) == expected
    written = families()[family].write_config(config)
    assert read(family, written) == config
    for keys in (source, written):
        theirs = transformers.AutoConfig.for_model(**keys)
        types = getattr(theirs, "layer_types", [SLIDING] * 7)
        assert [theirs.sliding_window if kind == SLIDING else None for kind in types] == expected


def test_a_pattern_is_as_short_as_can_be() -> None:
    assert read("gemma2", settings("gemma2", layer_types=[SLIDING, FULL] * 3 + [SLIDING])).attention.window_layers == "wf"


def test_another_kind_of_layer_is_refused() -> None:
    message = refused(lambda: read("gemma2", settings("gemma2", layer_types=["chunked_attention"] * 7)))
    assert "'chunked_attention', which is not built; built: sliding_attention, full_attention" in message


@pytest.mark.parametrize("family", ["gemma2", "qwen2"])
def test_a_kind_for_every_layer_or_none(family: str) -> None:
    source = settings(family, layer_types=[SLIDING, FULL] * 3)
    message = "config.json: layer_types names 6 layers, and num_hidden_layers is 7; make them equal"
    assert refused(lambda: read(family, source)) == message
    with pytest.raises(Exception, match="must be equal to the number of `layer_types`"):
        transformers.AutoConfig.for_model(**source)


def test_a_pattern_that_the_family_cannot_have() -> None:
    config = read("mistral", settings("mistral"))
    some = config.model_copy(update={"attention": config.attention.model_copy(update={"window_layers": "wf"})})
    assert "attention.window_layers" in refused(lambda: families()["mistral"].write_config(some))
