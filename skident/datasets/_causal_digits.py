"""Coloured digits: an outcome that is read off pictures which show its causes too."""

from numbers import Integral, Real

import numpy as np
from sklearn.datasets import load_digits
from sklearn.utils import Bunch, check_random_state

from skident.datasets._fashion_mnist import load_fashion_mnist
from skident.datasets._mnist_digits import load_mnist_digits
from skident.utils._sklearn import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)

# mechanism, P(W = 1), P(U = 1), randomised
_POPULATIONS = {
    "A": ("additive", 0.5, 0.02, True),
    "B": ("null", 0.05, 0.05, False),
    "C": ("null", 0.5, 0.5, False),
    "D": ("nonlinear", 0.2, 0.2, False),
    "E": ("nonlinear", 0.5, 0.5, False),
    "2024": ("binary", 0.5, 0.0, True),
}
_TREATED = (0.1, 0.9)  # P(T = 1 | W) where treatment is not randomised
_BINARY = np.array([[0.5, 0.4], [0.7, 0.8]])  # P(Y = 1 | T, W) of mechanism "binary"
_N_TRIALS = 4
_PAD_SHARE = 8 / 28  # pixels of background per side, of the height of a picture
_CHUNK = 1000
_CONSTRAINTS = {
    "n_samples": [Interval(Integral, 1, None, closed="left")],
    "population": [StrOptions(set(_POPULATIONS))],
    "mechanism": [
        StrOptions({"additive", "null", "nonlinear", "full_support", "binary"}),
        None,
    ],
    "p_w": [Interval(Real, 0, 1, closed="both"), None],
    "p_u": [Interval(Real, 0, 1, closed="both"), None],
    "randomized": ["boolean", None],
    "success": [tuple, list],
    "images": [StrOptions({"digits", "mnist", "fashion"}), tuple],
    "part": [StrOptions({"auto", "train", "target"})],
    "disjoint": ["boolean"],
    "pad": [Interval(Integral, 0, None, closed="left"), None],
    "noise": [Interval(Real, 0, None, closed="left")],
    "n_frames": [Interval(Integral, 1, None, closed="left")],
    "random_state": ["random_state"],
}
_CITATION = (
    "R. Cadei, I. Demirel, P. De Bartolomeis, L. Lindorfer, S. Cremer, C. Schmid and "
    "F. Locatello, Prediction-Powered Causal Inferences, NeurIPS 2025, "
    "arXiv:2502.06343; R. Cadei, L. Lindorfer, S. Cremer, C. Schmid and F. Locatello, "
    "Smoke and Mirrors in Causal Downstream Tasks, NeurIPS 2024, arXiv:2405.17151."
)


