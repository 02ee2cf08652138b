"""The walk through the code in docs/reading.md names what is there, in both packages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("transformer_torch", "transformer_tf")
SECTIONS = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8").split("\n## ")[1:-1]
# What one framework alone has.
ONLY = {"fused_attention": "transformer_torch"}


def files(name: str, package: str) -> list[Path]:
    """A file that stands there with its folder, or that a package or the families have."""
    found = [ROOT / name, ROOT / package / name, ROOT / "weight_mapping" / "families" / name]
    return [path for path in found if path.is_file()]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition("\n")[0])
@pytest.mark.parametrize("package", PACKAGES)
def test_each_name_stands_in_a_file_of_its_section(package: str, section: str) -> None:
    named = re.findall(r"`([^`\n]+)`", section)
    paths = [name for name in named if name.endswith(".py")]
    assert not [name for name in paths if not files(name, package)]
    text = "\n".join(path.read_text(encoding="utf-8") for name in paths for path in files(name, package))
    dotted = [name for name in named if re.fullmatch(r"[\w.]+", name) and not name.endswith((".py", ".md", ".yaml"))]
    names = [part for name in dotted for part in name.split(".") if ONLY.get(part, package) == package]
    assert not [name for name in names if not re.search(rf"\b{name}\b", text)]
