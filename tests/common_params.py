"""What the common tests must be told about an estimator; most need nothing.

An estimator is found by itself. It gets an entry here when its defaults are too slow
for some hundred tiny fits, when it wraps another one, or when it cannot keep a house
rule, with the reason.
"""

from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge

from skident.decomposition import IdentifiableSAE

# {class name: constructor arguments, or a list of them for several instances}.
CHEAP_PARAMS = {
    "AutoencoderTransformer": [
        {"n_latents": 2, "hidden": (8,), "max_epochs": 5},
        {
            "n_latents": 2,
            "hidden": (8,),
            "max_epochs": 5,
            "isometry_penalty": 0.1,
            "lr_schedule": "constant",
            "validation_fraction": 0.2,
        },
    ],
    "DERMClassifier": [
        {},
        {"estimator": LogisticRegression(C=0.1), "prediction": "hard", "cv": None},
    ],
    "FromColumns": [
        {"estimator": Ridge()},
        {"estimator": LogisticRegression()},
        {"estimator": PCA(random_state=0)},
    ],
    # Two orders of the rows stop within tol of one optimum, not at the same point.
    "ICAPostProcessor": {"tol": 1e-10},
    "IdentifiableSAE": [
        {"n_active": 2, "max_steps": 5},
        {"n_active": 2, "max_steps": 5, "variant": "isae_me", "n_encode_steps": 2},
    ],
    "IRMClassifier": {"hidden": (16,), "max_epochs": 50},
    "MechanisticODERegressor": [
        {},
        {"fitter": "joint", "sparsifier": "elimination", "window": 10, "degree": 1},
        {
            "fitter": "neural",
            "hidden": 4,
            "max_epochs": 1,
            "n_cycles": 2,
            "window": 5,
            "stride": 5,
        },
    ],
    "MechanisticPDERegressor": [
        {"degree": 0, "max_patches": 2, "max_iter": 3},
        {
            "degree": 0,
            "max_patches": 2,
            "max_iter": 3,
            "encoder": "conv",
            "fitter": "adam",
            "sparsifier": "threshold",
            "max_epochs": 2,
            "device": "cpu",
            "net_params": {
                "module__n_filters": 2,
                "module__n_layers": 1,
                "module__n_latents": 2,
                "module__n_hidden": 4,
            },
        },
    ],
    "SAEStability": {
        "estimator": IdentifiableSAE(n_active=2, max_steps=5),
        "n_fits": 2,
    },
    "ScoreMatchingSelectionATE": {
        "hidden": (16, 16),
        "max_epochs": 60,
        "n_draws": 50,
        "n_grid": 50,
    },
    "ScalableMNNRegressor": [
        {"hidden": (16,), "max_epochs": 3},
        {"hidden": (16,), "max_epochs": 3, "order": 1, "validation_fraction": 0.2},
    ],
    # As for ICAPostProcessor; and few calibrations.
    "ShiftedNodeDetector": [
        {"tol": 1e-10, "n_calibration": 2},
        {"tol": 1e-10, "matching": "psi", "statistic": "abs", "threshold": "paper"},
    ],
    "TwoEnvCausalDiscovery": [
        {},
        {"score_estimator": "gaussian", "criterion": "collinearity", "prune": "ci"},
        {"method": "hessian", "prune": "score"},
    ],
    "VRExClassifier": {"hidden": (16,), "max_epochs": 50},
}

# {class name: why the order of the rows changes the result beyond rounding}.
ROW_ORDER_MATTERS = {
    "AutoencoderTransformer": "minibatches are drawn by row position",
    "IRMClassifier": "minibatches are drawn by row position",
    "IdentifiableSAE": "minibatches and the penalty's noise are drawn by row position",
    "MechanisticODERegressor": "rows are in order of time where no times are given",
    "MechanisticPDERegressor": "without times, rows are in the order of time",
    "SAEStability": "it refits an estimator that draws by row position",
    "ScalableMNNRegressor": "minibatches are drawn by row position",
    "ScoreMatchingSelectionATE": "minibatches are drawn by row position",
    "VRExClassifier": "minibatches are drawn by row position",
}

# {class name: why a row that is repeated is not one that weighs twice in the score}.
SCORES_ROWS_IN_ORDER = {
    "MechanisticODERegressor": "a repeated row is a state that stands still for a step",
    "MechanisticPDERegressor": "a repeated row is a field that stands still for a step",
}

# {class name: why the method is defined by its training rows}.
KEEPS_TRAINING_DATA = {
    "MechanisticPDERegressor": "the denoised field and its reconstruction are results",
}
