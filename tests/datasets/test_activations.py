"""extract_activations against the hidden states computed text by text."""

import numpy as np
import pytest
import torch
from torch import nn

from skident.datasets import extract_activations, load_activations

WIDTH = 16
TEXTS = [
    "the bee makes honey",
    "a",
    "",
    "the long day of the bee ends when the sun goes down and the bee flies home",
    "honey is sweet",
    "sun",
    "the day is long",
]
# Half the spacing of float16 numbers, relative: one rounding.
HALF_ULP = 2.0**-11


class Tokenizer:
    """Splits at spaces; numbers the words in the order in which it meets them."""

    pad_token_id = None

    def __init__(self):
        self.words = []

    def __call__(self, text, truncation, max_length):
        assert truncation
        words = text.split()[:max_length]
        self.words += [word for word in words if word not in self.words]
        return {"input_ids": [self.words.index(word) for word in words]}

    def decode(self, ids):
        return " ".join(self.words[i] for i in ids)


class Config:
    _name_or_path = "tiny"
    num_hidden_layers = 3

    def to_dict(self):
        return {"num_hidden_layers": 3, "_name_or_path": "tiny"}


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        # As many as there are blocks, to be told from the stack of blocks.
        self.experts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.dropout = nn.Dropout(0.5)

    def forward(self, hidden, padded):
        mixed, _ = self.attention(
            hidden, hidden, hidden, key_padding_mask=padded, need_weights=False
        )
        hidden = hidden + mixed
        for expert in self.experts:
            hidden = hidden + torch.tanh(expert(hidden))
        return (self.dropout(hidden),)


class Model(nn.Module):
    """Attends in both directions, so that any token that leaks changes all rows."""

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(40, WIDTH)
            self.blocks = nn.ModuleList(Block() for _ in range(3))
            self.unused = nn.Linear(WIDTH, WIDTH)
        self.config = Config()
        self.calls = 0

    def forward(self, input_ids, attention_mask):
        self.calls += 1
        hidden = self.embedding(input_ids)
        for block in self.blocks:
            (hidden,) = block(hidden, attention_mask == 0)
        return hidden


def naive(model, texts, layer, first=1, max_length=256):
    """Activations text by text: no batch, no padding, no hook."""
    tokenizer = Tokenizer()
    model.eval()
    rows = []
    with torch.inference_mode():
        for text in texts:
            ids = tokenizer(text, truncation=True, max_length=max_length)["input_ids"]
            if len(ids) <= first:
                continue
            hidden = model.embedding(torch.tensor([ids]))
            for block in model.blocks[: layer + 1]:
                (hidden,) = block(hidden, torch.zeros(1, len(ids), dtype=torch.bool))
            rows.append(hidden[0, first:].numpy())
    return np.concatenate(rows)


def extract(model=None, texts=TEXTS, **params):
    params = {"layer": 1, "device": "cpu", "batch_size": 3, **params}
    return extract_activations(model or Model(), Tokenizer(), texts, **params)


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("skip_first_token", [True, False])
def test_equals_the_hidden_states_text_by_text(layer, batch_size, skip_first_token):
    model = Model()
    acts = extract(
        model,
        layer=layer,
        batch_size=batch_size,
        dtype="float32",
        skip_first_token=skip_first_token,
    )
    expected = naive(model, TEXTS, layer, first=int(skip_first_token))
    # Sums of some hundred float32 products in another order.
    np.testing.assert_allclose(acts.X, expected, rtol=0, atol=100 * np.float32(2**-23))


def test_float16_on_disk_is_one_rounding_away(tmp_path):
    model = Model()
    exact = extract(model, dtype="float32").X
    acts = extract(model, path=tmp_path / "acts.npy")
    assert isinstance(acts.X, np.memmap)
    assert acts.X.dtype == np.float16
    assert not acts.X.flags.writeable
    np.testing.assert_allclose(acts.X, exact, rtol=HALF_ULP, atol=2.0**-25)
    np.testing.assert_array_equal(np.load(acts.path), extract(model).X)


