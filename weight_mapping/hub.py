"""Folders and hub names. A hub that cannot be reached is an error within seconds."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import urlparse

from configs import UserError

# Other files of weights repeat these: of another type, or for another program, in folders of their own.
PATTERNS = ["*.json", "model*.safetensors", "pytorch_model*.safetensors", "tokenizer*", "*.txt", "*.model", "*.spm", "*.jinja"]
# Folders, and the same weights once more, as a large Whisper has them.
LEFT_OUT = ["*/*", "model.fp32*"]


def local_folder(source: str | os.PathLike[str]) -> Path:
    """The folder of a checkpoint: `source` itself, or a hub's model under that name, fetched or from the cache."""
    path = Path(source)
    if path.is_dir():
        return path
    name = str(source)
    if path.exists():
        raise UserError(f"{name} is a file; name the folder that holds it")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"no folder {name}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        cached = Path(snapshot_download(name, allow_patterns=PATTERNS, ignore_patterns=LEFT_OUT, local_files_only=True))
        # Another program may have fetched the tokenizer alone.
        if any(cached.glob("*.safetensors")):
            return cached
        raise ValueError
    except (LocalEntryNotFoundError, ValueError):
        require_hub(f"no folder {name}, and no model of that name in the cache", "name a local folder")
    try:
        fetched = Path(snapshot_download(name, allow_patterns=PATTERNS, ignore_patterns=LEFT_OUT))
    except Exception as error:  # a proxy's errors and many more have no class in common
        raise UserError(f"{name}: not found on the hub ({' '.join(str(error).split())}); check the name, or name a local folder") from None
    if not any(fetched.glob("*.safetensors")):
        raise UserError(
            f"{name}: the hub has no model.safetensors of it, and pickles, which can run code, are not read; write it anew with "
            f"transformers: AutoModel.from_pretrained({name!r}).save_pretrained(FOLDER), with the class of its head, and name that folder"
        )
    return fetched


def require_hub(what: str, instead: str) -> None:
    """Fail at once where the hub cannot be reached."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise UserError(f"{what}, and HF_HUB_OFFLINE is set; unset it or {instead}")
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return
    address = urlparse(constants.ENDPOINT)
    try:
        socket.create_connection((address.hostname or "", address.port or 443), timeout=5).close()
    except OSError as error:
        raise UserError(f"{what}, and the hub cannot be reached ({error}); {instead}") from None
