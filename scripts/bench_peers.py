"""The peers of the classifier in Python: each embeds one text at a time, with the sidecar's weights."""

import pathlib
from collections.abc import Callable

import onnxruntime
import torch
import transformers
from onnxruntime.quantization import QuantType, quantize_dynamic

REPO = pathlib.Path(__file__).resolve().parent.parent
MODEL = REPO / "models" / "minilm"
ONNX = REPO / "target" / "peers"
MAX_TOKENS = 512
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
"""Files that the peers do not read. Merged into the weights, an adapter costs no time."""

Embed = Callable[[str], torch.Tensor]


class SentenceEncoder(torch.nn.Module):
    """sentence-transformers' recipe for all-MiniLM-L6-v2: mean of the token vectors, then length 1."""

    def __init__(self, attention: str) -> None:
        super().__init__()
        self.encoder = transformers.BertModel.from_pretrained(
            MODEL, add_pooling_layer=False, attn_implementation=attention
        )
        self.eval()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)


def load(threads: int) -> dict[str, Embed]:
    """All peers by name."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(threads)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(MODEL / "tokenizer.json"), pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    eager, sdpa = SentenceEncoder("eager"), SentenceEncoder("sdpa")
    fp32, int8 = _export(eager)
    peers = {
        "transformers, eager": _torch(eager, tokenizer),
        "transformers, sdpa": _torch(sdpa, tokenizer),
        "onnxruntime, fp32": _onnx(fp32, tokenizer, threads),
        "onnxruntime, int8": _onnx(int8, tokenizer, threads),
    }
    _check(peers)
    return peers


def _export(model: SentenceEncoder) -> tuple[pathlib.Path, pathlib.Path]:
    """Exports the model for onnxruntime, and a copy with its dynamic quantization, with a scale per channel."""
    fp32, int8 = ONNX / "fp32.onnx", ONNX / "int8.onnx"
    if int8.exists():
        return fp32, int8
    ONNX.mkdir(parents=True, exist_ok=True)
    ids = torch.randint(1000, 2000, (2, 16))
    mask = torch.ones_like(ids)
    mask[1, 10:] = 0
    names = ["input_ids", "attention_mask"]
    axes = {name: {0: "texts", 1: "tokens"} for name in names} | {"embedding": {0: "texts"}}
    with torch.no_grad():
        torch.onnx.export(
            model, (ids, mask), fp32, input_names=names, output_names=["embedding"], dynamic_axes=axes, dynamo=False
        )
    unfinished = int8.with_suffix(".unfinished")
    quantize_dynamic(fp32, unfinished, per_channel=True, weight_type=QuantType.QInt8)
    unfinished.rename(int8)
    return fp32, int8


def _torch(model: SentenceEncoder, tokenizer) -> Embed:
    def embed(text: str) -> torch.Tensor:
        with torch.inference_mode():
            return model(**_tokens(tokenizer, text, "pt"))[0]

    return embed


def _onnx(path: pathlib.Path, tokenizer, threads: int) -> Embed:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def embed(text: str) -> torch.Tensor:
        return torch.from_numpy(session.run(None, dict(_tokens(tokenizer, text, "np")))[0][0])

    return embed


def _tokens(tokenizer, text: str, kind: str):
    return tokenizer(
        [text],
        truncation=True,
        max_length=MAX_TOKENS,
        return_token_type_ids=False,
        return_tensors=kind,
    )


def _check(peers: dict[str, Embed]) -> None:
    """Fails if a peer computes another embedding."""
    text = "Please read what our customers wrote last week, and say which of their wishes are new."
    expected = peers["transformers, eager"](text)
    for name, embed in peers.items():
        cosine = torch.dot(embed(text), expected).item()
        least = 0.95 if "int8" in name else 0.9999
        if cosine < least:
            raise SystemExit(f"error: {name} has another embedding than transformers (cosine {cosine:.4f})")
