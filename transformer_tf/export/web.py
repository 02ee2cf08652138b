"""A web page: a model that runs in whoever's browser opens it, with LiteRT.js, and nothing that is typed there leaves it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs import GenerationConfig, UserError, build
from configs.parts import PatchInputs
from configs.text import Tokenizer, file_in
from transformer_tf.export.check import Checked
from transformer_tf.export.litert import export_litert
from transformer_tf.export.shapes import static_length
from transformer_tf.export.signatures import with_length
from transformer_tf.model import Transformer
from weight_mapping import whole_folder
from weight_mapping.checkpoint import read_json
from weight_mapping.images import read_pixel_settings

PAGE = Path(__file__).parent / "page"
# What a page does, by the model's head and inputs; `page/tasks.js` has these tasks.
TASKS = {
    ("language_model", "tokens"): "continue",
    ("masked_language_model", "tokens"): "fill",
    ("classification", "tokens"): "classify",
    ("classification", "patches"): "look",
    ("none", "tokens"): "compare",
}
# From the npm registry, and what a page needs of each.
PACKAGES = {
    "@litertjs/core": ("2.5.3", "dist/index.js", ("wasm/litert_wasm_internal.*", "wasm/litert_wasm_compat_internal.*")),
    "@litertjs/wasm-utils": ("2.5.3", "dist/index.js", ()),
    "@huggingface/tokenizers": ("0.2.0", "dist/tokenizers.min.mjs", ()),
}
CDN = "https://cdn.jsdelivr.net/npm"
MASKS = ("[MASK]", "<mask>")


def export_web(
    model: Transformer,
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    weights: str = "float32",
    length: int | None = None,
    runtime: str | os.PathLike[str] | None = None,
    title: str | None = None,
    **settings: Any,
) -> list[Checked]:
    """Write a page into a new folder: `model.tflite`, as `export_litert` makes it for one set of shapes, the tokenizer, and what shows
    them. Any server of files serves it.

    source: the folder that the model was loaded from, whose tokenizer.json or preprocessor_config.json comes along. weights, settings: as
    in `export_litert`. length: ids that the page reads at most, as in `signatures`. runtime: a `node_modules` with the PACKAGES, which are
    copied; otherwise the page fetches them from jsdelivr.net. title: the page's. Default: the folder's name.

    Returns the file's signatures, and how far they are from the model. Raises UserError for a model that a page cannot show, for a folder
    that is not empty, for a runtime that is not there, and for what `export_litert` refuses.
    """
    folder, config = Path(source), model.config
    task = TASKS.get((config.head.kind, config.inputs.kind))
    if task is None or (config.architecture == "encoder_decoder" and task != "continue"):
        shown = f"head.kind={config.head.kind!r} of an {config.architecture} of {config.inputs.kind}"
        raise UserError(f"no page shows {shown} yet; export it as LiteRT, with --static")
    packages = imports(None if runtime is None else Path(runtime))
    card = {"title": title or folder.resolve().name, **described(model, task, folder, length, settings)}
    with whole_folder(destination) as page:
        found = export_litert(model, page / "model.tflite", weights, static=True, length=length, **settings)
        if card["tokenizer"]:
            shutil.copy(file_in(folder), page / "tokenizer.json")
        if runtime is not None:
            copy_packages(Path(runtime), page / "node_modules")
        for file in PAGE.iterdir():
            content = file.read_text(encoding="utf-8").replace("IMPORTS", json.dumps({"imports": packages}))
            (page / file.name).write_text(content, encoding="utf-8")
        (page / "model.json").write_text(json.dumps(card, indent=1, ensure_ascii=False), encoding="utf-8")
    return found


def described(model: Transformer, task: str, folder: Path, length: int | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the page has to know of its model."""
    config = model.config
    card: dict[str, Any] = {
        "task": "answer" if config.architecture == "encoder_decoder" and task == "continue" else task,
        "architecture": config.architecture,
        "labels": config.head.labels,
        "problem_type": config.head.problem_type,
        "tokenizer": config.inputs.kind == "tokens",
    }
    if isinstance(config.inputs, PatchInputs):
        return card | {"image": pixels(config.inputs, folder), "examples": {}}
    tokenizer = Tokenizer(folder)
    room = with_length(model, dict(settings))["max_length"] if task == "continue" else None
    generation = build(GenerationConfig, GenerationConfig.merged(model.generation_config, dict(settings)), "settings").complete(config)
    padding = config.special_tokens.pad or 0
    if task == "continue" and config.architecture == "decoder":
        # No text goes on behind its end, so that nothing is mistaken for one.
        padding = next(iter(generation.eos_token_id or ()), padding)
        refuse_what_counts_padding(generation)
    masks = {token: number for token in MASKS if (number := tokenizer.inner.token_to_id(token)) is not None}
    mask_token, mask = next(iter(masks.items()), (None, None))
    if task == "fill" and mask is None:
        raise UserError(f"{folder}/tokenizer.json has none of the tokens {' and '.join(MASKS)}, and a page is to fill them")
    return card | {
        "length": static_length(config, length, room),
        "max_length": room,
        "vocab_size": config.vocab_size,
        "pad": padding,
        "source_ends": config.special_tokens.eos,
        "eos": generation.eos_token_id,
        "mask": mask,
        "mask_token": mask_token,
        "examples": {"text": f"The capital of France is {mask_token}."} if task == "fill" else {},
    }