def make_causal_digits(
    n_samples=10_000,
    population="A",
    *,
    mechanism=None,
    p_w=None,
    p_u=None,
    randomized=None,
    success=(0.25, 0.25, 0.25),
    images="digits",
    part="auto",
    disjoint=True,
    pad=None,
    noise=0.0,
    n_frames=1,
    random_state=None,
):
    """Experiments whose outcome is the digit in a picture that shows the treatment.

    The outcome Y of an experiment is recorded as a picture of the digit Y. The settings
    of the experiment colour the picture: a covariate W the background, the treatment T
    the pen, and a rare covariate U shrinks the digit. Who learns to read Y where the
    treatment acts can read the colour instead, and then sees an effect on other
    populations that is not there [1]_.

    Parameters
    ----------
    n_samples : int, default=10_000
        Number of pictures.
    population : {"A", "B", "C", "D", "E", "2024"}, default="A"
        A published population; the four parameters that follow replace its parts.
        "A" trains: additive, P(W) = 0.5, P(U) = 0.02, randomised. The others are
        targets with treatment that depends on W: "B" and "C" are null with
        P(W) = P(U) = 0.05 and 0.5, "D" and "E" nonlinear with 0.2 and 0.5. "2024" is
        the binary construction of [2]_, randomised, without U.
    mechanism : {"additive", "null", "nonlinear", "full_support", "binary"}, \
default=None
        How settings act on the outcome, see Notes.
    p_w, p_u : float, default=None
        Probabilities that W and U are 1.
    randomized : bool, default=None
        T is 1 with probability one half; else 0.9 where W = 1 and 0.1 where W = 0.
    success : tuple of three floats, default=(0.25, 0.25, 0.25)
        Of mechanism "full_support": probability of a success, what T adds to it, and
        what W adds.
    images : {"digits", "mnist", "fashion"} or tuple, default="digits"
        Where pictures come from: scikit-learn's 1,797 digits of 8 by 8 pixels,
        :func:`load_mnist_digits` or :func:`load_fashion_mnist`, whose kinds of clothes
        stand for digits; or a pair of arrays, pictures (n_images, height, width), uint8
        with a dark ground, and classes (n_images,).
    part : {"auto", "train", "target"}, default="auto"
        Half of the pictures to draw from; "auto" takes "train" for population "A" and
        "target" for all others. Ignored with ``disjoint=False``.
    disjoint : bool, default=True
        Pictures of the two parts differ. Else each draw takes the first pictures of
        every digit, as the authors' generator does, so that training and target share
        pictures.
    pad : int, default=None
        Pixels of background per side where U = 1, before the picture is scaled back to
        its size. None is 8 for 28 pixels, in proportion: 2 for 8. (The authors' code
        has 8 for randomised draws and 4 for others.)
    noise : float, default=0.0
        Standard deviation of normal noise on each pixel of the grey digit, before it is
        coloured, in units of full intensity; results are clipped.
    n_frames : int, default=1
        Consecutive pictures that belong to one unit, such as a video: they share
        settings, not outcomes.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    data : Bunch
        With the fields

        images : ndarray of uint8 of shape (n_samples, 3, height, width)
            Pictures, intensities from 0 to 255, channels red, green, blue.
        X : ndarray of uint8 of shape (n_samples, 3 * height * width)
            The same, flattened, not copied.
        y : ndarray of int of shape (n_samples,)
            Outcomes.
        treatment : ndarray of int of shape (n_samples,)
            T, 0 or 1.
        settings : ndarray of int of shape (n_samples, 3)
            W, U and T.
        setting_names : ndarray of str of shape (3,)
            "W", "U" and "T".
        units : ndarray of int of shape (n_samples,)
            Unit of each picture.
        potential_outcomes : ndarray of int of shape (n_samples, 2)
            Y(0) and Y(1).
        propensity : ndarray of shape (n_samples,)
            Probability of treatment given W.
        digits : ndarray of int of shape (n_samples,)
            Digit shown: ``y``, unless the mechanism is "binary".
        image_index : ndarray of int of shape (n_samples,)
            Position of the picture in its source.
        true_effect : float
            Mean of Y(1) - Y(0) over all populations that could be drawn.
        sample_effect : float
            Its mean over this one.
        DESCR, citation : str
            How the data were made, and what to cite.

    Raises
    ------
    ValueError
        If a parameter is out of its range, probabilities in ``success`` leave [0, 1],
        or the pictures do not fit or lack a digit that occurs.
    ImportError
        If the source of the pictures is not installed.

    Notes
    -----
    :math:`R_1, R_2, R_3` are uniform on {0, 1, 2, 3}, :math:`R_4` on {0, ..., 6}.

    - "additive": :math:`Y = W R_1 + T R_2 + U R_3`, effect 1.5;
    - "null": :math:`Y = W R_1 + R_2 + U R_3`, effect 0;
    - "nonlinear": :math:`Y = 1\\{U \\lor T\\} R_1 + R_4`, effect
      :math:`1.5 (1 - P(U = 1))`;
    - "full_support": binomial of 4 trials with probability :math:`a + b T + c W`, so
      that each outcome occurs in each setting; effect :math:`4b`;
    - "binary": :math:`Y = 1` if the digit exceeds 3, with probabilities 0.8 and 0.4
      with and without treatment where W = 1, 0.7 and 0.5 where W = 0: effects 0.4 and
      0.2. Here the treatment is the background and W the pen.

    The background is green (W = 1) or red, the pen white (T = 1) or black. Each picture
    of a digit is used about equally often.

    References
    ----------
    .. [1] Cadei, Demirel, De Bartolomeis, Lindorfer, Cremer, Schmid and Locatello,
       "Prediction-powered causal inferences", NeurIPS 2025.
    .. [2] Cadei, Lindorfer, Cremer, Schmid and Locatello, "Smoke and mirrors in causal
       downstream tasks", NeurIPS 2024.

    Examples
    --------
    >>> from skident.datasets import make_causal_digits
    >>> train = make_causal_digits(500, random_state=0)
    >>> target = make_causal_digits(500, "B", random_state=1)
    >>> train.images.shape, train.true_effect, target.true_effect
    ((500, 3, 8, 8), 1.5, 0.0)
    """
    parameters = dict(locals())
    validate_parameter_constraints(
        _CONSTRAINTS, parameters, caller_name="make_causal_digits"
    )
    given = (mechanism, p_w, p_u, randomized)
    mechanism, p_w, p_u, randomized = (
        published if value is None else value
        for value, published in zip(given, _POPULATIONS[population], strict=True)
    )
    success = _check_success(success)
    rng = check_random_state(random_state)
    units = np.arange(n_samples) // n_frames
    n_units = units[-1] + 1
    W, U = (rng.uniform(size=n_units) < p for p in (p_w, p_u))
    propensity = np.full(n_units, 0.5) if randomized else np.where(W, *_TREATED[::-1])
    T = rng.uniform(size=n_units) < propensity
    settings = np.column_stack([W, U, T]).astype(np.int64)[units]
    outcomes, digits, effect = _draw_outcomes(
        mechanism, settings, p_w, p_u, success, rng
    )
    rows = np.arange(n_samples)
    y, digits = outcomes[rows, settings[:, 2]], digits[rows, settings[:, 2]]
    pool, classes = _pool(images)
    if part == "auto":
        part = "train" if population == "A" else "target"
    index = _draw_images(classes, digits, part if disjoint else None, rng)
    pad = round(_PAD_SHARE * pool.shape[1]) if pad is None else pad
    background, pen = (2, 0) if mechanism == "binary" else (0, 2)
    pictures = _colour(
        pool,
        index,
        shrunk=settings[:, 1] == 1,
        green=settings[:, background] == 1,
        white=settings[:, pen] == 1,
        pad=pad,
        noise=noise,
        rng=rng,
    )
    return Bunch(
        images=pictures,
        X=pictures.reshape(n_samples, -1),
        y=y,
        treatment=settings[:, 2].copy(),
        settings=settings,
        setting_names=np.array(["W", "U", "T"]),
        units=units,
        potential_outcomes=outcomes,
        propensity=propensity[units],
        digits=digits,
        image_index=index,
        true_effect=float(effect),
        sample_effect=float((outcomes[:, 1] - outcomes[:, 0]).mean()),
        DESCR=(
            f"{n_samples} coloured digits of {pool.shape[1]} by {pool.shape[2]} pixels "
            f"in {n_units} units: mechanism {mechanism}, P(W) = {p_w:g}, "
            f"P(U) = {p_u:g}, treatment {'randomised' if randomized else 'follows W'}. "
            f"Mean effect: {effect:.4g}."
        ),
        citation=_CITATION,
    )


