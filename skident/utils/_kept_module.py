"""How a fitted estimator holds a network of torch."""


class KeepsModule:
    """Mixin of estimators with ``module_``: a pickle holds its weights as ndarrays.

    Such a pickle loads without the device of the training, and in skops. A class says
    by ``_module_type`` what it trains; the module has its arguments as ``config``.
    """

    @staticmethod
    def _module_type():
        """Class of ``module_``, imported late."""
        raise NotImplementedError

    def __getstate__(self):
        state = dict(super().__getstate__())
        module = state.pop("module_", None)
        if module is not None:
            from skident.utils._torch import module_arrays

            arrays = module_arrays(module)
            state["_module"] = {"config": module.config, "arrays": arrays}
        return state

    def __setstate__(self, state):
        state = dict(state)
        saved = state.pop("_module", None)
        super().__setstate__(state)
        if saved is not None:
            from skident.utils._torch import new_module

            self.module_ = new_module(
                self._module_type(), saved["config"], saved["arrays"]
            )
