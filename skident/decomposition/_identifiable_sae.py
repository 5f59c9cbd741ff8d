"""Sparse autoencoders whose dictionary and codes come back from run to run."""

from numbers import Integral, Real
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils import check_array, check_random_state

from skident.decomposition._identifiable_sae_report import (
    CHUNK_ROWS,
    MAX_SEED,
    check_start,
    examine,
    explained,
    plan_fit,
    sizes,
    warn_of_fit,
)
from skident.solvers import batched_omp
from skident.utils import iterate
from skident.utils._checkpoint import remove_checkpoint
from skident.utils._rows import restore_rows, scale_rows
from skident.utils._shards import check_shards
from skident.utils._sklearn import (
    CallbackSupportMixin,
    Interval,
    StrOptions,
    _fit_context,
    _is_fitted,
    check_is_fitted,
)


class IdentifiableSAE(
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Sparse autoencoder with stable dictionary and codes (iSAE, iSAE-ME).

    Rows become codes with at most ``n_active`` nonzeros on a dictionary of
    ``n_components`` unit atoms, larger than the number of features. Signed codes, a
    penalty on how far the atoms that compete for a row are from orthonormal, and (in
    "isae_me") an encoder of several steps make two trainings agree better than those
    of a plain TopK autoencoder, which is the variant "topk" [1]_.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Number of atoms, K. "auto" is four times the number of features.
    n_active : int, default=32
        Nonzeros a code may have, k; clipped to ``n_components`` with a warning.
    variant : {"topk", "abstopk", "isae", "isae_me"}, default="isae"
        "topk" keeps the k largest positive pre-activations, the others the k largest
        in magnitude, with their sign. "isae" adds the isometry penalty, "isae_me" also
        the multi-step encoder.
    rip_weight : float, default=0.1
        Weight of the isometry penalty, dimensionless; for "isae" and "isae_me".
    rip_multiplier : int, default=2
        The penalty acts on the ``rip_multiplier * n_active`` largest pre-activations.
    n_encode_steps : int, default=5
        Encoder steps of "isae_me".
    step_rank : int or None, default=None
        Rank of the learned part of the step matrix of "isae_me"; None is a full
        (n_components, n_components) matrix.
    aux_weight : float, default=1/32
        Weight of the term that lets dead atoms explain the residual.
    aux_k : int or None, default=None
        Dead atoms used a row in that term; None is half the number of features.
    dead_window : int, default=64
        An atom is dead if none of the last ``dead_window`` batches used it.
    normalize : {"center_l2", "l2"} or None, default="center_l2"
        Scaling of each row on its own: subtract its mean over features and divide by
        its norm, only divide, or nothing. Rows of zero norm become zeros.
    betas : tuple of two floats, default=(0.9, 0.999)
        Decay rates of Adam's moments.
    warmup_steps : int, default=100
        Steps of linear warm-up of the learning rate.
    decay_start : float, default=0.8
        Share of the steps after which the learning rate falls linearly to zero.
    max_steps : int or None, default=None
        Number of optimiser steps; None leaves it to ``max_epochs``.
    bias_init : {"geometric_median", "mean", "zeros"}, default="geometric_median"
        Start of the bias.
    bias_init_samples : int, default=50_000
        Rows from which it is computed.
    tol_median : float, default=1e-5
        Relative tolerance of the geometric median.
    l1_weight : float or "auto", default="auto"
        Weight of the mean magnitude of an active code. "auto" is 0.01 for "isae" and
        "isae_me" and 0 otherwise, as in the released configurations.
    checkpoint_dir : path-like or None, default=None
        Where ``fit`` keeps a checkpoint: started again with the same parameters and
        data after being killed, it goes on from there, on a CPU to the same bits. The
        checkpoint is deleted when the fit is complete.
    sparse_output : bool, default=True
        Whether ``transform`` gives a CSR matrix; else a dense array, which
        ``set_output(transform="pandas")`` needs.
    compute_dtype : {"float32", "bfloat16"}, default="float32"
        Precision of dense products in training; all else is float32.
    shuffle_buffer : int, default=500_000
        Rows of ``X`` held in memory while training on memory maps or shards.
    warm_start : bool, default=False
        Whether ``fit`` starts from the weights and loss scale of the previous one.
    max_epochs : int, default=10
        Passes over ``X``.
    batch_size : int, default=2048
        Rows an optimiser step; clipped to the number of rows.
    learning_rate : float, default=3e-4
        Learning rate of Adam after the warm-up.
    validation_fraction : float, default=0.0
        Share of the rows not trained on, from which ``validation_score_`` comes.
    device : str, default="auto"
        Device of training and inference; "auto" is "cuda" if there is one, else "cpu".
    net_params : dict or None, default=None
        Further settings passed on to skorch: callbacks, optimizer, compile, ...
    verbose : int, default=0
        1 prints a line an epoch.
    random_state : int, RandomState instance or None, default=None
        Seed of the initialisation, the order of rows and the penalty's noise. On a CPU
        the same seed and thread count give the same bits.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Atoms, of unit norm.
    encoder_ : ndarray of shape (n_components, n_features)
        Encoder weights.
    intercept_ : ndarray of shape (n_features,)
        Bias, subtracted before encoding and added after decoding; in normalised units.
    step_factor_ : ndarray, tuple of two ndarrays or None
        Learned part F of the step matrix I - F, or factors U, V with F = U V^T; None
        for a single-step encoder.
    n_components_ : int
        Number of atoms.
    k_ : int
        Nonzeros a code may have.
    n_steps_ : int
        Optimiser steps taken.
    n_epochs_ : float
        Passes over ``X``, the last one in part; calls of ``partial_fit``.
    history_ : dict of ndarray of shape (n_steps_,)
        Loss ("total") and its unweighted terms ("reconstruction", "rip", "aux", "l1")
        at each step.
    activation_frequency_ : ndarray of shape (n_components,)
        Share of the rows that used each atom in the last ``dead_window`` batches.
    dead_ : ndarray of shape (n_components,)
        Whether no row did.
    arip_ : float
        Mean distance from isometry of the supports of a sample of rows; see
        :func:`skident.metrics.arip_report`.
    mse_scale_ : float
        Variance of the normalised data, by which the reconstruction term is divided.
    validation_score_ : float
        Score on the rows held out; only with ``validation_fraction > 0``.
    identifiability_ : IdentifiabilityReport
        The theorem's assumptions, and which of them these data contradict.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, when ``X`` is a dataframe whose column names are strings.

    Notes
    -----
    *Identified*: dictionary and codes, jointly up to one signed permutation of the
    atoms, and to an error that the theorem bounds, provided that observed supports are
    well conditioned, rich and diverse, that codes are least squares on their support,
    and that the reconstruction error is below a threshold [1]_ (Theorem 3.6). On real
    data some of these fail: ``identifiability_`` says which. A stable dictionary alone
    does not make codes stable (Theorem 3.2), and nothing says that the dictionary is a
    true one. On language and vision models' activations the paper finds "isae_me" to
    reconstruct best and to be *less* stable than "isae".

    A step on b rows costs 2 b N K operations for the encoder's product and O(b k N)
    for all the rest; d dead atoms add O(b N d), "isae_me" O(b k K) for each further
    encoder step. Memory is
    O(N K + b K), plus K^2 for a full step matrix, thrice for the optimiser.

    In an initialised process group (``torchrun``) every process is given the same
    ``X`` and trains on its ``batch_size`` rows of each batch, with gradients averaged.
    After ``fit``, ``partial_fit`` starts a new optimiser from the fitted weights.

    References
    ----------
    .. [1] Nelson, Karaletsos and Locatello, "Toward Identifiable Sparse Autoencoders",
       ICML 2026, arXiv:2605.31245.

    Examples
    --------
    >>> import warnings
    >>> from skident.datasets import make_sparse_dictionary
    >>> from skident.decomposition import IdentifiableSAE
    >>> X = make_sparse_dictionary(2000, 16, 32, 2, random_state=0).X
    >>> sae = IdentifiableSAE(32, 2, max_steps=300, batch_size=256, random_state=0)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # so short a fit leaves assumptions open
    ...     codes = sae.fit_transform(X)
    >>> codes.shape, int(np.diff(codes.indptr).max())
    ((2000, 32), 2)
    >>> bool(sae.score(X) > 0.3)
    True
    """

    _parameter_constraints: dict = {
        "n_components": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "n_active": [Interval(Integral, 1, None, closed="left")],
        "variant": [StrOptions({"topk", "abstopk", "isae", "isae_me"})],
        "rip_weight": [Interval(Real, 0, None, closed="left")],
        "rip_multiplier": [Interval(Integral, 1, None, closed="left")],
        "n_encode_steps": [Interval(Integral, 1, None, closed="left")],
        "step_rank": [Interval(Integral, 1, None, closed="left"), None],
        "aux_weight": [Interval(Real, 0, None, closed="left")],
        "aux_k": [Interval(Integral, 1, None, closed="left"), None],
        "dead_window": [Interval(Integral, 1, None, closed="left")],
        "normalize": [StrOptions({"center_l2", "l2"}), None],
        "betas": [tuple, list],
        "warmup_steps": [Interval(Integral, 0, None, closed="left")],
        "decay_start": [Interval(Real, 0, 1, closed="both")],
        "max_steps": [Interval(Integral, 1, None, closed="left"), None],
        "bias_init": [StrOptions({"geometric_median", "mean", "zeros"})],
        "bias_init_samples": [Interval(Integral, 1, None, closed="left")],
        "tol_median": [Interval(Real, 0, None, closed="neither")],
        "l1_weight": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "checkpoint_dir": [str, Path, None],
        "sparse_output": ["boolean"],
        "compute_dtype": [StrOptions({"float32", "bfloat16"})],
        "shuffle_buffer": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "device": [str],
        "net_params": [dict, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_components="auto",
        n_active=32,
        *,
        variant="isae",
        rip_weight=0.1,
        rip_multiplier=2,
        n_encode_steps=5,
        step_rank=None,
        aux_weight=1 / 32,
        aux_k=None,
        dead_window=64,
        normalize="center_l2",
        betas=(0.9, 0.999),
        warmup_steps=100,
        decay_start=0.8,
        max_steps=None,
        bias_init="geometric_median",
        bias_init_samples=50_000,
        tol_median=1e-5,
        l1_weight="auto",
        checkpoint_dir=None,
        sparse_output=True,
        compute_dtype="float32",
        shuffle_buffer=500_000,
        warm_start=False,
        max_epochs=10,
        batch_size=2048,
        learning_rate=3e-4,
        validation_fraction=0.0,
        device="auto",
        net_params=None,
        verbose=0,
        random_state=None,
    ):
        self.n_components = n_components
        self.n_active = n_active
        self.variant = variant
        self.rip_weight = rip_weight
        self.rip_multiplier = rip_multiplier
        self.n_encode_steps = n_encode_steps
        self.step_rank = step_rank
        self.aux_weight = aux_weight
        self.aux_k = aux_k
        self.dead_window = dead_window
        self.normalize = normalize
        self.betas = betas
        self.warmup_steps = warmup_steps
        self.decay_start = decay_start
        self.max_steps = max_steps
        self.bias_init = bias_init
        self.bias_init_samples = bias_init_samples
        self.tol_median = tol_median
        self.l1_weight = l1_weight
        self.checkpoint_dir = checkpoint_dir
        self.sparse_output = sparse_output
        self.compute_dtype = compute_dtype
        self.shuffle_buffer = shuffle_buffer
        self.warm_start = warm_start
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
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
        X : array-like of shape (n_samples, n_features), or list of such arrays
            Rows, in any unit. float16 and float32 memory maps, and lists of arrays
            ("shards"), are read in pieces, each row once an epoch.
        y : None
            Ignored.

        Returns
        -------
        self : IdentifiableSAE

        Raises
        ------
        ValueError
            If ``X`` is malformed or not finite (naming row and shard), if shards
            differ in width or are cut short, if a checkpoint is damaged, or if the
            weights of a warm start have other shapes.
        FloatingPointError
            If the loss is no longer finite.

        Warns
        -----
        IdentifiabilityWarning
            If these data contradict a tested assumption of the theorem.
        ConvergenceWarning
            If training ended within the warm-up, or left many atoms dead.
        UserWarning
            If ``n_active`` was clipped, or the dictionary is not overcomplete.
        """
        from skident.decomposition import _identifiable_sae_fit_net as training

        # On a copy: whatever goes wrong, this estimator stays as it was.
        fitted = self._copy(learned=self.warm_start)
        shards = check_shards(fitted, X, reset=True)
        fitted.n_components_, fitted.k_ = sizes(self, shards.n_features)
        check_start(fitted, shards.n_features)
        seed, checkpoint, resumed = plan_fit(fitted, shards)
        run = training.Run(fitted, shards, seed, checkpoint)
        if resumed is not None:
            run.restore(*resumed)
        run.train(iterate(self, run.epochs_left, X, y))
        fitted._collect(run)
        if run.held_out is not None:
            inference = fitted._inference()
            fitted.validation_score_ = explained(inference, shards, run.held_out)
        fitted._examine(shards.read(run.report_rows))
        if checkpoint is not None:
            remove_checkpoint(checkpoint[0])
        self._become(fitted)
        warn_of_fit(self)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Take one optimiser step for each ``batch_size`` rows of ``X``, in order.

        The first call initialises; the learning rate is constant after the warm-up.
        After an interrupted call, the next one goes on from the weights before it with
        a new optimiser. ``identifiability_`` is renewed each time the steps double.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays
            The next rows.
        y : None
            Ignored.

        Returns
        -------
        self : IdentifiableSAE
        """
        from skident.decomposition import _identifiable_sae_fit_net as training

        first = not _is_fitted(self)
        fitted = self._copy(learned=True)
        shards = check_shards(fitted, X, reset=first)
        if first:
            fitted.n_components_, fitted.k_ = sizes(self, shards.n_features)
        # Taken off, so that an interrupted call leaves no half-trained net behind.
        run = vars(self).pop("_run", None)
        resume = vars(self).pop("_resume", None)
        if run is None:
            seed = check_random_state(self.random_state).randint(MAX_SEED)
            run = training.Run(fitted, shards, seed, streaming=True)
        if resume is not None:
            meta = {"n_steps": fitted.n_steps_, "epoch": int(fitted.n_epochs_)}
            run.restore(resume, meta | {"batch": 0})
        # The first call may have had fewer rows than a batch.
        run.batch_size = self.batch_size
        run.feed_in_order(shards)
        run.train(range(1))
        fitted._collect(run)
        # At doubling intervals, so that many small calls do not pay for many reports.
        if fitted.n_steps_ >= 2 * getattr(fitted, "_examined_at", 0):
            fitted._examine(shards.read(run.some_rows(shards)))
            fitted._examined_at = fitted.n_steps_
        fitted._run = run
        self._become(fitted)
        if first:
            warn_of_fit(self, streaming=True)
        return self

    def transform(self, X):
        """Codes of the rows of ``X``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays

        Returns
        -------
        codes : CSR matrix or ndarray of shape (n_samples, n_components), float32
            At most ``k_`` nonzeros a row, in normalised units; dense with
            ``sparse_output=False``.
        """
        check_is_fitted(self)
        shards = check_shards(self, X, reset=False)
        codes = self._inference().codes(shards.chunks(CHUNK_ROWS), len(shards))
        return codes if self.sparse_output else codes.toarray()

    def pre_activations(self, X):
        """What the codes are chosen from.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays

        Returns
        -------
        u : ndarray of shape (n_samples, n_components), float32
            Pre-activations of the last encoder step.
        """
        check_is_fitted(self)
        shards = check_shards(self, X, reset=False)
        pieces = self._inference().pre_activations(shards.chunks(CHUNK_ROWS))
        return np.concatenate(list(pieces))

    def oracle_transform(self, X, k=None):
        """Codes by orthogonal matching pursuit on the fitted dictionary.

        If these are stable and those of ``transform`` are not, the encoder is at fault.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays
        k : int or None, default=None
            Nonzeros a code may have; None is ``k_``.

        Returns
        -------
        codes : CSR matrix of shape (n_samples, n_components)
        """
        check_is_fitted(self)
        shards = check_shards(self, X, reset=False)
        pieces = [
            batched_omp(
                scale_rows(block, self.normalize)[0] - self.intercept_,
                self.components_,
                self.k_ if k is None else k,
            )
            for block in shards.chunks(CHUNK_ROWS)
        ]
        return sparse.vstack(pieces, format="csr")

    def inverse_transform(self, X):
        """Rows that codes stand for, in normalised units.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_components)
            Codes.

        Returns
        -------
        rows : ndarray of shape (n_samples, n_features), float32
        """
        check_is_fitted(self)
        codes = check_array(X, accept_sparse="csr", dtype=np.float32)
        if codes.shape[1] != self.n_components_:
            raise ValueError(
                f"X must have {self.n_components_} columns, one an atom; got "
                f"{codes.shape[1]}."
            )
        return np.asarray(codes @ self.components_) + self.intercept_

    def reconstruct(self, X):
        """Rows as the autoencoder reproduces them, in the units of ``X``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays

        Returns
        -------
        rows : ndarray of shape (n_samples, n_features), float32
            With their own means and norms; an error if float32 cannot hold them.
        """
        check_is_fitted(self)
        shards = check_shards(self, X, reset=False)
        inference, pieces = self._inference(), []
        for block in shards.chunks(CHUNK_ROWS):
            _, shift, scale = scale_rows(block, self.normalize)
            made = self.inverse_transform(inference.codes([block], len(block)))
            pieces.append(restore_rows(made, shift, scale, sum(map(len, pieces))))
        return np.concatenate(pieces)

    def score(self, X, y=None, *, sample_weight=None):
        """Share of the variance of the normalised rows that codes explain.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts, in the error and in the variance.

        Returns
        -------
        score : float
            1 minus the squared error over the squared distance to the mean row; at
            most 1. Rows that are all equal score 1 if reproduced, else 0.
        """
        check_is_fitted(self)
        shards = check_shards(self, X, reset=False)
        return explained(self._inference(), shards, sample_weight=sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @property
    def _n_features_out(self):
        return self.n_components_

    def __getstate__(self):
        state = dict(super().__getstate__())
        # A live net neither pickles nor loads where its device is missing.
        run = state.pop("_run", None)
        if run is not None:
            # Copies: on a CPU these arrays are the net's own memory.
            state["_resume"] = {k: v.copy() for k, v in run.state()[0].items()}
        return state

    # --- fitting, step by step -------------------------------------------------------

    def _copy(self, *, learned):
        """A shallow copy without a training net, with or without what was learned."""
        left_out = {"_run", "_resume"} | (set() if learned else {"_examined_at"})
        fitted = object.__new__(type(self))
        for name, value in vars(self).items():
            if name not in left_out and (learned or name[-1] != "_"):
                vars(fitted)[name] = value
        return fitted

    def _collect(self, run):
        """Take over what a run has learned."""
        vars(self).update(run.results())
        self.n_steps_ = len(self.history_["total"])

    def _become(self, fitted):
        """Take over the attributes of a copy."""
        # What callbacks of scikit-learn keep on the estimator is not ours to drop.
        private = ("_run", "_resume", "_examined_at")
        for name in [n for n in vars(self) if n[-1] == "_" or n in private]:
            delattr(self, name)
        vars(self).update(vars(fitted))

    def _examine(self, rows):
        """Test the theorem's assumptions on some rows."""
        self.arip_, self.identifiability_ = examine(self, self._inference(), rows)

    def _inference(self):
        from skident.decomposition import _identifiable_sae_fit_net as training

        return training.Inference(self)
