"""The record of how well conditioned a dictionary is where data use it."""

import math
from dataclasses import dataclass, fields

import pandas as pd

from skident.utils._report import Assumption

# Levels of the quantiles in a report; the last one is the maximum.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
# A Gram matrix whose smallest eigenvalue is below this is singular for float32 atoms.
_SINGULAR = 1e-6


@dataclass(frozen=True)
class AripReport:
    """Conditioning of a dictionary on the supports that data use.

    Made by :func:`arip_report` and :func:`arip_statistics`. Quantiles are tuples, at
    the levels 5, 25, 50, 75, 95 and 100 %. ``print`` shows a table,
    :meth:`to_frame` gives a dataframe and :meth:`assumptions` the verdicts on the
    assumptions of the identifiability theorem [1]_.

    Attributes
    ----------
    n_samples, n_features, n_components : int
        Sizes of what was examined.
    n_active : int
        k, the number of atoms a code may have.
    support_size : float
        Mean size of the examined supports S, about 2k.
    arip_mean : float
        Mean over rows of ``||G_S||_F^2 / |S| - 1``, where ``G_S`` is the Gram matrix of
        the atoms in S: the mean squared distance of its eigenvalues to 1.
    arip_quantiles : tuple of float
        Quantiles of the same.
    arip_floor : float
        What random atoms give, ``(|S| - 1) / n_features``.
    delta_quantiles : tuple of float
        Quantiles over rows of ``max |eigenvalue of G_S - 1|``, for the supports S of
        the atoms that compete for a row, used or not. Where it reaches 1 other codes
        may fit as well as those observed.
    delta : float
        Largest such value over unions of two code supports, the delta of the theorem
        as far as observed: one random pair a row, so that other pairs can be worse.
        NaN if all codes are empty.
    coherence : float
        Largest absolute cosine of two different atoms of the dictionary.
    residual_quantiles : tuple of float
        Quantiles over rows of the norm of the reconstruction error, the eps of the
        theorem being the last one. In the (normalised) units of the data.
    gap_quantiles : tuple of float
        Quantiles over rows of the distance of a code to the least-squares codes on its
        support.
    code_norm : float
        Mean norm of the codes.
    unused : float
        Share of the atoms that are in no code.
    never_alone : float
        Share of the atoms that are never the only atom common to two code supports.
    never_apart : float
        Share of the pairs of used atoms that are in no two disjoint code supports,
        one atom in each.
    n_supports : int
        Number of distinct code supports, the empty one apart.
    zeta : float
        Smallest singular value, over the code supports that at least as many rows
        share as it has atoms, of as many well-chosen codes; NaN if there is none.
    zeta_coverage : float
        Share of the distinct code supports that enough rows share.
    alpha : float
        ``sqrt(1 - (2 delta / (1 + delta))^2)``, for the delta of unions; 0 if that is
        1 or more.
    threshold : float
        ``zeta sqrt(1 - delta) alpha / (4 sqrt(k))``, which eps must be below.
    threshold_ceiling : float
        The same with the largest code norm in place of zeta, which cannot exceed it.
    max_norm : float
        Largest norm of a row from which codes are made.
    norm_bound : float
        Bound on that norm which holds for all data, by construction; NaN if none is
        known.

    References
    ----------
    .. [1] Nelson, Karaletsos and Locatello, "Toward identifiable sparse
       autoencoders", ICML 2026, Theorem 3.6.
    """

    n_samples: int
    n_features: int
    n_components: int
    n_active: int
    support_size: float
    arip_mean: float
    arip_quantiles: tuple[float, ...]
    arip_floor: float
    delta_quantiles: tuple[float, ...]
    delta: float
    coherence: float
    residual_quantiles: tuple[float, ...]
    gap_quantiles: tuple[float, ...]
    code_norm: float
    unused: float
    never_alone: float
    never_apart: float
    n_supports: int
    zeta: float
    zeta_coverage: float
    alpha: float
    threshold: float
    threshold_ceiling: float
    max_norm: float
    norm_bound: float

    @property
    def theorem_holds(self):
        """Whether the theorem applies, as far as the rows examined tell.

        True if each of A1 to A6 holds, False if one of them is violated, None if
        neither is known: some cannot be tested. Verdicts are those of
        :meth:`assumptions` with its defaults.
        """
        verdicts = {a.verdict for a in self._conditions(1e-3)}
        if "violated" in verdicts:
            return False
        return True if verdicts == {"holds"} else None

    def assumptions(self, *, gap_tolerance=1e-3):
        """Verdicts on the assumptions A1 to A6 of the theorem, and on competing atoms.

        The last one is no assumption of the theorem, which compares autoencoders whose
        supports are observed. It tells of dictionaries on which supports that nobody
        has observed fit as well.

        Parameters
        ----------
        gap_tolerance : float, default=1e-3
            Largest distance of a code to the least-squares codes, relative to the mean
            norm of the codes, that counts as none.

        Returns
        -------
        assumptions : tuple of Assumption

        Notes
        -----
        "holds" is said of the rows examined and, in A1 and A3, of one random pair of
        code supports a row: all pairs would be too many. A2 and A4 ask that certain
        codes exist: no sample can contradict them, and they are untestable where these
        codes were not seen.
        """
        competing = Assumption.at_most(
            "competing atoms are well conditioned, delta < 1",
            f"largest |eigenvalue - 1| over the {self.support_size:.4g} atoms with the "
            f"strongest pre-activations, in {self.n_samples} rows",
            self.delta_quantiles[-1],
            1.0 - _SINGULAR,
        )
        return (*self._conditions(gap_tolerance), competing)

    def _conditions(self, gap_tolerance):
        """A1 to A6."""
        return (
            Assumption.at_most(
                "A1: restricted isometry on observed supports, delta < 1",
                "largest |eigenvalue - 1| over unions of two code supports, in "
                f"{self.n_samples} random pairs only",
                self.delta,
                1.0 - _SINGULAR,
            ),
            self._richness_assumption(),
            self._error_assumption(),
            self._diversity_assumption(),
            self._bound_assumption(),
            Assumption.at_most(
                "A6: codes are least squares on their support",
                "largest distance to the least-squares codes, relative to the mean "
                "norm of a code",
                self.gap_quantiles[-1] / self.code_norm
                if self.code_norm > 0
                else math.nan,
                gap_tolerance,
            ),
        )

    def _richness_assumption(self):
        name = "A2: rich supports"
        used = round((1.0 - self.unused) * self.n_components)
        n_pairs = used * (used - 1) // 2
        test = (
            f"{round(self.never_alone * self.n_components)} of {self.n_components} "
            f"atoms never alone in an overlap, {round(self.never_apart * n_pairs)} of "
            f"{n_pairs} pairs never apart"
        )
        worst = max(self.never_alone, self.never_apart)
        if worst == 0:
            return Assumption(name, test, worst, 0.0, "holds", "at_most")
        return Assumption(name, f"{test}; more rows may show them", worst)

    def _error_assumption(self):
        name = "A3: reconstruction error below the theorem's threshold"
        error = self.residual_quantiles[-1]
        if self.delta >= 1.0 - _SINGULAR:
            return Assumption(
                name,
                "largest residual norm; without A1 no error is small enough",
                error,
                0.0,
                "violated",
                "at_most",
            )
        if error > self.threshold_ceiling:
            return Assumption(
                name,
                "largest residual norm, against the largest value that the threshold "
                "can take",
                error,
                self.threshold_ceiling,
                "violated",
                "at_most",
            )
        if not self._diverse:
            test = "the threshold needs zeta, which A4 cannot give"
            return Assumption(name, test, error)
        if error <= self.threshold:
            return Assumption.at_most(
                name, "largest residual norm", error, self.threshold
            )
        return Assumption(
            name,
            "largest residual norm; above the threshold that these codes give, "
            f"{self.threshold:.3g}, which more diverse ones could raise",
            error,
        )

    @property
    def _diverse(self):
        """Whether every observed support has codes that span it."""
        return self.zeta_coverage == 1.0 and self.zeta > _SINGULAR * self.code_norm

    def _diversity_assumption(self):
        name = "A4: diverse codes on every support, zeta > 0"
        if self._diverse:
            return Assumption(
                name,
                "smallest singular value of the codes on a support, over all "
                f"{self.n_supports} observed",
                self.zeta,
                verdict="holds",
            )
        shared = round(self.zeta_coverage * self.n_supports)
        test = (
            f"{shared} of {self.n_supports} observed supports are shared by as many "
            "rows as they have atoms"
        )
        if self.zeta_coverage == 1.0:
            test += ", whose codes do not span all of them"
        return Assumption(name, test, self.zeta)

    def _bound_assumption(self):
        name = "A5: bounded data"
        if math.isnan(self.norm_bound):
            return Assumption(
                name, "rows are not normalised: no sample can tell", self.max_norm
            )
        # Rounding of norms in float32.
        limit = self.norm_bound * (1.0 + 1e-5)
        return Assumption.at_most(name, "largest norm of a row", self.max_norm, limit)

    def to_frame(self):
        """One line a statistic.

        Returns
        -------
        frame : pandas.DataFrame
            Column ``value``, indexed by the name of the statistic; quantiles as
            ``arip_q05``, ..., ``arip_max``.
        """
        lines = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                stem = field.name.removesuffix("_quantiles")
                for level, quantile in zip(QUANTILES, value, strict=True):
                    lines[f"{stem}_{_label(level)}"] = quantile
            else:
                lines[field.name] = value
        frame = pd.DataFrame({"value": pd.Series(lines, dtype="float64")})
        frame.index.name = "statistic"
        return frame

    def __str__(self):
        head = (
            f"Conditioning of {self.n_components} atoms in {self.n_features} "
            f"dimensions, on {self.n_samples} rows\n"
            f"(supports S of {self.support_size:.4g} atoms, codes of at most "
            f"{self.n_active})"
        )
        labels = [_label(level) for level in QUANTILES]
        lines = [" " * 26 + "".join(f"{label:>9}" for label in labels)]
        for name, values in (
            ("aRIP of S", self.arip_quantiles),
            ("delta of S", self.delta_quantiles),
            ("residual norm", self.residual_quantiles),
            ("least-squares gap", self.gap_quantiles),
        ):
            lines.append(f"{name:<26}" + "".join(f"{v:9.3g}" for v in values))
        holds = {True: "yes", False: "no", None: "untestable"}
        error = self._error_assumption().verdict
        rest = (
            ("mean aRIP", f"{self.arip_mean:.4g}"),
            ("  of random atoms", f"{self.arip_floor:.4g}"),
            ("delta of code unions", f"{self.delta:.4g}"),
            ("coherence", f"{self.coherence:.4g}"),
            ("atoms unused", f"{100 * self.unused:.3g} %"),
            ("atoms never alone", f"{100 * self.never_alone:.3g} %"),
            ("pairs never apart", f"{100 * self.never_apart:.3g} %"),
            (
                "zeta",
                f"{self.zeta:.4g} ({100 * self.zeta_coverage:.3g} % of "
                f"{self.n_supports} supports)",
            ),
            ("threshold for the error", f"{self.threshold:.4g}"),
            ("  at most", f"{self.threshold_ceiling:.4g}"),
            ("error below threshold", error),
            ("theorem applies", holds[self.theorem_holds]),
        )
        lines += [f"{name:<26}{value}" for name, value in rest]
        return "\n".join([head, *lines])


def _label(level):
    return "max" if level == 1.0 else f"q{round(100 * level):02d}"
