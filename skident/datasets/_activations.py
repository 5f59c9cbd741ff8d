"""Activations of a transformers language model, token by token, on disk."""

import contextlib
import hashlib
import json

import numpy as np
from sklearn.utils import Bunch

from skident.datasets._activation_files import (
    FORMAT,
    bunch_of,
    checked_path,
    is_whole,
    load_activations,
    write,
)


class _LayerReached(Exception):
    """Leaves the forward pass once the wanted layer has run."""


def extract_activations(
    model,
    tokenizer,
    texts,
    *,
    layer,
    path=None,
    max_tokens=None,
    max_length=256,
    skip_first_token=True,
    dtype="float16",
    batch_size=32,
    device="auto",
):
    """Activations of one layer of a language model on texts, one row a token.

    The forward pass stops after the layer, so that an early layer costs only its
    share of the model. Texts of similar length share a batch; the padding is masked
    and never stored.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Any model of the `transformers` library, or a module called in the same way.
        It is run in evaluation mode and given back as it came.
    tokenizer : transformers.PreTrainedTokenizerBase
        The model's tokenizer.
    texts : iterable of str
        The documents, read only as far as `max_tokens` asks for.
    layer : int or str
        Number of the block whose output is taken, that is the residual stream after
        it; 0 is the first block, -1 the last (before the final normalisation). A
        string is the dotted name of any submodule whose output has the shape
        (batch, length, width), such as ``"model.layers.3.mlp"``.
    path : str or path-like, default=None
        File to write, in numpy's format and ending in ``.npy``; what belongs to its
        rows goes to a second file, ``.npz`` instead of ``.npy``. If the two are there
        and were made from the same weights, tokens, layer and `dtype`, they are read
        and the model does not run; else they are replaced. They appear only when they
        are whole. None keeps the activations in memory.
    max_tokens : int, default=None
        Largest number of rows. The last text is run whole and its surplus rows are
        dropped. None keeps all.
    max_length : int, default=256
        Longest text, in tokens; the rest of a longer one is cut off.
    skip_first_token : bool, default=True
        Leave the first token of each text out. Language models use it as a sink of
        attention: its activation is near constant, does not depend on the token and
        can be a hundred times longer than any other.
    dtype : {"float16", "float32"}, default="float16"
        How the activations are stored. Half precision rounds to 11 significant bits
        and ends at 65504.
    batch_size : int, default=32
        Texts in a forward pass.
    device : str or None, default="auto"
        Where the model runs: "auto" is "cuda" if there is one, else "cpu"; None is
        where it is now, as needed for a model spread over several devices.

    Returns
    -------
    activations : :class:`~sklearn.utils.Bunch`
        X : ndarray of shape (n_tokens, width)
            The activations, in the model's units; a read-only :class:`numpy.memmap`
            when `path` is given.
        token_ids : ndarray of shape (n_tokens,)
            The token of each row, as the tokenizer numbers it.
        tokens : ndarray of shape (n_tokens,)
            The same as strings, with the leading space where the tokenizer has one.
        text_index : ndarray of shape (n_tokens,)
            Number of the text each row comes from.
        position : ndarray of shape (n_tokens,)
            Number of the token in its text.
        layer, model_name, fingerprint, DESCR : str
            What was extracted; `layer` is the submodule's dotted name.
        path : pathlib.Path or None
            Where `X` lies.

    Raises
    ------
    TypeError
        If `texts` is one string, or holds something other than strings.
    ValueError
        If the layer does not exist, a parameter is out of range, no token is left,
        or an activation is not finite in `dtype`.

    See Also
    --------
    load_activations : Read the files again, without the model.
    load_smollm2 : A small language model that a package brings along.

    Notes
    -----
    The fingerprint is a SHA-256 over the model's class, configuration and weights, the
    token numbers, the layer and `dtype`. `batch_size` and `device` are not in it: they
    change the result by rounding only.

    Examples
    --------
    >>> from skident.datasets import extract_activations, load_smollm2
    >>> lm = load_smollm2()  # doctest: +SKIP
    >>> acts = extract_activations(
    ...     lm.model, lm.tokenizer, ["The bee makes honey."], layer=9
    ... )  # doctest: +SKIP
    >>> acts.tokens, acts.X.shape  # doctest: +SKIP
    (array([' bee', ' makes', ' honey', '.'], dtype='<U6'), (4, 576))
    """
    if dtype not in ("float16", "float32"):
        raise ValueError(f"dtype must be 'float16' or 'float32', got {dtype!r}.")
    for name, value in (("max_tokens", max_tokens), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value!r}.")
    first = int(skip_first_token)
    if max_length <= first:
        raise ValueError(f"max_length must be at least {first + 1}, got {max_length}.")
    path = checked_path(path)
    name, module = _find_layer(model, layer)
    ids = _tokenize(tokenizer, texts, max_tokens, max_length, first)
    rows = _rows_of(ids, max_tokens, first)
    fingerprint = _fingerprint(model, ids, len(rows.token_ids), first, name, dtype)
    if path is not None and is_whole(path, fingerprint):
        return load_activations(path)

    vocabulary = np.unique(rows.token_ids)
    rows.update(
        fingerprint=fingerprint,
        layer=name,
        model_name=_model_name(model),
        first_token_skipped=bool(skip_first_token),
        vocabulary=vocabulary,
        strings=np.array([tokenizer.decode([int(i)]) for i in vocabulary]),
    )
    pad = getattr(tokenizer, "pad_token_id", None)
    wanted = [text for text in range(len(ids)) if len(ids[text]) > first]
    starts = np.concatenate([[0], np.cumsum([max(len(i) - first, 0) for i in ids])])
    n_rows = len(rows.token_ids)

    def fill(new_array):
        X = None
        batches = _forward(model, module, ids, wanted, pad, batch_size, device)
        with contextlib.closing(batches):
            for text, activation in batches:
                if X is None:
                    X = new_array((n_rows, activation.shape[1]))
                start = starts[text]
                kept = activation[first : first + n_rows - start]
                with np.errstate(over="ignore"):
                    X[start : start + len(kept)] = kept
                if not np.isfinite(X[start : start + len(kept)]).all():
                    _raise_not_finite(kept, rows, start, name, dtype)
        return X

    if path is None:
        return bunch_of(fill(lambda shape: np.empty(shape, dtype)), rows, None)
    write(path, fill, rows, dtype)
    return load_activations(path)


