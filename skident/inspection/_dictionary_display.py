"""A picture of the atoms of a dictionary."""

import numpy as np

from skident.inspection._checks import check_shows
from skident.utils._optional import import_optional


class DictionaryDisplay:
    """Atoms of a dictionary, as a mosaic of images or as a heat map.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`; arguments are
    stored as attributes.

    Parameters
    ----------
    components : ndarray of shape (n_components, n_features)
        Atoms to show, in the order to show them.
    image_shape : tuple of int, default=None
        Height and width of an atom as an image, or height, width and 3 for colours;
        None draws a heat map of atoms against features.
    indices : ndarray of shape (n_components,), int, default=None
        Number that each atom has in the dictionary it comes from; None counts.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure that holds them.
    """

    def __init__(self, components, *, image_shape=None, indices=None):
        self.components = np.asarray(components, dtype=np.float64)
        if self.components.ndim != 2 or self.components.size == 0:
            raise ValueError(
                "components must be two-dimensional and not empty, got shape "
                f"{self.components.shape}."
            )
        if image_shape is not None:
            image_shape = tuple(int(length) for length in image_shape)
            n_features = self.components.shape[1]
            colour = len(image_shape) == 3 and image_shape[2] == 3
            if (len(image_shape) != 2 and not colour) or (
                np.prod(image_shape) != n_features
            ):
                raise ValueError(
                    "image_shape must be (height, width) or (height, width, 3) of "
                    f"{n_features} entries in all, got {image_shape}."
                )
        self.image_shape = image_shape
        if indices is None:
            indices = np.arange(len(self.components))
        self.indices = np.asarray(indices)

    @classmethod
    def from_estimator(
        cls, estimator, *, image_shape=None, order="frequency", n_atoms=64, ax=None
    ):
        """Plot the dictionary of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            With ``components_`` of shape (n_components, n_features).
        image_shape : tuple of int, default=None
            See :class:`DictionaryDisplay`.
        order : "frequency", array-like of int or None, default="frequency"
            Which atoms come first: the most often active ones, by the estimator's
            ``activation_frequency_``; those of the given numbers, and no others; or
            as they are in the dictionary.
        n_atoms : int or None, default=64
            Number of atoms to show at most; None shows all.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : DictionaryDisplay

        Raises
        ------
        TypeError
            If ``estimator`` is fitted, but has no dictionary.
        """
        check_shows(estimator, "components_", "estimator with a dictionary")
        if isinstance(order, str):
            if order != "frequency":
                raise ValueError(
                    f'order must be "frequency", atoms or None, got {order!r}.'
                )
            if not hasattr(estimator, "activation_frequency_"):
                raise ValueError(
                    'order="frequency" needs the attribute activation_frequency_, '
                    f"which {type(estimator).__name__} does not have."
                )
            frequency = np.asarray(estimator.activation_frequency_)
            order = np.argsort(-frequency, kind="stable")
        return cls.from_predictions(
            estimator.components_,
            image_shape=image_shape,
            order=order,
            n_atoms=n_atoms,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls, components, *, image_shape=None, order=None, n_atoms=64, ax=None
    ):
        """Plot atoms that are at hand.

        Parameters
        ----------
        components : array-like of shape (n_components, n_features)
            Atoms.
        image_shape : tuple of int, default=None
            See :class:`DictionaryDisplay`.
        order : array-like of int or None, default=None
            Numbers of the atoms to show, first ones first; None shows them as they
            come.
        n_atoms : int or None, default=64
            Number of atoms to show at most; None shows all.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : DictionaryDisplay

        Raises
        ------
        ValueError
            If ``order`` names atoms that do not exist, ``n_atoms`` is below 1, or
            ``image_shape`` does not fit.
        """
        components = np.asarray(components)
        indices = np.arange(len(components)) if order is None else np.asarray(order)
        if indices.ndim != 1 or indices.dtype.kind not in "iu":
            raise ValueError("order must be one-dimensional, of integers.")
        # An empty dictionary, such as that without a stable atom, is refused below.
        if indices.min(initial=0) < 0 or indices.max(initial=-1) >= len(components):
            raise ValueError(
                f"order must hold numbers of atoms in [0, {len(components)}), got "
                f"{indices.min()} to {indices.max()}."
            )
        if n_atoms is not None:
            if n_atoms < 1:
                raise ValueError(f"n_atoms must be at least 1, got {n_atoms}.")
            indices = indices[:n_atoms]
        display = cls(components[indices], image_shape=image_shape, indices=indices)
        return display.plot(ax=ax)

    def plot(self, *, ax=None, cmap="RdBu_r"):
        """Draw the plot.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.
        cmap : str or Colormap, default="RdBu_r"
            Colours from negative to positive; not used for images in colour. Each
            image is scaled by its largest entry in absolute value; the heat map has
            one scale.

        Returns
        -------
        display : DictionaryDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = import_optional(
            "matplotlib.pyplot", extra="plot", purpose="DictionaryDisplay.plot"
        )
        if ax is None:
            _, ax = plt.subplots()
        if self.image_shape is None:
            limit = np.abs(self.components).max()
            image = ax.imshow(
                self.components,
                aspect="auto",
                cmap=cmap,
                vmin=-limit,
                vmax=limit,
                interpolation="nearest",
            )
            ax.figure.colorbar(image, ax=ax, label="Entry of the atom")
            ticks = np.unique(np.linspace(0, len(self.indices) - 1, 8).astype(int))
            ax.set_yticks(ticks, [str(number) for number in self.indices[ticks]])
            ax.set(xlabel="Feature", ylabel="Atom")
        else:
            mosaic = self._mosaic()
            if mosaic.ndim == 3:
                # 0 is mid-grey; the frame is light grey, as below.
                mosaic = np.where(np.isnan(mosaic), 0.85, (1.0 + mosaic) / 2.0)
            colours = plt.get_cmap(cmap).with_extremes(bad="0.85")
            ax.imshow(mosaic, cmap=colours, vmin=-1, vmax=1, interpolation="nearest")
            ax.set_axis_off()
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _mosaic(self):
        """Images side by side in rows, one empty pixel apart."""
        n_atoms = len(self.components)
        height, width = self.image_shape[:2]
        n_columns = int(np.ceil(np.sqrt(n_atoms)))
        n_rows = -(-n_atoms // n_columns)
        peak = np.abs(self.components).max(axis=1, keepdims=True)
        images = self.components / np.where(peak > 0, peak, 1.0)
        images = images.reshape(n_atoms, *self.image_shape)
        shape = (n_rows * (height + 1) - 1, n_columns * (width + 1) - 1)
        mosaic = np.full(shape + self.image_shape[2:], np.nan)
        for number, image in enumerate(images):
            row, column = divmod(number, n_columns)
            top, left = row * (height + 1), column * (width + 1)
            mosaic[top : top + height, left : left + width] = image
        return mosaic
