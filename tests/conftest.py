"""Settings for every test: no hub, no chatter. Nothing heavy is imported here."""

import gc
import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


def pytest_collection_finish() -> None:
    """What is there after collection are the libraries, millions of objects that the garbage collector need not look through again."""
    gc.collect()
    gc.freeze()
