"""What pysindy makes of trajectories and fields: the peers of bench_equations_*.py.

Every peer is a front end, which turns data into columns of candidate terms and what is
to be explained by them, followed by sequentially thresholded least squares (STLSQ). The
settings of both are a grid. ``choose`` takes from it, on one sample of known truth and
for each level of noise, what recovers this truth best, which no user could do: the
peers are as good as they get.

Candidate terms are the same for all contenders. Columns that a library of pysindy makes
beyond them are left out before the regression, which is pysindy's own.
"""

import numpy as np
import pysindy as ps
from _equations import canonical
from scipy.signal import savgol_filter

# Thresholds of STLSQ on raw coefficients, and on those of columns of unit length as
# shares of the largest.
THRESHOLDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
RELATIVE = (0.02, 0.05, 0.1, 0.2, 0.3)


def regress(columns, rates, threshold, relative=False, ensemble=0, seed=0):
    """Coefficients (n_equations, n_terms) by STLSQ, or the median of an ensemble."""
    scale = np.linalg.norm(columns, axis=0)
    scale[scale == 0] = 1.0
    if relative:
        found = np.linalg.lstsq(columns / scale, rates, rcond=None)[0]
        # One threshold an equation: its largest coefficient is the unit.
        parts = [
            _fit(columns / scale, rates[:, [k]], threshold * abs(found[:, k]).max())
            / scale
            for k in range(rates.shape[1])
        ]
        return np.concatenate(parts)
    if ensemble:
        np.random.seed(seed)  # noqa: NPY002 - where pysindy draws from
        model = ps.EnsembleOptimizer(
            ps.STLSQ(threshold=threshold, alpha=0), bagging=True, n_models=ensemble
        )
        model.fit(columns, rates)
        return np.asarray(model.coef_)
    return _fit(columns, rates, threshold)


def _fit(columns, rates, threshold):
    model = ps.STLSQ(threshold=threshold, alpha=0, max_iter=50)
    model.fit(np.asarray(columns), np.asarray(rates))
    return np.asarray(model.coef_)


def thresholds():
    """Settings of the regression."""
    yield from ({"threshold": value} for value in THRESHOLDS)
    yield from ({"threshold": value, "relative": True} for value in RELATIVE)


# -- trajectories ----------------------------------------------------------------


def _polynomials(X, degree, names):
    """Columns of all monomials, and their names as skident writes them."""
    library = ps.PolynomialLibrary(degree=degree, include_bias=True)
    columns = np.asarray(library.fit_transform(X))
    return columns, library.get_feature_names(names)


def ode_finite_differences(X, dt, degree, names, *, order):
    """States as they come, and central differences of them."""
    columns, terms = _polynomials(X, degree, names)
    rates = ps.FiniteDifference(order=order)._differentiate(X, dt)
    return columns, np.asarray(rates), terms


def ode_smoothed(X, dt, degree, names, *, window):
    """States smoothed by Savitzky and Golay's filter, and central differences."""
    smoother = ps.SmoothedFiniteDifference(
        order=4, smoother_kws={"window_length": window, "polyorder": 3, "axis": 0}
    )
    rates = np.asarray(smoother._differentiate(X, dt))
    columns, terms = _polynomials(np.asarray(smoother.smoothed_x_), degree, names)
    return columns, rates, terms


def ode_weak(X, dt, degree, names, *, width, n_domains=1000, p=4, seed=0):
    """Integrals against test functions of half-width ``width``."""
    np.random.seed(seed)  # noqa: NPY002 - where pysindy draws from
    library = ps.WeakPDELibrary(
        function_library=ps.PolynomialLibrary(degree=degree, include_bias=True),
        spatiotemporal_grid=dt * np.arange(len(X)),
        K=n_domains,
        H_xt=[width],
        p=p,
    )
    x = ps.AxesArray(X, {"ax_time": 0, "ax_coord": 1})
    columns = np.asarray(library.fit_transform(x))
    rates = np.asarray(library.convert_u_dot_integral(x))
    return columns, rates, library.get_feature_names(names)


ODE_PEERS = {
    "finite differences": (
        ode_finite_differences,
        [{"order": order} for order in (2, 4)],
        list(thresholds()),
    ),
    "smoothed": (
        ode_smoothed,
        [{"window": window} for window in (7, 11, 15, 21, 31, 41, 61)],
        list(thresholds()),
    ),
    "weak form": (
        ode_weak,
        [
            {"width": width, "p": p}
            for width in (0.1, 0.15, 0.2, 0.3, 0.5)
            for p in (4, 8)
        ],
        list(thresholds()),
    ),
    "ensemble": (
        ode_smoothed,
        [{"window": window} for window in (7, 15, 31)],
        [{"threshold": value, "ensemble": 20} for value in (0.1, 0.2, 0.5)],
    ),
    "ensemble of weak forms": (
        ode_weak,
        [{"width": width, "p": 8} for width in (0.15, 0.3)],
        [{"threshold": value, "ensemble": 20} for value in (0.1, 0.2, 0.5)],
    ),
}


