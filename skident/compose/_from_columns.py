"""Side inputs taken out of a dataframe by column name."""

import inspect

import numpy as np
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.metaestimators import available_if

from skident.utils._callbacks import as_part_of
from skident.utils._sklearn import (
    CallbackSupportMixin,
    HasMethods,
    _fit_context,
    check_is_fitted,
)

_FIT_METHODS = ("fit", "partial_fit", "fit_transform")
# The methods that scikit-learn's routing knows, of those below.
_ROUTED_METHODS = (
    *_FIT_METHODS,
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "transform",
    "score",
)
# One column of these is still a table: (n_samples, 1).
_ALWAYS_TABLES = ("instruments", "settings")


def _has(name):
    """Whether the wrapped estimator, fitted if there is one, has an attribute."""

    def check(self):
        # The inner AttributeError is the one worth reading: it names the estimator.
        getattr(getattr(self, "estimator_", self.estimator), name)
        return True

    return check


class FromColumns(MetaEstimatorMixin, CallbackSupportMixin, BaseEstimator):
    """Give an estimator its side inputs from columns of a dataframe.

    Each named column is taken out of ``X`` and handed to ``fit`` of a clone of
    ``estimator`` as the side input of that name, and to its other methods that take it
    where the column is there; what is left of ``X`` are the covariates. The side inputs
    thus follow the rows through splits and searches without any routing.

    Parameters
    ----------
    estimator : estimator
        The estimator to wrap: one that takes the side inputs, or a pipeline or search
        around one.
    environments : str or None, default=None
        Column with the label of each row's environment.
    treatment : str, list of str or None, default=None
        Column with the treatment, or columns with several treatments.
    instruments : str, list of str or None, default=None
        Columns with the instruments.
    selected : str or None, default=None
        Column that says which rows were selected into the sample.
    selection_prob : str or None, default=None
        Column with the probability with which each row was selected.
    settings : str, list of str or None, default=None
        Columns with the discrete settings of the experiment.
    trajectories : str or None, default=None
        Column with the label of each row's trajectory.
    times : str or None, default=None
        Column with the time at which each row was observed.
    sample_weight : str or None, default=None
        Column with the weight of each row.

    Attributes
    ----------
    estimator_ : estimator
        The fitted clone of ``estimator``.
    classes_ : ndarray of shape (n_classes,)
        The classes of ``estimator_``; classifiers only.
    identifiability_ : IdentifiabilityReport
        The report of ``estimator_``; estimators that have one only.
    n_features_in_ : int
        Number of columns of ``X`` seen in ``fit``, side inputs included.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of all those columns, when they are strings.

    Notes
    -----
    With columns named, ``X`` must be a pandas or polars dataframe in every method; in
    all but ``fit``, ``fit_transform`` and ``partial_fit`` the named columns may be
    absent, unless the wrapped method requires them. With none named the wrapper adds
    nothing, and ``X`` may be whatever ``estimator`` takes.

    Around a pipeline or a search, the side inputs travel by scikit-learn's metadata
    routing, which is switched on for that one call. Name columns on the outermost
    level: a transformer before ``FromColumns`` would change the labels or lose the
    column names. Steps that are scikit-learn's own have to be told whether they get
    ``sample_weight``, by ``set_fit_request`` and ``set_score_request`` under
    ``sklearn.config_context(enable_metadata_routing=True)``.

    On scikit-learn 1.9 and later, callbacks that are meant for inner estimators too,
    such as a progress bar, are set on the wrapper, which passes them on; those that
    look into one estimator are set on ``estimator``.

    The wrapper identifies what ``estimator`` identifies. It costs one copy of ``X``.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.linear_model import LinearRegression
    >>> from skident.compose import FromColumns
    >>> survey = pd.DataFrame({"age": [1.0, 2.0, 3.0], "weight": [1.0, 1.0, 0.0]})
    >>> model = FromColumns(LinearRegression(), sample_weight="weight")
    >>> model.fit(survey, [1.0, 2.0, 9.0]).predict(survey[["age"]]).round(6)
    array([1., 2., 3.])
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods("fit")],
        "environments": [str, None],
        "treatment": [str, list, None],
        "instruments": [str, list, None],
        "selected": [str, None],
        "selection_prob": [str, None],
        "settings": [str, list, None],
        "trajectories": [str, None],
        "times": [str, None],
        "sample_weight": [str, None],
    }

    def __init__(
        self,
        estimator,
        *,
        environments=None,
        treatment=None,
        instruments=None,
        selected=None,
        selection_prob=None,
        settings=None,
        trajectories=None,
        times=None,
        sample_weight=None,
    ):
        self.estimator = estimator
        self.environments = environments
        self.treatment = treatment
        self.instruments = instruments
        self.selected = selected
        self.selection_prob = selection_prob
        self.settings = settings
        self.trajectories = trajectories
        self.times = times
        self.sample_weight = sample_weight

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, **params):
        """Fit a clone of the estimator on the covariates and side inputs.

        Parameters
        ----------
        X : dataframe of shape (n_samples, n_columns)
            Covariates and the named columns.
        y : array-like of shape (n_samples,), default=None
        **params : dict
            Further arguments of the estimator's ``fit``.

        Returns
        -------
        self : FromColumns

        Raises
        ------
        TypeError
            If columns are named and ``X`` is not a dataframe.
        ValueError
            If a named column is missing, or the estimator does not take it.
        """
        self._fit(clone(self.estimator), "fit", X, y, params)
        return self

    @available_if(_has("partial_fit"))
    @_fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X, y=None, **params):
        """Go on fitting with further rows; as :meth:`fit`.

        Parameters
        ----------
        X : dataframe of shape (n_samples, n_columns)
        y : array-like of shape (n_samples,), default=None
        **params : dict
            Further arguments of the estimator's ``partial_fit``.

        Returns
        -------
        self : FromColumns
        """
        started = hasattr(self, "estimator_")
        estimator = self.estimator_ if started else clone(self.estimator)
        self._fit(estimator, "partial_fit", X, y, params)
        return self

    @available_if(_has("transform"))
    @_fit_context(prefer_skip_nested_validation=False)
    def fit_transform(self, X, y=None, **params):
        """Fit as :meth:`fit`, and transform the same rows.

        Parameters
        ----------
        X : dataframe of shape (n_samples, n_columns)
        y : array-like of shape (n_samples,), default=None
        **params : dict
            Further arguments of the estimator's ``fit_transform``.

        Returns
        -------
        transformed : array-like of shape (n_samples, n_components)
        """
        return self._fit(clone(self.estimator), "fit_transform", X, y, params)

    @available_if(_has("predict"))
    def predict(self, X, **params):
        """Predictions of the estimator, of shape (n_samples,)."""
        return self._call("predict", X, params=params)

    @available_if(_has("predict_proba"))
    def predict_proba(self, X, **params):
        """Class probabilities, of shape (n_samples, n_classes)."""
        return self._call("predict_proba", X, params=params)

    @available_if(_has("predict_log_proba"))
    def predict_log_proba(self, X, **params):
        """Logarithms of the class probabilities, of shape (n_samples, n_classes)."""
        return self._call("predict_log_proba", X, params=params)

    @available_if(_has("decision_function"))
    def decision_function(self, X, **params):
        """Decision values of the estimator."""
        return self._call("decision_function", X, params=params)

    @available_if(_has("transform"))
    def transform(self, X, **params):
        """Transformed rows, of shape (n_samples, n_components)."""
        return self._call("transform", X, params=params)

    @available_if(_has("score_samples"))
    def score_samples(self, X, **params):
        """Score of each row, of shape (n_samples,)."""
        return self._call("score_samples", X, params=params)

    @available_if(_has("effect"))
    def effect(self, X, **params):
        """Conditional effect in each row, of shape (n_samples,)."""
        return self._call("effect", X, params=params)

    @available_if(_has("score"))
    def score(self, X, y=None, **params):
        """Score of the estimator on these rows, a float."""
        return self._call("score", X, y, params=params)

    @available_if(_has("inverse_transform"))
    def inverse_transform(self, X):
        """Covariates from transformed rows, of shape (n_samples, n_covariates)."""
        check_is_fitted(self)
        return self.estimator_.inverse_transform(X)

    @available_if(_has("get_feature_names_out"))
    def get_feature_names_out(self, input_features=None):
        """Names of the transformed columns.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the columns of ``X``; those of side inputs are left out.

        Returns
        -------
        names : ndarray of str
        """
        check_is_fitted(self)
        taken = {name for names in self._asked().values() for name in names}
        if input_features is not None and taken:
            input_features = [name for name in input_features if name not in taken]
        return self.estimator_.get_feature_names_out(input_features)

    @available_if(_has("set_output"))
    def set_output(self, *, transform=None):
        """Choose the container that ``transform`` returns.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None, default=None
            As in scikit-learn; None leaves the choice as it is.

        Returns
        -------
        self : FromColumns
        """
        for estimator in (self.estimator, getattr(self, "estimator_", None)):
            if estimator is not None:
                estimator.set_output(transform=transform)
        return self

    @property
    def classes_(self):
        """The classes of the fitted estimator."""
        return self.estimator_.classes_

    @property
    def identifiability_(self):
        """The report of the fitted estimator."""
        return self.estimator_.identifiability_

    def get_metadata_routing(self):
        """Route metadata that comes from outside to the wrapped estimator.

        Returns
        -------
        routing : MetadataRouter
        """
        mapping = MethodMapping()
        for method in _ROUTED_METHODS:
            mapping.add(caller=method, callee=method)
        router = MetadataRouter(owner=type(self).__name__)
        return router.add(estimator=self.estimator, method_mapping=mapping)

    def __sklearn_tags__(self):
        tags = get_tags(self.estimator)
        tags.array_api_support = False
        return tags

    def _fit(self, estimator, method, X, y, params):
        """Run a fitting method, then keep what it fitted: an error changes nothing."""
        if method == "fit_transform" and not hasattr(estimator, method):
            self._fit(estimator, "fit", X, y, params)
            return self._call("transform", X, params={})
        with as_part_of(self, estimator, X, y):
            result = self._run(estimator, method, X, y, params=params)
        if self._asked():
            names, n_features = list(X.columns), len(X.columns)
        else:
            names = getattr(estimator, "feature_names_in_", ())
            n_features = getattr(estimator, "n_features_in_", None)
        self.estimator_ = estimator
        for attribute in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(attribute, None)
        if n_features is not None:
            self.n_features_in_ = n_features
        if len(names) and all(isinstance(name, str) for name in names):
            self.feature_names_in_ = np.asarray(names, dtype=object)
        return result

    def _call(self, method, X, *y, params):
        check_is_fitted(self)
        return self._run(self.estimator_, method, X, *y, params=params)

    def _run(self, estimator, method, X, *y, params):
        """Call a method of the estimator on covariates, side inputs and ``params``."""
        routing = get_config()["enable_metadata_routing"]
        if params and routing and method in _ROUTED_METHODS:
            params = process_routing(self, method, **params).estimator[method]
        X, side_inputs = self._split(estimator, method, X)
        twice = sorted(side_inputs.keys() & params.keys())
        if twice:
            raise ValueError(
                f"{', '.join(twice)} is given twice: as an argument of {method} and as "
                "the name of a column."
            )
        call = getattr(estimator, method)
        if side_inputs and _is_router(estimator):
            with config_context(enable_metadata_routing=True):
                return call(X, *y, **side_inputs, **params)
        return call(X, *y, **side_inputs, **params)

    def _asked(self):
        """Side inputs asked for, with the list of their columns."""
        asked = {}
        for name in list(self._parameter_constraints)[1:]:
            columns = getattr(self, name)
            if columns is not None:
                asked[name] = [columns] if isinstance(columns, str) else list(columns)
        return asked

    def _split(self, estimator, method, X):
        """Covariates, and the side inputs that a method of the estimator takes."""
        asked = self._asked()
        if not asked:
            return X, {}
        # What pandas and polars have in common, and arrays and sparse matrices lack.
        if not (hasattr(X, "columns") and hasattr(X, "drop")):
            raise TypeError(
                f"FromColumns takes {', '.join(asked)} out of X by column name, so X "
                f"must be a pandas or polars dataframe, got {type(X).__name__}."
            )
        there = list(X.columns)
        side_inputs = {}
        for name, columns in asked.items():
            takes, requires = _takes(estimator, method, name)
            if method in _FIT_METHODS and not takes:
                raise ValueError(
                    f"{type(estimator).__name__}.{method} takes no {name}: leave "
                    f"{name}=None in FromColumns."
                )
            missing = [column for column in columns if there.count(column) != 1]
            if missing and (requires or method in _FIT_METHODS):
                raise ValueError(
                    f"{name}={getattr(self, name)!r} names columns that X does not "
                    f"have exactly once: {missing}. The columns of X are {there}."
                )
            if takes and not missing:
                table = name in _ALWAYS_TABLES or not isinstance(
                    getattr(self, name), str
                )
                side_inputs[name] = X[columns] if table else X[columns[0]]
        taken = {column for columns in asked.values() for column in columns}
        drop = [column for column in dict.fromkeys(there) if column in taken]
        pandas = hasattr(X, "iloc")
        return X.drop(columns=drop) if pandas else X.drop(drop), side_inputs


def _is_router(estimator):
    routing = getattr(estimator, "get_metadata_routing", None)
    return routing is not None and isinstance(routing(), MetadataRouter)


def _takes(estimator, method, name):
    """Whether a method takes a side input, and whether it cannot do without."""
    parameters = inspect.signature(getattr(estimator, method)).parameters
    if name in parameters:
        return True, parameters[name].default is inspect.Parameter.empty
    if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
        return False, False
    # Open-ended: fitting methods pass it on (and say so if they cannot); of the others
    # only a router can tell.
    if method in _FIT_METHODS:
        return True, False
    if not _is_router(estimator):
        return False, False
    return name in estimator.get_metadata_routing().consumes(method, [name]), False
