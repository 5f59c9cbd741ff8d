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
        Quantiles over rows of ``max |eigenvalue of G_S - 1|``.
    delta : float
        Largest such value over the supports S and over the unions of random pairs of
        code supports; below 1, all of them are linearly independent.
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
    common_failures : int
        Number of atoms in at least ten codes that are never alone, or never apart from
        another atom in at least ten codes.
    zeta : float
        Smallest singular value, over the code supports that at least as many rows
        share as it has atoms, of as many well-chosen codes; NaN if there is none.
    zeta_coverage : float
        Share of the distinct code supports that enough rows share.
    alpha : float
        ``sqrt(1 - (2 delta / (1 + delta))^2)``; 0 if delta is 1 or more.
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
    common_failures: int
    zeta: float
    zeta_coverage: float
    alpha: float
    threshold: float
    threshold_ceiling: float
    max_norm: float
    norm_bound: float

    @property
    def theorem_holds(self):
        """Whether the error is below the theorem's threshold; None if unknown.

        False is sure: the error exceeds even the ceiling, or the threshold where all
        supports could be tested. True needs every observed support to be tested.
        """
        verdict = self._error_assumption().verdict
        return {"holds": True, "violated": False}.get(verdict)

    def assumptions(self, *, gap_tolerance=1e-3):
        """Verdicts on the assumptions A1 to A6 of the theorem.

        Parameters
        ----------
        gap_tolerance : float, default=1e-3
            Largest distance of a code to the least-squares codes, relative to the mean
            norm of the codes, that counts as none.

        Returns
        -------
        assumptions : tuple of Assumption
        """
        return (
            Assumption.at_most(
                "A1: restricted isometry on observed supports, delta < 1",
                f"largest |eigenvalue - 1| over supports of {self.n_samples} rows and "
                "unions of random pairs of codes",
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
        worst = max(self.never_alone, self.never_apart)
        if worst == 0:
            verdict = "holds"
        else:
            verdict = "violated" if self.common_failures else "untestable"
        test = "larger of the shares of atoms never alone and of pairs never apart"
        if verdict == "untestable":
            test += "; all of them too rare in these rows to tell"
        return Assumption("A2: rich supports", test, worst, 0.0, verdict, "at_most")

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
        if self.zeta_coverage == 1.0:
            return Assumption.at_most(
                name, "largest residual norm", error, self.threshold
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
        return Assumption(name, "the threshold needs zeta, which A4 cannot give", error)

    def _diversity_assumption(self):
        name = "A4: diverse codes on every support, zeta > 0"
        if self.zeta_coverage == 1.0:
            holds = self.zeta > _SINGULAR * self.code_norm
            return Assumption(
                name,
                "smallest singular value of the codes on a support",
                self.zeta,
                verdict="holds" if holds else "violated",
            )
        return Assumption(
            name,
            f"{100 * self.zeta_coverage:.3g} % of the observed supports are shared by "
            "as many rows as they have atoms",
            self.zeta,
        )

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
        holds = {True: "holds", False: "does not hold", None: "untestable"}
        rest = (
            ("mean aRIP", f"{self.arip_mean:.4g}"),
            ("  of random atoms", f"{self.arip_floor:.4g}"),
            ("delta, with unions", f"{self.delta:.4g}"),
            ("coherence", f"{self.coherence:.4g}"),
            ("atoms unused", f"{100 * self.unused:.3g} %"),
            ("atoms never alone", f"{100 * self.never_alone:.3g} %"),
            ("pairs never apart", f"{100 * self.never_apart:.3g} %"),
            ("zeta", f"{self.zeta:.4g} ({100 * self.zeta_coverage:.3g} % of supports)"),
            ("threshold for the error", f"{self.threshold:.4g}"),
            ("  at most", f"{self.threshold_ceiling:.4g}"),
            ("error below threshold", holds[self.theorem_holds]),
        )
        lines += [f"{name:<26}{value}" for name, value in rest]
        return "\n".join([head, *lines])


def _label(level):
    return "max" if level == 1.0 else f"q{round(100 * level):02d}"