def _check_success(success):
    if len(success) == 3 and all(isinstance(p, Real) for p in success):
        a, b, c = (float(p) for p in success)
        # Sums of decimals may leave the interval by rounding.
        if all(-1e-12 <= p <= 1 + 1e-12 for p in (a, a + b, a + c, a + b + c)):
            return a, b, c
    raise ValueError(
        "success must be three numbers (a, b, c) with a, a + b, a + c and a + b + c in "
        f"[0, 1], got {success!r}."
    )


def _draw_outcomes(mechanism, settings, p_w, p_u, success, rng):
    """Outcomes and digits under both treatments, and the mean effect."""
    n = len(settings)
    W, U = settings[:, [0]], settings[:, [1]]
    T = np.array([[0, 1]])
    if mechanism == "full_support":
        a, b, c = success
        # One draw for both arms, which makes them as alike as they can be.
        uniform = rng.uniform(size=(n, 1, _N_TRIALS))
        outcomes = (uniform < (a + b * T + c * W)[:, :, None]).sum(axis=2)
        return outcomes, outcomes, _N_TRIALS * b
    if mechanism == "binary":
        outcomes = (rng.uniform(size=(n, 1)) < _BINARY[T, W]).astype(np.int64)
        low, high = rng.randint(4, size=(n, 1)), rng.randint(4, 10, size=(n, 1))
        effects = _BINARY[1] - _BINARY[0]
        effect = (1 - p_w) * effects[0] + p_w * effects[1]
        return outcomes, np.where(outcomes == 1, high, low), effect
    R1, R2, R3 = rng.randint(4, size=(3, n, 1))
    R4 = rng.randint(7, size=(n, 1))
    if mechanism == "additive":
        outcomes, effect = W * R1 + T * R2 + U * R3, 1.5
    elif mechanism == "null":
        outcomes, effect = W * R1 + R2 + U * R3 + 0 * T, 0.0
    else:
        outcomes, effect = (U | T) * R1 + R4, 1.5 * (1 - p_u)
    return outcomes, outcomes, effect


