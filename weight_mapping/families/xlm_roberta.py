"""XLM-RoBERTa (Conneau et al. 2020): RoBERTa on the text of a hundred languages."""

from dataclasses import replace

from weight_mapping.families.roberta import FAMILY as ROBERTA

FAMILY = replace(
    ROBERTA,
    name="xlm_roberta",
    model_type="xlm-roberta",
    architectures={f"XLM{name}": implied for name, implied in ROBERTA.architectures.items()},
    fields=tuple(replace(entry, default=30522) if entry.source == "vocab_size" else entry for entry in ROBERTA.fields),
    variants={},
)