def refuse_what_counts_padding(generation: GenerationConfig) -> None:
    """A page fills a prompt up on the left, and these settings would act on what it is filled with."""
    if generation.min_length:
        raise UserError(f"min_length={generation.min_length} would count what a page fills prompts up with; set min_new_tokens")
    if generation.forced_bos_token_id is not None:
        raise UserError("forced_bos_token_id follows prompts of one token, and a page's are filled up; leave it out")
    looks_back = bool(generation.no_repeat_ngram_size) or any(len(word) > 1 for word in generation.bad_words_ids)
    if generation.no_repeat_ngram_size == 1 or (looks_back and not generation.eos_token_id):
        asked = "no_repeat_ngram_size" if generation.no_repeat_ngram_size else "bad_words_ids"
        raise UserError(f"{asked} would act on what a page fills prompts up with; leave it out, or set an eos_token_id and more tokens")


def pixels(inputs: PatchInputs, folder: Path) -> dict[str, Any]:
    """The size of a picture, and what becomes of its pixels."""
    if inputs.num_channels not in (1, 3):
        raise UserError(f"the model takes {inputs.num_channels} channels, and a page gives 1 or 3; export it as LiteRT, with --static")
    scale, mean, deviation = read_pixel_settings(folder, inputs.num_channels)
    size = {"size": inputs.image_size, "channels": inputs.num_channels}
    return size | {"scale": scale, "mean": mean, "deviation": deviation}


def imports(runtime: Path | None) -> dict[str, str]:
    """Where the page finds each package. Raises UserError for a runtime that lacks one, or has another version of it."""
    found = {}
    for name, (version, entry, _) in PACKAGES.items():
        if runtime is None:
            found[name] = f"{CDN}/{name}@{version}/{entry}"
            continue
        file = runtime / name / "package.json"
        here = f"version {read_json(file).get('version')}" if file.is_file() else "none"
        if here != f"version {version}":
            asked = " ".join(f"{name}@{version}" for name, (version, *_) in PACKAGES.items())
            raise UserError(f"{runtime} has {here} of {name}, and {version} is needed; npm install {asked}")
        found[name] = f"./node_modules/{name}/{entry}"
    return found


def copy_packages(runtime: Path, destination: Path) -> None:
    """What a page needs of each package, with its licence."""
    for name, (_, entry, others) in PACKAGES.items():
        for pattern in (entry, "package.json", "LICENSE", *others):
            for file in (runtime / name).glob(pattern):
                copy = destination / name / file.relative_to(runtime / name)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, copy)