def _pool(images):
    """Pictures (n_images, height, width) of uint8 with their classes."""
    if isinstance(images, str):
        if images == "digits":
            source = load_digits()
            grey = source.images / 16.0
        else:
            load = load_mnist_digits if images == "mnist" else load_fashion_mnist
            source = load()
            grey = source.images
        return np.rint(255 * grey).astype(np.uint8), source.target
    if len(images) == 2:
        pool, classes = (np.asarray(part) for part in images)
        if (
            pool.ndim == 3
            and pool.dtype == np.uint8
            and classes.shape == pool.shape[:1]
        ):
            return pool, classes
        got = f"shapes {pool.shape} and {classes.shape} of {pool.dtype}"
    else:
        got = f"{len(images)} objects"
    raise ValueError(
        "images must be a name or a pair of arrays, pictures of uint8 of shape "
        f"(n_images, height, width) and their classes (n_images,), got {got}."
    )


def _draw_images(classes, digits, part, rng):
    """Position of a picture for each digit; without a part, the first ones in turn."""
    index = np.empty(len(digits), dtype=np.int64)
    for digit in np.unique(digits):
        rows = np.flatnonzero(digits == digit)
        own = np.flatnonzero(classes == digit)
        if part is not None:
            # Every other picture, so that both parts have the same writers.
            own = own[int(part == "target") :: 2]
        if not own.size:
            raise ValueError(f"images must show the digit {digit}, which occurs.")
        if part is None:
            index[rows] = np.resize(own, len(rows))
            continue
        rounds = -(-len(rows) // len(own))
        shuffled = np.concatenate([rng.permutation(own) for _ in range(rounds)])
        index[rows] = shuffled[: len(rows)]
    return index


def _colour(pool, index, *, shrunk, green, white, pad, noise, rng):
    """Coloured pictures (n_samples, 3, height, width) of uint8."""
    n, (height, width) = len(index), pool.shape[1:]
    rows, columns = _shrink_matrix(height, pad), _shrink_matrix(width, pad)
    pictures = np.empty((n, 3, height, width), dtype=np.uint8)
    for low in range(0, n, _CHUNK):
        part = slice(low, low + _CHUNK)
        grey = pool[index[part]]
        small = shrunk[part]
        # Background pixels are 0, so padding is left to the matrices.
        grey[small] = np.rint(rows @ grey[small].astype(np.float64) @ columns.T)
        if noise:
            noisy = grey + 255 * noise * rng.standard_normal(grey.shape)
            grey = np.rint(np.clip(noisy, 0, 255)).astype(np.uint8)
        # A white pen is written into all channels, a black one out of the background.
        chunk = np.where(white[part, None, None, None], grey[:, None], np.uint8(0))
        chunk = np.repeat(chunk, 3, axis=1)
        background = np.where(white[part, None, None], np.uint8(255), 255 - grey)
        chunk[np.arange(len(grey)), green[part].astype(np.int64)] = background
        pictures[part] = chunk
    return pictures


def _shrink_matrix(size, pad):
    """Interpolation from ``size + 2 pad`` pixels to ``size``, of the inner ones.

    Linear, with a kernel as wide as a new pixel (as in Pillow), so that thin strokes
    are averaged and not skipped.
    """
    scale = (size + 2 * pad) / size
    centres = (np.arange(size) + 0.5) * scale
    distances = np.abs(np.arange(size + 2 * pad) + 0.5 - centres[:, None]) / scale
    weights = np.maximum(1.0 - distances, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights[:, pad : pad + size]