# -- fields ----------------------------------------------------------------------


def fields_of(data):
    """Fields (*grid, n_times, n_fields), spatial coordinates and times, for pysindy."""
    fields = data.X.reshape(len(data.X), *data.grid_shape, data.n_fields)
    return np.moveaxis(fields, 0, -2), list(data.coordinates), data.times


def _axes(fields):
    n_axes = fields.ndim - 2
    names = {"ax_spatial": list(range(n_axes)), "ax_time": n_axes}
    return ps.AxesArray(fields, names | {"ax_coord": n_axes + 1})


def _by_field(columns, names, rates, terms, data):
    """Columns of the candidate terms, in their order, and rates, of each equation."""
    places = {}
    for k, name in enumerate(names):
        places.setdefault(canonical(name), k)
    wanted = {
        field: columns[:, [places[canonical(term)] for term in candidates]]
        for field, candidates in terms.items()
    }
    return wanted, {f: rates[:, [data.field_names.index(f)]] for f in terms}


def pde_finite_differences(data, terms, degrees, *, order, window=None, n_rows=20_000):
    """Central differences of fields, smoothed along all axes with a window.

    Parameters
    ----------
    data : Bunch
    terms : dict of list of str
        Candidates of each field that has an equation.
    degrees : tuple of two int
        Of monomials alone, and of those times derivatives.
    order : int
        Of the differences.
    window : int or None
        Nodes of Savitzky and Golay's filter.
    n_rows : int
        Nodes that the regression sees, drawn at random.

    Returns
    -------
    columns, rates : dict of ndarray
        By field.
    """
    fields, coordinates, times = fields_of(data)
    if window is not None:
        for axis in range(fields.ndim - 1):
            length = min(window, 2 * ((fields.shape[axis] - 1) // 2) + 1)
            fields = savgol_filter(fields, length, 3, axis=axis)
    grid = np.stack(np.meshgrid(*coordinates, indexing="ij"), axis=-1)
    if len(coordinates) == 1:
        grid = coordinates[0]
    n_axes, n_fields = len(coordinates), fields.shape[-1]
    some = np.random.default_rng(0).permutation(fields[..., 0].size)[:n_rows]
    pure, mixed = degrees
    columns, names = _polynomials(
        fields.reshape(-1, n_fields)[some], pure, data.field_names
    )
    library = ps.PDELibrary(
        function_library=ps.PolynomialLibrary(degree=mixed, include_bias=False),
        derivative_order=2,
        spatial_grid=grid,
        diff_kwargs={"order": order},
    )
    made = np.asarray(library.fit_transform(_axes(fields)))
    columns = np.hstack([columns, made.reshape(-1, made.shape[-1])[some]])
    names = [*names, *library.get_feature_names(data.field_names)]
    rates = ps.FiniteDifference(order=order, axis=n_axes)._differentiate(fields, times)
    rates = np.asarray(rates).reshape(-1, n_fields)[some]
    return _by_field(columns, names, rates, terms, data)


def pde_weak(data, terms, degrees, *, widths, p=4, n_domains=1000, seed=0):
    """Integrals against test functions of half-widths ``widths``, time last."""
    fields, coordinates, times = fields_of(data)
    grid = np.stack(np.meshgrid(*coordinates, times, indexing="ij"), axis=-1)
    columns, names = [], []
    for degree, order in zip(degrees, (0, 2), strict=True):
        # Monomials alone, and lower ones times derivatives. pysindy draws the domains
        # when it makes a library: both have the same.
        np.random.seed(seed)  # noqa: NPY002
        library = ps.WeakPDELibrary(
            function_library=ps.PolynomialLibrary(degree=degree, include_bias=False),
            derivative_order=order,
            include_bias=not order,
            spatiotemporal_grid=grid,
            K=n_domains,
            H_xt=list(widths),
            p=p,
        )
        columns.append(np.asarray(library.fit_transform(_axes(fields))))
        names += library.get_feature_names(data.field_names)
    rates = np.asarray(library.convert_u_dot_integral(_axes(fields)))
    return _by_field(np.hstack(columns), names, rates, terms, data)


def regress_fields(columns, rates, **settings):
    """Coefficients of all equations, one behind the other, as one row."""
    found = [regress(columns[f], rates[f], **settings)[0] for f in columns]
    return np.concatenate(found)[None]


PDE_REGRESSIONS = [
    *({"threshold": value} for value in (0.0002, 0.0005, 0.001, 0.002)),
    *thresholds(),
]
PDE_PEERS = {
    "finite differences": (
        pde_finite_differences,
        [{"order": order} for order in (2, 4)],
    ),
    "smoothed": (
        pde_finite_differences,
        [{"order": 4, "window": window} for window in (7, 15, 25, 41)],
    ),
    # The widths are those of the problem.
    "weak form": (pde_weak, None),
}