def _find_layer(model, layer):
    """Dotted name and module of the layer."""
    modules = dict(model.named_modules())
    if isinstance(layer, str):
        if layer not in modules:
            raise ValueError(
                f"{type(model).__name__} has no submodule named {layer!r}."
            )
        return layer, modules[layer]
    config = model.config
    if hasattr(config, "get_text_config"):
        config = config.get_text_config()
    n_blocks = config.num_hidden_layers
    # The stack of blocks is the outermost list of modules of that length: lists of the
    # same length inside a block (experts, say) are passed over.
    stacks = []
    for name, module in modules.items():
        if type(module).__name__ != "ModuleList" or len(module) != n_blocks:
            continue
        if not any(name.startswith(outer + ".") for outer in stacks):
            stacks.append(name)
    if len(stacks) != 1:
        raise ValueError(
            f"{type(model).__name__} has {len(stacks)} stacks of {n_blocks} blocks "
            f"({', '.join(stacks) or 'none'}): give layer as the dotted name of a "
            "submodule."
        )
    if not -n_blocks <= layer < n_blocks:
        raise ValueError(
            f"layer must be in [{-n_blocks}, {n_blocks - 1}] for this model of "
            f"{n_blocks} blocks, got {layer}."
        )
    name = f"{stacks[0]}.{layer % n_blocks}"
    return name, modules[name]


