"""The one way in which skident trains a torch module: skorch inside ``fit``."""

import contextlib
import copy
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import EarlyStopping as _EarlyStopping


class Stop(Exception):
    """Ends a training loop early and as planned; never leaves ``Net.train``."""


class EarlyStopping(_EarlyStopping):
    """skorch's early stopping, ended by ``Stop`` and not by a ``KeyboardInterrupt``."""

    def on_epoch_end(self, net, **kwargs):
        """Stop where skorch's own callback would."""
        # The parent cannot be told from a user's Ctrl-C by its exception.
        try:
            super().on_epoch_end(net, **kwargs)
        except KeyboardInterrupt as error:
            raise Stop from error


class Net(NeuralNet):
    """A skorch net whose criterion sees the whole batch, a dict of tensors.

    Parameters
    ----------
    autocast : {"bfloat16", "float16"} or None, default=None
        Precision of matrix products in the forward pass and the loss; parameters and
        their gradients stay in theirs.
    """

    def __init__(self, *args, autocast=None, **kwargs):
        self.autocast = autocast
        super().__init__(*args, **kwargs)

    def initialize_callbacks(self):
        """Replace skorch's early stopping by ours, with its settings."""
        super().initialize_callbacks()
        for _, callback in self.callbacks_:
            if type(callback) is _EarlyStopping:
                callback.__class__ = EarlyStopping
        return self

    def _autocast(self):
        if self.autocast is None:
            return contextlib.nullcontext()
        dtype = getattr(torch, self.autocast)
        return torch.autocast(torch.device(self.device).type, dtype=dtype)

    def infer(self, x, **fit_params):
        """Forward pass of one batch, in the precision of ``autocast``."""
        with self._autocast():
            return super().infer(x, **fit_params)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """``criterion(module(batch), batch)``."""
        with self._autocast():
            return self.criterion_(y_pred, X)

    def train(self, data):
        """Train on ``data`` from the module's initial state; Ctrl-C passes through.

        Parameters
        ----------
        data : dict of tensor, or whatever ``iterator_train`` takes

        Returns
        -------
        self : Net
        """
        return self.initialize().resume(data)

    def resume(self, data, epochs=None):
        """Train on from the present state, as :meth:`train` does.

        Parameters
        ----------
        data : as in :meth:`train`
        epochs : iterable or None, default=None
            Drawn from once an epoch, ``skident.utils.iterate(...)`` say; None is
            ``max_epochs`` of them.

        Returns
        -------
        self : Net
        """
        self.notify("on_train_begin", X=data, y=None)
        try:
            for _ in range(self.max_epochs) if epochs is None else epochs:
                # NeuralNet.partial_fit would swallow a KeyboardInterrupt.
                self.fit_loop(data, epochs=1)
        except Stop:
            pass
        finally:
            self.notify("on_train_end", X=data, y=None)
        return self


class _Whole(torch.utils.data.Dataset):
    """Hands a dict of tensors through skorch untouched."""

    def __init__(self, tensors):
        self.tensors = tensors

    def __len__(self):
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, rows):
        return {name: tensor[rows] for name, tensor in self.tensors.items()}


class BatchLoader:
    """Batches cut from whole tensors by one permutation an epoch.

    About ten times as fast on small rows as ``DataLoader``, which fetches row by row.
    The tensors move to the device at once when they fit in half its free memory, else
    batch by batch.

    Parameters
    ----------
    dataset : Dataset
        Indexable by a tensor of rows.
    batch_size : int, default=256
        Rows a batch; -1 for all of them.
    shuffle : bool, default=True
        Draw a new order each epoch from torch's generator.
    device : str, default="cpu"
        Where the batches are wanted.
    """

    def __init__(self, dataset, batch_size=256, shuffle=True, device="cpu"):
        tensors = dataset.tensors
        if fits_on_device(tensors.values(), device):
            tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
        self.dataset = _Whole(tensors)
        self.batch_size = len(dataset) if batch_size == -1 else batch_size
        self.shuffle = shuffle

    def __len__(self):
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[dict, None]]:
        n = len(self.dataset)
        order = torch.randperm(n) if self.shuffle else torch.arange(n)
        for rows in order.split(self.batch_size):
            yield self.dataset[rows], torch.empty(len(rows), 0)


