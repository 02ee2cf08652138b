"""docs/mechanisms.md is drawn from the presets, and names every family that is built."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from configs import load_model_config
from weight_mapping import families

DOCS = Path(__file__).parents[2] / "docs"


def load(name: str) -> ModuleType:
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Where a dataclass looks for what its annotations name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def tabulate() -> ModuleType:
    return load("tabulate")


def test_the_page_is_what_the_presets_say() -> None:
    assert (DOCS / "mechanisms.md").read_text(encoding="utf-8") == tabulate().page(), "run python docs/tabulate.py"


def test_every_family_has_a_row() -> None:
    assert {load_model_config(preset).family for preset in tabulate().PRESETS} == set(families())


def test_every_family_and_every_preset_has_its_lines() -> None:
    table = "\n".join(tabulate().costs())
    assert all(f"| `{family}` | " in table for family in families())
    presets = (DOCS.parent / "configs" / "models").glob("*.yaml")
    assert all(f"`{preset.stem}` {len(preset.read_text().splitlines())}" in table for preset in presets)
