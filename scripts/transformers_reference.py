#!/usr/bin/env python3
"""Writes the embeddings that `transformers` computes, as the reference of the sidecar's parity test.

usage: transformers_reference.py [MODEL_DIR] > classifier/tests/fixtures/minilm_reference.json

Needs a separate environment, because nothing else here needs transformers:

    python3 -m venv /tmp/reference
    /tmp/reference/bin/pip install torch==2.11.0 transformers==5.23.0
    /tmp/reference/bin/python scripts/transformers_reference.py > classifier/tests/fixtures/minilm_reference.json
"""

import json
import sys

import torch
import transformers

MAX_TOKENS = 256

ENGLISH = "The quick brown fox jumps over the lazy dog, then writes a short report about it. "
TEXTS = [
    "",
    "a",
    "hello world",
    "Write a Python function that merges two sorted lists.",
    "  Leading blanks,\ttabs and\nline ends; ACCENTS: Ünïcödé, naïve café.  ",
    "東京の天気を教えてください。Как дела? 🙂🙂 ½ ﬁ",
    "def f(x: int) -> int:\n    return x ** 2  # squares\n\nprint(f(3))",
    "supercalifragilisticexpialidocious" * 3,
    ENGLISH * 2,
    ENGLISH * 6,
    ENGLISH * 12,
    ENGLISH * 40,
]


def read(tokenizer, text):
    """A text's token ids. Of a text that is too long, those of its two ends (docs/models.md)."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    budget = MAX_TOKENS - 2
    if len(ids) > budget:
        ids = ids[: (budget + 1) // 2] + ids[len(ids) - budget // 2 :]
    return [tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]


def embed(model, tokenizer, texts):
    """sentence-transformers' recipe for all-MiniLM-L6-v2: mean of the token vectors, then length 1."""
    batch = tokenizer.pad({"input_ids": [read(tokenizer, text) for text in texts]}, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1).float()
    mean = (hidden * mask).sum(1) / mask.sum(1)
    ids = [row[kept.bool()].tolist() for row, kept in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    return ids, torch.nn.functional.normalize(mean, dim=1)


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else "models/minilm"
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=f"{folder}/tokenizer.json", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()

    alone = [embed(model, tokenizer, [text]) for text in TEXTS]
    _, padded = embed(model, tokenizer, TEXTS)
    spread = max((one[0] - row).abs().max().item() for (_, one), row in zip(alone, padded, strict=True))
    print(f"alone against padded: {spread:.1e}", file=sys.stderr)

    cases = [
        {"text": text, "ids": ids[0], "embedding": [round(x, 7) for x in embedding[0].tolist()]}
        for text, (ids, embedding) in zip(TEXTS, alone, strict=True)
    ]
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    rows = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    print(f'{{"made_with": {json.dumps(versions)}, "cases": [\n{rows}\n]}}')


if __name__ == "__main__":
    main()