def test_rows_are_described():
    acts = extract()
    words = [text.split()[1:] for text in TEXTS]
    assert acts.tokens.tolist() == [word for text in words for word in text]
    assert acts.text_index.tolist() == [i for i, w in enumerate(words) for _ in w]
    assert acts.position.tolist() == [j + 1 for w in words for j in range(len(w))]
    assert acts.layer == "blocks.1"
    assert acts.model_name == "tiny"
    assert "blocks.1" in acts.DESCR and f"width {WIDTH}" in acts.DESCR


def test_later_blocks_do_not_run():
    model = Model()
    seen = []
    for number, block in enumerate(model.blocks):
        block.register_forward_pre_hook(lambda *_, number=number: seen.append(number))
    extract(model, layer=-2, batch_size=100)
    assert seen == [0, 1]


def test_layer_by_name():
    model = Model()
    np.testing.assert_array_equal(
        extract(model, layer="blocks.1.dropout").X, extract(model, layer=1).X
    )


@pytest.mark.parametrize("max_tokens", [1, 3, 4, 10, 1000])
def test_max_tokens_are_the_first_rows(max_tokens):
    everything = extract(dtype="float32")
    acts = extract(dtype="float32", max_tokens=max_tokens, batch_size=1)
    n_rows = min(max_tokens, len(everything.X))
    assert acts.X.shape == (n_rows, WIDTH)
    # The last text is cut only once it has run whole: its rows keep their values.
    np.testing.assert_allclose(acts.X, everything.X[:n_rows], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(acts.tokens, everything.tokens[:n_rows])


def test_max_tokens_reads_no_text_too_many():
    def texts():
        yield from TEXTS[:2]
        raise AssertionError("read too far")

    assert len(extract(texts=texts(), max_tokens=3).X) == 3


def test_max_length_cuts_the_text():
    acts = extract(max_length=4, dtype="float32")
    expected = naive(Model(), TEXTS, 1, max_length=4)
    np.testing.assert_allclose(acts.X, expected, rtol=0, atol=1e-5)
    assert acts.position.max() == 3


def test_model_comes_back_as_it_was():
    model = Model().train()
    extract(model)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


class TestCache:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "deep" / "acts.npy"

    def test_second_call_runs_nothing(self, path):
        model = Model()
        first = extract(model, path=path)
        calls = model.calls
        second = extract(model, path=path, batch_size=1)
        assert model.calls == calls > 0
        assert second.fingerprint == first.fingerprint
        for name in ("X", "token_ids", "tokens", "text_index", "position"):
            np.testing.assert_array_equal(first[name], second[name])

    def test_same_weights_in_another_object_hit(self, path):
        extract(path=path)
        model = Model()
        extract(model, path=path)
        assert model.calls == 0

    @pytest.mark.parametrize(
        "change",
        [
            {"texts": TEXTS[:-1]},
            {"texts": [*TEXTS[:-1], "the day is short"]},
            {"layer": 0},
            {"max_tokens": 5},
            {"max_length": 3},
            {"skip_first_token": False},
            {"dtype": "float32"},
            {"model": Model(seed=1)},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_any_change_replaces_it(self, path, change):
        old = extract(path=path)
        new = extract(path=path, **change)
        assert new.fingerprint != old.fingerprint
        np.testing.assert_array_equal(new.X, extract(**change).X)
        assert load_activations(path).fingerprint == new.fingerprint

    def test_one_weight_is_enough_to_miss(self, path):
        model = Model()
        extract(model, path=path)
        with torch.no_grad():
            model.blocks[0].experts[0].bias[3] += 1e-3
        calls = model.calls
        extract(model, path=path)
        assert model.calls > calls

    def test_interrupted_write_leaves_nothing(self, path):
        model = Model()

        def interrupt(*_):
            if model.calls == 2:
                raise KeyboardInterrupt

        handle = model.blocks[0].register_forward_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            extract(model, path=path, batch_size=1)
        assert list(path.parent.iterdir()) == []
        with pytest.raises(FileNotFoundError):
            load_activations(path)
        handle.remove()
        np.testing.assert_array_equal(extract(model, path=path).X, extract(model).X)

    def test_interrupted_rewrite_keeps_the_old_pair(self, path):
        old = np.array(extract(path=path).X)
        model = Model(seed=1)
        model.blocks[1].register_forward_pre_hook(_raise_interrupt)
        with pytest.raises(KeyboardInterrupt):
            extract(model, path=path)
        np.testing.assert_array_equal(load_activations(path).X, old)

    def test_array_without_its_rows_is_not_read(self, path):
        # What a stop between the two renames leaves.
        extract(path=path)
        path.with_suffix(".npz").unlink()
        with pytest.raises(FileNotFoundError):
            load_activations(path)
        model = Model()
        extract(model, path=path)
        assert model.calls > 0

    @pytest.mark.parametrize("suffix", [".npy", ".npz"])
    @pytest.mark.parametrize("size", [0, 200])
    def test_damaged_files_are_not_read(self, path, suffix, size):
        extract(path=path)
        damaged = path.with_suffix(suffix)
        damaged.write_bytes(damaged.read_bytes()[:size])
        with pytest.raises(ValueError, match="is not whole"):
            load_activations(path)
        model = Model()
        np.testing.assert_array_equal(extract(model, path=path).X, extract().X)
        assert model.calls > 0

    def test_files_of_different_runs_are_not_read(self, path):
        extract(path=path)
        other = extract(path=path.with_name("other.npy"), max_tokens=5)
        path.write_bytes(other.path.read_bytes())
        with pytest.raises(ValueError, match="do not belong together"):
            load_activations(path)


def _raise_interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("value", [1e6, np.nan, -np.inf])
def test_what_float16_cannot_hold_is_an_error(tmp_path, value):
    class Spoilt(Model):
        def forward(self, input_ids, attention_mask):
            self.calls += 1
            hidden = self.embedding(input_ids)
            # The second token of each text only.
            hidden[:, 1, 5] = value
            return self.blocks[0].dropout(hidden)

    path = tmp_path / "acts.npy"
    message = r"of token 1 in text 3 reaches \S+, which float16 cannot hold"
    with pytest.raises(ValueError, match=message):
        extract(Spoilt(), layer="blocks.0.dropout", path=path)
    assert list(tmp_path.iterdir()) == []
    if value == 1e6:
        acts = extract(Spoilt(), layer="blocks.0.dropout", dtype="float32")
        assert acts.X.max() == 1e6


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"layer": 3}, ValueError, r"layer must be in \[-3, 2\]"),
        ({"layer": "nothing"}, ValueError, "no submodule named 'nothing'"),
        ({"layer": "unused"}, ValueError, "did not run"),
        ({"layer": "blocks.0.attention"}, None, None),
        ({"texts": "one text"}, TypeError, "got a single str"),
        ({"texts": ["a b", 3]}, TypeError, "got int at index 1"),
        ({"texts": ["", "a"]}, ValueError, "No token is left of 2 texts once"),
        ({"texts": []}, ValueError, "No token is left of 0 texts"),
        ({"dtype": "float64"}, ValueError, "dtype must be"),
        ({"max_tokens": 0}, ValueError, "max_tokens must be at least 1"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"max_length": 1}, ValueError, "max_length must be at least 2"),
        ({"path": "acts.bin"}, ValueError, "must end in '.npy'"),
    ],
)
def test_wrong_parameters(params, error, message):
    if error is None:
        assert extract(**params).X.shape[1] == WIDTH
        return
    with pytest.raises(error, match=message):
        extract(**params)


def test_output_of_another_shape_is_an_error():
    class Flat(Model):
        def forward(self, input_ids, attention_mask):
            return self.unused(self.embedding(input_ids).mean(1))

    with pytest.raises(ValueError, match=r"output has shape \(3, 16\)"):
        extract(Flat(), layer="unused")


def test_two_stacks_ask_for_a_name():
    model = Model()
    model.decoder = nn.ModuleList(nn.Identity() for _ in range(3))
    with pytest.raises(ValueError, match=r"2 stacks of 3 blocks \(blocks, decoder\)"):
        extract(model)


@pytest.mark.gpu
def test_gpu_equals_cpu_to_rounding():
    model = Model()
    on_gpu = extract(model, device="auto", dtype="float32").X
    assert next(model.parameters()).device.type == "cpu"
    # TF32 products, should they be on, keep 11 bits.
    np.testing.assert_allclose(on_gpu, extract(model, dtype="float32").X, atol=2e-2)
