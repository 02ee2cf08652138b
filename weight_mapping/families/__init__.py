"""The families, found by themselves: every file in this folder that holds a FAMILY."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

from configs import UserError, nearest
from weight_mapping.family import Family


@cache
def families() -> dict[str, Family]:
    """Every family by its name."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return {module.FAMILY.name: module.FAMILY for module in modules}


def get_family(name: str) -> Family:
    if name not in families():
        raise UserError(f"no family {name!r}{nearest(name, families())}")
    return families()[name]


def family_of(source: Mapping[str, Any], where: str, architecture: str | None = None) -> Family:
    """The family of a config.json by its `model_type`; architecture: Hugging Face's class, where a file holds several models."""
    model_type = source.get("model_type")
    for family in families().values():
        if family.model_type == model_type:
            return family
    inside = {name: family for family in families().values() if str(model_type) in family.inside for name in family.architectures}
    if architecture in inside:
        return inside[architecture]
    if inside:
        wrong = "" if architecture is None else f", and {architecture!r} is none of them{nearest(architecture, inside)}"
        raise UserError(
            f"{where}: model_type {model_type!r} holds several models, one of which is read at a time{wrong}; --architecture NAME, or "
            f"load(..., architecture=NAME) in Python, says which: {', '.join(inside)}"
        )
    raise UserError(
        f"{where}: model_type is {model_type!r}, which is not built"
        f"{nearest(str(model_type), [family.model_type for family in families().values()])}"
    )