def _tokenize(tokenizer, texts, max_tokens, max_length, first):
    """Token numbers of as many texts as `max_tokens` rows need."""
    if isinstance(texts, str):
        raise TypeError("texts must be an iterable of str, got a single str.")
    ids, n_rows = [], 0
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(
                f"texts must hold str, got {type(text).__name__} at index {len(ids)}."
            )
        ids.append(tokenizer(text, truncation=True, max_length=max_length)["input_ids"])
        n_rows += max(len(ids[-1]) - first, 0)
        if max_tokens is not None and n_rows >= max_tokens:
            break
    if n_rows == 0:
        raise ValueError(
            f"No token is left of {len(ids)} texts"
            + (" once the first of each is skipped." if first else ".")
        )
    return ids


def _rows_of(ids, max_tokens, first):
    lengths = [max(len(i) - first, 0) for i in ids]
    rows = {
        "token_ids": np.concatenate([np.asarray(i[first:], dtype=int) for i in ids]),
        "text_index": np.repeat(np.arange(len(ids)), lengths),
        "position": np.concatenate([np.arange(n) + first for n in lengths]),
    }
    return Bunch(**{name: value[:max_tokens] for name, value in rows.items()})


def _model_name(model):
    name = getattr(model.config, "_name_or_path", "")
    return name or type(model).__name__


def _fingerprint(model, ids, n_rows, first, layer, dtype):
    import torch

    config = model.config.to_dict()
    # Neither the release nor the folder it came from changes what a model computes.
    for volatile in ("transformers_version", "_name_or_path", "quantization_config"):
        config.pop(volatile, None)
    head = [FORMAT, type(model).__name__, config, layer, dtype, n_rows, first, ids]
    digest = hashlib.sha256(json.dumps(head, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()


def _forward(model, module, ids, wanted, pad, batch_size, device):
    """Yield the number of each wanted text and its activations, (n_tokens, width)."""
    import torch

    home = next(model.parameters()).device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    target = home if device is None else torch.device(device)
    training = model.training
    reached = []

    def stop(_module, _inputs, output):
        reached.append(output if torch.is_tensor(output) else output[0])
        raise _LayerReached

    handle = module.register_forward_hook(stop)
    try:
        model.eval()
        if target != home:
            model.to(target)
        # The longest first: a batch too large for the memory fails at once.
        order = sorted(wanted, key=lambda text: -len(ids[text]))
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            # Padded here and on the right, whatever the tokenizer does: positions
            # then count from 0 in every model, and no pad token has to exist.
            shape = (len(batch), len(ids[batch[0]]))
            tokens = torch.full(shape, 0 if pad is None else pad)
            mask = torch.zeros(shape, dtype=torch.long)
            for row, text in enumerate(batch):
                tokens[row, : len(ids[text])] = torch.tensor(ids[text])
                mask[row, : len(ids[text])] = 1
            try:
                with torch.inference_mode():
                    model(input_ids=tokens.to(target), attention_mask=mask.to(target))
                raise ValueError(
                    "The layer did not run in the model's forward pass: give the "
                    "dotted name of a submodule that does."
                )
            except _LayerReached:
                hidden = reached.pop()
            if hidden.ndim != 3 or hidden.shape[:2] != shape:
                raise ValueError(
                    f"The layer's output has shape {tuple(hidden.shape)}; wanted "
                    f"(batch, length, width) with (batch, length) = {shape}."
                )
            hidden = hidden.float().cpu().numpy()
            for row, text in enumerate(batch):
                yield text, hidden[row, : len(ids[text])]
    finally:
        handle.remove()
        model.train(training)
        if target != home:
            model.to(home)


def _raise_not_finite(activation, rows, start, layer, dtype):
    largest = np.abs(activation).max(axis=1)
    limit = np.finfo(dtype).max
    # Negated so that NaN, which compares false with everything, is found too.
    row = np.flatnonzero(~(largest <= limit))[0]
    raise ValueError(
        f"The activation after {layer} of token {rows.position[start + row]} in text "
        f"{rows.text_index[start + row]} reaches {largest[row]:.3g}, which {dtype} "
        f"cannot hold (its largest number is {limit:.3g}). Use dtype='float32' or, "
        "for the first token of a text, skip_first_token=True."
    )