def fits_on_device(tensors, device) -> bool:
    """Whether tensors take at most half of a device's free memory; a CPU's always."""
    device = torch.device(device)
    if device.type != "cuda":
        return True
    needed = sum(t.numel() * t.element_size() for t in tensors)
    return needed <= torch.cuda.mem_get_info(device)[0] / 2


def resolve_device(device: str) -> str:
    """``device`` itself, or for "auto" the GPU if there is one, else the CPU."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.device(device)
    except RuntimeError:
        raise ValueError(
            "device must be 'auto' or one that torch knows, such as 'cpu', 'cuda' or "
            f"'cuda:1', got {device!r}."
        ) from None
    return device


@contextlib.contextmanager
def seeded(seed: int, device: str = "cpu"):
    """Torch's generators at ``seed`` inside, and as they were afterwards."""
    device = torch.device(device)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def train_net(
    module: type[torch.nn.Module],
    criterion: type[torch.nn.Module],
    arrays: Mapping[str, np.ndarray],
    *,
    seed: int,
    device: str,
    epochs: Iterable | None = None,
    **net_params,
) -> Net:
    """Train ``module`` on ``arrays`` and return its net, on the device.

    Parameters
    ----------
    module, criterion : torch.nn.Module classes
        The loss is ``criterion(module(**batch), batch)``.
    arrays : mapping of str to ndarray of shape (n_samples, ...)
        What the module's ``forward`` takes, by name; all of one length.
    seed : int
        Seed of initialisation, order and noise. The caller's generators are left as
        they were. Same seed, machine and thread count: same bits on a CPU.
    device : str
        Where to train.
    epochs : iterable or None, default=None
        As in :meth:`Net.resume`.
    **net_params
        Passed to :class:`Net` (``max_epochs``, ``lr``, ``optimizer``, callbacks, ...).

    Returns
    -------
    net : Net
        The trained net; ``net.module_`` is in training mode, on ``device``.
    """
    # torch.tensor copies: from_numpy warns on the read-only arrays of joblib's workers.
    tensors = {name: torch.tensor(array) for name, array in arrays.items()}
    settings = {
        "train_split": None,
        "iterator_train": BatchLoader,
        "iterator_train__device": device,
        "iterator_train__shuffle": True,
        "device": device,
        "verbose": 0,
    }
    with seeded(seed, device):
        net = Net(module, criterion=criterion, **(settings | net_params))
        return net.initialize().resume(_Whole(tensors), epochs)


def module_arrays(module: torch.nn.Module) -> dict[str, np.ndarray]:
    """Parameters and buffers of a module as ndarrays: loads without a GPU."""
    return {
        name: tensor.detach().cpu().numpy().copy()
        for name, tensor in module.state_dict().items()
    }


def new_module(
    module: type[torch.nn.Module], config: dict, arrays: Mapping[str, np.ndarray]
) -> torch.nn.Module:
    """Module of given weights, on the CPU and in evaluation mode."""
    with seeded(0):  # the initial weights are drawn, and thrown away
        made = module(**config)
    made.load_state_dict({name: torch.tensor(a) for name, a in arrays.items()})
    return made.eval()


def placed(
    module: torch.nn.Module, device: str
) -> tuple[torch.nn.Module, torch.device]:
    """A module for inference on a device, a copy of it unless that is the CPU.

    A GPU that is not there is done without: a model fitted on one predicts anywhere.
    """
    device = torch.device(resolve_device(device))
    if device.type == "cuda" and not torch.cuda.is_available():
        device = torch.device("cpu")
    if device.type != "cpu":
        module = copy.deepcopy(module).to(device)
    return module, device


def world() -> tuple[int, int]:
    """Rank and number of the processes that train together; (0, 1) alone."""
    dist = torch.distributed
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def shared_over_world(number: int) -> int:
    """The first process's value of a number, in all processes."""
    if world()[1] == 1:
        return number
    box = [number]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def mean_over_world(tensor: torch.Tensor) -> torch.Tensor:
    """Mean of a tensor over all processes; its gradient is that of this process's part.

    Averaging parameter gradients over processes then gives the gradient of any smooth
    function of such means.
    """
    _, size = world()
    if size == 1:
        return tensor
    total = tensor.detach().clone()
    torch.distributed.all_reduce(total)
    return tensor + (total / size - tensor.detach())
