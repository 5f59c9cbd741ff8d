"""A plain autoencoder, and what of its code is identified."""

import math
import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state

from skident.decomposition._autoencoder_report import (
    CHUNK_ROWS,
    FLAT,
    configure,
    location_and_scale,
    loss_of_constant,
    report,
)
from skident.utils import iterate
from skident.utils._copies import blank_copy, take_over
from skident.utils._explained import explained_variance
from skident.utils._kept_module import KeepsModule
from skident.utils._rows import split_rows
from skident.utils._sklearn import (
    CallbackSupportMixin,
    Interval,
    StrOptions,
    _fit_context,
    check_is_fitted,
    validate_data,
)
from skident.utils._validation import check_sample_weight

# Rows of the report: the Jacobian of a convolutional decoder is dear.
_REPORT_ROWS = {"mlp": 2000, "conv64": 200}
_JACOBIAN_ROWS = {"mlp": 500, "conv64": 20}


class AutoencoderTransformer(
    KeepsModule,
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Autoencoder with a linear code, the first half of autoencoder plus ICA.

    A vanilla autoencoder, with weight decay as its only regulariser: where its decoder
    is close to an isometry, two trainings give codes that agree up to a rigid motion
    [1]_. :class:`ICAPostProcessor` after it removes the rotation.

    Parameters
    ----------
    n_latents : int, default=10
        Width of the code.
    hidden : tuple of int, default=(256, 256)
        Widths of the dense layers between the input, or the convolutions, and the
        code; the decoder mirrors them. ``()`` with "mlp" is a linear autoencoder.
    architecture : {"mlp", "conv64"}, default="mlp"
        "conv64" takes images of 64 by 64 pixels and any number of channels, flattened
        to rows with the channel as last axis: ``images.reshape(len(images), -1)`` of an
        array (n_samples, 64, 64, n_channels).
    channels : tuple of int, default=(32, 64, 128, 256)
        Widths of the convolutional blocks of "conv64", one to five. Each has two
        convolutions of size 3 and one of size 4 that halves the side, with instance
        norm.
    activation : {"leaky_relu", "relu", "elu", "gelu", "silu", "tanh"}, \
            default="leaky_relu"
        After each layer but the code and the last.
    negative_slope : float, default=0.2
        Slope of "leaky_relu" below zero; 1 is the identity.
    loss : {"mse", "bce"}, default="mse"
        Squared error, or cross-entropy of values in [0, 1]; both a mean over entries.
    weight_decay : float, default=1e-3
        Decoupled weight decay (AdamW), which bounds the Lipschitz constant of the
        decoder. None is put on biases, norms and the code layer.
    clip : float or None, default=1.0
        Bound on each entry of the gradient.
    lr_schedule : {"cosine", "constant"}, default="cosine"
        Learning rate over the ``max_epochs``: down to zero by half a cosine, or
        constant.
    isometry_penalty : float, default=0.0
        Weight of a penalty on the decoder's departure from a scaled isometry,
        dimensionless; see Notes.
    max_epochs : int, default=200
        Passes over ``X``.
    batch_size : int, default=128
        Rows an optimiser step; clipped to the number of rows.
    learning_rate : float, default=1e-3
        Learning rate of AdamW at the start.
    tol : float, default=0.01
        Training counts as converged when, from one tenth of ``max_epochs`` to the
        next, the mean loss falls by no more than this share of the loss of the best
        constant row; with "mse" that is a share of the variance. A constant learning
        rate stops there. A cosine needs all its epochs, and makes any loss flat at
        their end: ``fit`` warns if the loss falls by more than that halfway.
    validation_fraction : float, default=0.0
        Share of the rows not trained on, from which ``validation_score_`` and
        ``history_["validation"]`` come.
    device : str, default="auto"
        Device of training and inference; "auto" is "cuda" if there is one, else "cpu".
    net_params : dict or None, default=None
        Further settings passed on to skorch: callbacks, optimizer, compile, autocast.
    verbose : int, default=0
        1 prints a line an epoch.
    random_state : int, RandomState instance or None, default=None
        Seed of the initialisation, the order of rows and the penalty's draws. On a CPU
        the same seed and thread count give the same bits; across devices, fits agree
        as fits of different seeds do.

    Attributes
    ----------
    module_ : torch.nn.Module
        The network, on the CPU and in evaluation mode, for rows
        ``(X - mean_) / scale_``; with methods ``encode`` and ``decode``.
    mean_ : ndarray of shape (n_features,)
        Mean of the training rows; zeros with "bce".
    scale_ : float
        Root mean square of the centred training entries, one for all features, which
        leaves isometries what they are; 1 with "bce".
    latent_dim_ : int
        Directions of the code with at least 1e-3 of the largest standard deviation.
    bilipschitz_ : tuple of two floats
        Smallest and largest stretch (lo, hi) of the decoder, singular values of its
        Jacobian at the codes of a sample of rows (500; 20 for "conv64"), in units of
        ``X`` per unit of code. See :func:`skident.metrics.bilipschitz_constants`.
    history_ : dict of ndarray of shape (n_epochs_,)
        Mean loss of each epoch ("total") and its terms, "reconstruction" and the
        unweighted "isometry" (zero without the penalty); "validation" is the
        reconstruction loss of the rows held out.
    n_epochs_ : int
        Passes over ``X``.
    validation_score_ : float
        Score on the rows held out; only with ``validation_fraction > 0``.
    identifiability_ : IdentifiabilityReport
        Whether the code is identified up to a rigid motion, and what says so.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, when ``X`` is a dataframe whose column names are strings.

    See Also
    --------
    IdentifiableSAE : Sparse codes on a dictionary, identified up to a signed
        permutation.

    Notes
    -----
    *Identified*: the code, up to one rigid motion (rotation, reflection, translation)
    and one scale, provided that rows are reproduced and that the decoder is near an
    isometry, and to an error that grows as sqrt(2 L + L^2) with the decoder's
    distortion L; its constants are not known, so no bound can be printed ([1]_, Theorem
    1). ``identifiability_`` tests with

    - the share of variance reproduced, at least 0.95 (a convention: the theorem asks
      for equality);
    - L = sqrt(hi / lo) - 1, at most sqrt(2) - 1, where the error reaches the scale of
      the data;
    - the rank of the code.

    Single latents mean nothing: the axes of the code are those of the seed. Where
    the data come from independent non-Gaussian factors, ICA finds them in the code
    ([1]_, Theorem 3).

    The isometry penalty is the variance of ``|J u|^2`` over codes and directions u of
    unit length, J being the decoder's Jacobian, divided by the squared mean. It is zero
    if and only if the decoder is an isometry times a constant, and estimated from one
    direction a row by a forward-mode product.

    A step on b rows costs O(b P) operations, P being the number of weights of "mlp"
    (for "conv64" about 5e8 multiplications a row with the default ``channels``), the
    penalty about as much again. Memory is O(n_samples n_features) for a float32 copy
    of ``X``.

    References
    ----------
    .. [1] Nelson, Fumero, Karaletsos and Locatello, "Statistical and structural
       identifiability in representation learning", ICLR 2026, arXiv:2603.11970.
    .. [2] Hsu, Dorrell, Whittington, Wu and Finn, "Disentanglement via latent
       quantization", NeurIPS 2023, arXiv:2305.18378. Recipe of "conv64".

    Examples
    --------
    >>> from skident.decomposition import AutoencoderTransformer
    >>> Z = np.random.default_rng(0).uniform(-1, 1, (1000, 2))
    >>> X = np.hstack([Z, Z[:, :1] + Z[:, 1:], Z[:, :1] - Z[:, 1:]])
    >>> ae = AutoencoderTransformer(
    ...     2, (32,), isometry_penalty=0.1, learning_rate=0.01, max_epochs=30,
    ...     random_state=0,
    ... )
    >>> ae.fit_transform(X).shape
    (1000, 2)
    >>> bool(ae.score(X) > 0.99), ae.identifiability_.ok
    (True, True)
    """

    _parameter_constraints: dict = {
        "n_latents": [Interval(Integral, 1, None, closed="left")],
        "hidden": [tuple, list],
        "architecture": [StrOptions({"mlp", "conv64"})],
        "channels": [tuple, list],
        "activation": [
            StrOptions({"leaky_relu", "relu", "elu", "gelu", "silu", "tanh"})
        ],
        "negative_slope": [Interval(Real, 0, 1, closed="both")],
        "loss": [StrOptions({"mse", "bce"})],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "clip": [Interval(Real, 0, None, closed="neither"), None],
        "lr_schedule": [StrOptions({"cosine", "constant"})],
        "isometry_penalty": [Interval(Real, 0, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "device": [str],
        "net_params": [dict, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_latents=10,
        hidden=(256, 256),
        *,
        architecture="mlp",
        channels=(32, 64, 128, 256),
        activation="leaky_relu",
        negative_slope=0.2,
        loss="mse",
        weight_decay=1e-3,
        clip=1.0,
        lr_schedule="cosine",
        isometry_penalty=0.0,
        max_epochs=200,
        batch_size=128,
        learning_rate=1e-3,
        tol=0.01,
        validation_fraction=0.0,
        device="auto",
        net_params=None,
        verbose=0,
        random_state=None,
    ):
        self.n_latents = n_latents
        self.hidden = hidden
        self.architecture = architecture
        self.channels = channels
        self.activation = activation
        self.negative_slope = negative_slope
        self.loss = loss
        self.weight_decay = weight_decay
        self.clip = clip
        self.lr_schedule = lr_schedule
        self.isometry_penalty = isometry_penalty
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.tol = tol
        self.validation_fraction = validation_fraction
        self.device = device
        self.net_params = net_params
        self.verbose = verbose
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Train on the rows of ``X``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, in any one unit: features of different units should be scaled before.
            At least two; values in [0, 1] with "bce".
        y : None
            Ignored.

        Returns
        -------
        self : AutoencoderTransformer

        Raises
        ------
        ValueError
            If ``X`` is malformed, not finite, out of [0, 1] with "bce", or not made
            of 64 by 64 images with "conv64".
        FloatingPointError
            If the loss is no longer finite; the message names the step.

        Warns
        -----
        IdentifiabilityWarning
            If these data contradict a tested assumption.
        ConvergenceWarning
            If the loss was still falling at the end.
        UserWarning
            If all rows are equal.
        """
        from skident.decomposition import _autoencoder_net as training

        # On a copy: whatever goes wrong, this estimator stays as it was.
        fitted = blank_copy(self, _learned)
        X = validate_data(
            fitted, X, dtype=[np.float32, np.float64], ensure_min_samples=2
        )
        config = configure(self, X)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        rng = np.random.default_rng(seed)
        train, held = split_rows(len(X), self.validation_fraction, rng)
        fitted.mean_, fitted.scale_ = location_and_scale(X, train, self.loss)
        rows = fitted._scaled(X, train)
        window = max(1, self.max_epochs // 10)
        unit = loss_of_constant(rows, self.loss)
        fitted.module_, fitted.history_ = training.train(
            self,
            config,
            rows,
            fitted._scaled(X, held) if len(held) else None,
            seed=seed,
            stop_at=(window, self.tol * unit),
            epochs=iterate(self, self.max_epochs, X, y),
        )
        losses = fitted.history_["total"]
        fitted.n_epochs_ = len(losses)
        if len(held):
            fitted.validation_score_ = fitted._explained(X, held)
        n_rows = min(_REPORT_ROWS[self.architecture], len(train))
        some = np.sort(rng.choice(train, n_rows, replace=False))
        fitted._examine(X, some, held)
        # What callbacks of scikit-learn keep on the estimator is not ours to drop.
        take_over(self, fitted, _learned)
        self._warn_if_unfinished(training.fall, window, unit)
        self.identifiability_.warn(self)
        return self

    def transform(self, X):
        """Codes of the rows of ``X``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        codes : ndarray of shape (n_samples, n_latents), float32
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float32, np.float64], reset=False)
        return np.concatenate(list(self._mapped("encode", self._blocks(X))))

    def inverse_transform(self, X):
        """Rows that codes stand for, in the units of the data.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_latents)
            Codes.

        Returns
        -------
        rows : ndarray of shape (n_samples, n_features), float32
        """
        check_is_fitted(self)
        codes = check_array(X, dtype=np.float32, input_name="X")
        if codes.shape[1] != self._n_features_out:
            raise ValueError(
                f"X must have {self._n_features_out} columns, one a latent; got "
                f"{codes.shape[1]}."
            )
        rows = [
            (piece * self.scale_ + self.mean_).astype(np.float32)
            for piece in self._mapped("decode", [codes])
        ]
        return np.concatenate(rows)

    def score(self, X, y=None, *, sample_weight=None):
        """Share of the variance of ``X`` that the reconstruction explains (R2).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts, in the error and in the variance.

        Returns
        -------
        score : float
            1 minus the squared error over the squared distance to the mean row, both
            summed over all features; at most 1. Rows that are all equal score 1 if
            reproduced, else 0.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float32, np.float64], reset=False)
        return self._explained(X, None, check_sample_weight(sample_weight, X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @property
    def _n_features_out(self):
        return self.module_.config["n_latents"]

    @staticmethod
    def _module_type():
        from skident.decomposition._autoencoder_net import Autoencoder

        return Autoencoder

    # --- rows in and out of the network ----------------------------------------------

    def _scaled(self, X, rows=None):
        """Some rows (all if None) as the network takes them."""
        X = X if rows is None else X[rows]
        # In the precision of X: large offsets leave float32 no digits.
        return ((X - self.mean_) / self.scale_).astype(np.float32)

    def _blocks(self, X, rows=None):
        """Scaled rows, in pieces."""
        rows = np.arange(len(X)) if rows is None else rows
        for low in range(0, len(rows), CHUNK_ROWS):
            yield self._scaled(X, rows[low : low + CHUNK_ROWS])

    def _mapped(self, method, blocks):
        from skident.decomposition import _autoencoder_net as training

        return training.mapped(self.module_, method, blocks, self.device)

    def _explained(self, X, rows, weights=None):
        """R2 of some rows; see :meth:`score`."""
        return explained_variance(self._residuals(X, rows), weights)

    def _residuals(self, X, rows):
        """Scaled rows and what the reconstruction leaves of them, in pieces."""
        for block in self._blocks(X, rows):
            made = np.concatenate(list(self._mapped("reconstruct", [block])))
            yield block, block.astype(np.float64) - made

    def _warn_if_unfinished(self, fall, window, unit):
        """Warn if the loss fell too fast at the end, or halfway along a cosine."""
        losses, when = self.history_["total"], "at the end"
        if self.lr_schedule == "cosine":
            when = "halfway"
            losses = losses[: max(2 * window, len(losses) // 2)]
        fell = fall(losses, window)
        if unit > 0 and fell > self.tol * unit:
            by = "" if math.isinf(fell) else f" by {fell / unit:.2g}"
            warnings.warn(
                f"The loss was still falling {when} of training{by} a tenth of "
                f"max_epochs={self.max_epochs}, where tol={self.tol} of the loss of a "
                f"constant; it ended at {self.history_['total'][-1] / unit:.3g}. "
                "Increase max_epochs or learning_rate.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _examine(self, X, rows, held):
        """Test the theorem's assumptions on some training rows and those held out."""
        from skident.decomposition import _autoencoder_net as training

        codes = np.concatenate(list(self._mapped("encode", self._blocks(X, rows))))
        stretch = training.stretch(
            self.module_, codes, self.scale_, _JACOBIAN_ROWS[self.architecture]
        )
        self.bilipschitz_ = (stretch.lower, stretch.upper)
        n_latents = codes.shape[1]
        spread = np.linalg.eigvalsh(np.atleast_2d(np.cov(codes.T, dtype=np.float64)))
        self.latent_dim_ = int(np.sum(spread > FLAT**2 * max(spread[-1], 0.0)))
        where = "rows held out" if len(held) else "rows trained on"
        self.identifiability_ = report(
            r2=self._explained(X, held if len(held) else rows),
            where=where,
            distortion=stretch.distortion,
            # Few rows span few directions, whatever the code.
            rank=self.latent_dim_ if len(codes) > n_latents else math.nan,
            n_latents=n_latents,
        )


def _learned(name):
    return name.endswith("_")
