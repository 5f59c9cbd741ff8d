"""The passes of ICA on torch, for a GPU or for many components."""

import numpy as np
import torch
from torch.nn import functional as F

from skident.solvers._ica_kernel import Pass, checked_mean, decorrelation, fits_single
from skident.solvers._moments import Moments

# Sources of a chunk: within the cache of a CPU, enough to keep a GPU busy.
_CHUNK_BYTES = {"cpu": 2**21}
_CHUNK_BYTES_ELSEWHERE = 2**26
# The whitened rows stay on the device when they take at most this share of its memory.
_KEPT_SHARE = 0.25
_KEPT_BYTES_ON_CPU = 2**28


class TorchRows:
    """Whitened rows ``matrix @ (x - mean)`` on a device of torch.

    Has the methods of :class:`skident.solvers._ica_kernel.Rows`; sums of chunks are
    float64, or float32 where the device has no float64.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        The data: any float dtype, or a memory map.
    mean, matrix : ndarrays of shape (n_features,) and (k, n_features)
        The whitening map.
    device : str
        "torch" for its CPU, else a name of a device of torch.
    """

    def __init__(self, X, mean, matrix, device):
        self.device = torch.device("cpu" if device == "torch" else device)
        self.X, self.mean = X, np.asarray(mean, dtype=np.float64)
        self.matrix = np.asarray(matrix, dtype=np.float64)
        self.n_samples, self.n_components = len(X), len(matrix)
        width = 8 * max(X.shape[1], self.n_components)
        n_bytes = _CHUNK_BYTES.get(self.device.type, _CHUNK_BYTES_ELSEWHERE)
        self._step = max(64, min(self.n_samples, n_bytes // width))
        self._kept = None
        self._double = torch.float32 if self.device.type == "mps" else torch.float64

    def evaluate(self, W, fun, dtype=np.float64, *, with_loss=True, narrow=False):
        """A :class:`Pass` over the sources ``W @ z`` of the whitened rows z."""
        single = np.dtype(dtype) == np.float32
        keep = single and self._may_keep()
        single = single and (keep or fits_single(self.matrix))
        wanted = torch.float32 if single else self._double
        rotated = self._tensor((W if keep else W @ self.matrix).T, wanted)
        k = self.n_components
        product = torch.zeros((k, k), dtype=self._double, device=self.device)
        slope, loss = torch.zeros((2, k), dtype=self._double, device=self.device)
        with torch.inference_mode():
            for low in range(0, self.n_samples, self._step):
                if keep:
                    source = self._keep()[low : low + self._step]
                else:
                    source = self._centred(low, wanted)
                Y = source @ rotated
                Y = Y.float() if narrow else Y
                psi, slopes, losses = _scores(Y, fun, with_loss)
                product += psi.T @ Y
                slope += slopes
                if with_loss:
                    loss += losses
        return Pass(
            checked_mean(product.cpu().double().numpy(), self.n_samples),
            slope.cpu().double().numpy() / self.n_samples,
            loss.cpu().double().numpy() / self.n_samples if with_loss else None,
        )

    def subsample(self, n_rows):
        """About ``n_rows`` evenly spaced rows, decorrelated anew, or all rows."""
        stride = self.n_samples // max(n_rows, 1)
        if stride < 2:
            return self
        Z = (self.X[::stride] - self.mean) @ self.matrix.T
        moments = Moments(self.n_components).update(Z)
        return TorchRows(Z, moments.mean, decorrelation(moments), str(self.device))

    def batches(self, n_rows, rng):
        """Whitened rows in float64, about ``n_rows`` at a time, in random order."""
        n_batches = max(1, self.n_samples // n_rows)
        ends = np.linspace(0, self.n_samples, n_batches + 1).astype(np.intp)
        for i in rng.permutation(n_batches):
            yield (self.X[ends[i] : ends[i + 1]] - self.mean) @ self.matrix.T

    def _tensor(self, array, dtype):
        return torch.tensor(array).to(dtype).to(self.device)

    def _centred(self, low, dtype):
        return self._tensor(self.X[low : low + self._step] - self.mean, dtype)

    def _may_keep(self):
        n_bytes = 4 * self.n_samples * self.n_components
        if self.device.type != "cuda":
            return n_bytes <= _KEPT_BYTES_ON_CPU
        total = torch.cuda.get_device_properties(self.device).total_memory
        return n_bytes <= _KEPT_SHARE * total

    def _keep(self):
        if self._kept is None:
            shape = (self.n_samples, self.n_components)
            kept = torch.empty(shape, dtype=torch.float32, device=self.device)
            matrix = self._tensor(self.matrix.T, self._double)
            for low in range(0, self.n_samples, self._step):
                Z = self._centred(low, self._double) @ matrix
                kept[low : low + self._step] = Z
            self._kept = kept
        return self._kept


def _scores(Y, fun, with_loss):
    """Scores, and the sums of their derivatives and of the loss by component."""
    loss = None
    if fun == "tanh":
        psi = torch.tanh(Y)
        slope = len(Y) - torch.linalg.vector_norm(psi, dim=0).double() ** 2
        if with_loss:
            # log cosh y = |y| + log(1 + exp(-2 |y|)) - log 2
            loss = (F.softplus(-2.0 * Y.abs()) + Y.abs() - np.log(2.0)).sum(dim=0)
        return psi, slope, loss
    square = Y * Y
    if fun == "exp":
        decay = torch.exp(-0.5 * square)
        slope = ((1.0 - square) * decay).sum(dim=0)
        return Y * decay, slope, -decay.sum(dim=0) if with_loss else None
    loss = 0.25 * (square * square).sum(dim=0) if with_loss else None
    return Y * square, 3.0 * square.sum(dim=0), loss
