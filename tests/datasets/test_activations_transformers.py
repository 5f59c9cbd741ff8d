"""extract_activations on models of the transformers library."""

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from skident.datasets import extract_activations

TEXTS = [
    "the bee makes honey",
    "a long day of the bee ends when the sun goes down",
    "honey",
    "the sun goes down and the long day ends",
]


@pytest.fixture(params=["left", "right"])
def tokenizer(request):
    words = sorted(set(" ".join(TEXTS).split()))
    vocabulary = {word: i for i, word in enumerate(["[UNK]", "[PAD]", *words])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="[UNK]",
        pad_token="[PAD]",
        padding_side=request.param,
    )


def make_model(kind):
    sizes = {
        "vocab_size": 40,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "llama":
            return LlamaForCausalLM(LlamaConfig(**sizes))
        if kind == "bert":
            return BertModel(BertConfig(**sizes))
        return GPT2Model(GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2))


@pytest.mark.parametrize("kind", ["llama", "bert", "gpt2"])
def test_equals_output_hidden_states(tokenizer, kind, tmp_path):
    model = make_model(kind).eval()
    acts = extract_activations(
        model,
        tokenizer,
        TEXTS,
        layer=0,
        path=tmp_path / "acts.npy",
        batch_size=3,
        device="cpu",
    )
    rows = []
    with torch.inference_mode():
        for text in TEXTS:
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            # Entry 0 is the embedding, entry 1 the stream after block 0.
            hidden = model(ids, output_hidden_states=True).hidden_states[1]
            rows.append(hidden[0, 1:].numpy())
    expected = np.concatenate(rows)
    # One rounding to float16, and float32 sums in another order.
    scale = np.abs(expected).max()
    np.testing.assert_allclose(acts.X, expected, rtol=2.0**-11, atol=1e-5 * scale)
    words = [word for text in TEXTS for word in text.split()[1:]]
    assert acts.tokens.tolist() == words


def test_bfloat16_model_has_its_own_fingerprint(tokenizer, tmp_path):
    model = make_model("llama")
    path = tmp_path / "acts.npy"
    first = extract_activations(model, tokenizer, TEXTS, layer=1, path=path)
    second = extract_activations(
        model.to(torch.bfloat16), tokenizer, TEXTS, layer=1, path=path
    )
    assert first.fingerprint != second.fingerprint
