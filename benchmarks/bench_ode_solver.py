"""Linear ODEs solved on all steps of a grid at once: time, memory, and gradients.

    python benchmarks/bench_ode_solver.py [--quick | --part {series,windows}]

``series`` solves one driven, damped oscillator of 1,000 to 1,000,000 steps by banded
least squares, by the same normal equations as a dense matrix until memory or time ends,
and by an adaptive Runge-Kutta method. ``windows`` solves batches of 512 windows of 50
steps and takes gradients in all inputs, on the CPU, and on a GPU where there is one,
beside dense matrices differentiated by torch. Every run has a process of its own, is
written to ``benchmarks/output`` as it ends, and is not repeated by a later call;
``--fresh`` starts anew. Seconds are of the processor where the CPU works, and memory is
the largest resident beyond what was there before.
"""

import argparse
import resource
import time
import warnings

import numpy as np
from _common import OUTPUT, Report, Runs, limited
from scipy.integrate import solve_ivp
from scipy.linalg import cho_factor, cho_solve

from skident.solvers import solve_linear_ode
from skident.solvers._ode_blocks import OdeRows
from skident.utils._memory import check_memory

KEPT = OUTPUT / "ode_solver.jsonl"
STEP = 0.01
SQUARED, DAMPING = 4.5, 0.43
# x' = v, v' = -SQUARED x - DAMPING v + sin(t), from (0.12, 0.043); derivatives to 2.
EQUATIONS = np.zeros((1, 2, 2, 3))
EQUATIONS[0, 0, 0, 1], EQUATIONS[0, 0, 1, 0] = 1.0, -1.0
EQUATIONS[0, 1, 1, 1], EQUATIONS[0, 1, 0, 0] = 1.0, SQUARED
EQUATIONS[0, 1, 1, 0] = DAMPING
START = np.array([0.12, 0.043])
METHODS = {
    "banded": "banded least squares",
    "dense": "dense normal equations",
    "solve_ivp": "solve_ivp, RK45",
}


def truth(t):
    """The position at times t."""
    gap = SQUARED - 1
    norm = gap**2 + DAMPING**2
    sine, cosine = gap / norm, -DAMPING / norm
    rate = np.sqrt(SQUARED - DAMPING**2 / 4)
    x, v = START[0] - cosine, START[1] - sine
    swing = (v + DAMPING * x / 2) / rate
    free = np.exp(-DAMPING * t / 2) * (x * np.cos(rate * t) + swing * np.sin(rate * t))
    return free + sine * np.sin(t) + cosine * np.cos(t)


def banded(n):
    rhs = np.zeros((n, 2))
    rhs[:, 1] = np.sin(STEP * np.arange(n))
    coefficients = np.broadcast_to(EQUATIONS, (n, 2, 2, 3))
    return solve_linear_ode(coefficients, rhs, START[None, :, None], STEP)[:, 0, 0]


def dense(n):
    """The same normal equations, as one dense matrix."""
    block = 6
    check_memory(8 * (n * block) ** 2, f"A dense matrix of {n * block} unknowns")
    rows = OdeRows(
        np,
        EQUATIONS,
        np.array([STEP]),
        STEP,
        n_steps=n,
        n_init_steps=1,
        n_init_orders=1,
        w_eq=1.0,
        w_init=1.0,
        w_smooth=1.0,
        central=False,
        constant=np.asarray,
    )
    diagonal, below, _ = rows.blocks()
    normal = np.zeros((n, block, n, block))
    here = np.arange(n)
    normal[here, :, here] = diagonal
    normal[here[1:], :, here[:-1]] = np.kron(np.eye(2), below[0])
    rhs = np.zeros((n, 2))
    rhs[:, 1] = np.sin(STEP * here)
    right = rows.adjoint((rhs, START[None, :, None]))
    # Transposed it is in LAPACK's order, and overwritten where it stands.
    lower = normal.reshape(n * block, -1)
    factor = cho_factor(lower.T, lower=False, overwrite_a=True, check_finite=False)
    return cho_solve(factor, right.reshape(-1), check_finite=False)[::block]


def adaptive(n):
    def slope(t, y):
        return (y[1], np.sin(t) - SQUARED * y[0] - DAMPING * y[1])

    t = STEP * np.arange(n)
    found = solve_ivp(slope, (0, t[-1]), START, t_eval=t, rtol=1e-6, atol=1e-8)
    return found.y[0]


def one_series(method, n):
    call = {"banded": banded, "dense": dense, "solve_ivp": adaptive}[method]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    x = call(n)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = float(abs(x - truth(STEP * np.arange(n))).max())
    # Short runs again, and the best of them.
    for _ in range(5 if seconds < 0.5 else 0):
        start = time.process_time()
        call(n)
        seconds = min(seconds, time.process_time() - start)
    return {"seconds": seconds, "bytes": (peak - before) * 1024, "error": error}


def slope(sizes, values):
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def series(report, runs, sizes, dense_sizes, wanted):
    found = {}
    for method in METHODS:
        for n in dense_sizes if method == "dense" else sizes:
            key = ["series", method, n]
            call = lambda key=key: limited(lambda: one_series(*key[1:]), 300)  # noqa: E731
            found[method, n] = runs.get(key, call)
    rows = []
    for (method, n), run in found.items():
        if isinstance(run, str):
            rows.append([METHODS[method], f"{n:,}", run, "", ""])
            continue
        figures = f"{run['seconds']:.3g}", f"{run['bytes'] / 1e6:.0f}"
        rows.append([METHODS[method], f"{n:,}", *figures, f"{run['error']:.1e}"])
    report.table(["method", "steps", "CPU s", "memory, MB", "largest error"], rows)
    for low, high, bounds in wanted["slopes"]:
        inside = [n for n in sizes if low <= n <= high]
        times = [found["banded", n]["seconds"] for n in inside]
        claim = f"log time over log steps, {low:,} to {high:,} steps"
        report.bar(claim, slope(inside, times), bounds[1], at_most=True)
        if bounds[0] is not None:
            report.bar(claim, slope(inside, times), bounds[0], at_most=False)
    # Below this the arrays are not the largest part of what is resident.
    large = [n for n in sizes if n >= wanted["memory_from"]]
    memory = [found["banded", n]["bytes"] for n in large]
    claim = f"log memory over log steps, from {large[0]:,} steps"
    report.bar(claim, slope(large, memory), 1.1, at_most=True)
    for n, seconds, gigabytes in wanted["limits"]:
        run = found["banded", n]
        claim = f"{n:,} steps of 6 unknowns, CPU seconds"
        report.bar(claim, run["seconds"], seconds, at_most=True)
        claim = f"{n:,} steps of 6 unknowns, GB"
        report.bar(claim, run["bytes"] / 1e9, gigabytes, at_most=True)
    both = [
        n for n in dense_sizes if isinstance(found["dense", n], dict) and n in sizes
    ]
    if both:
        n = both[-1]
        ratio = found["dense", n]["seconds"] / found["banded", n]["seconds"]
        claim = f"dense over banded at {n:,} steps, CPU seconds"
        report.bar(claim, ratio, 10, at_most=False)
    report.say()


def dense_windows(coefficients, rhs, init, steps):
    """Normal equations of a batch as dense matrices, by torch alone."""
    import torch

    *batch, n, _, n_states, n_orders = coefficients.shape
    settings = {"w_eq": 1.0, "w_init": 1.0, "w_smooth": 1.0, "central": False}
    sizes = {"n_steps": n, "n_init_steps": 1, "n_init_orders": 1}
    like = {"dtype": torch.float64, "device": coefficients.device}
    rows = OdeRows(
        torch,
        coefficients[:, None],
        steps[:, None],
        steps.detach().mean(-1)[:, None],
        **sizes,
        **settings,
        constant=lambda a: torch.as_tensor(a, **like),
    )
    size = n * n_states * n_orders
    basis = torch.eye(size, **like).reshape(size, n, n_states, n_orders)
    columns = [
        row.flatten(2) for row in rows.apply(basis[None].expand(*batch, -1, -1, -1, -1))
    ]
    A = torch.cat(columns, dim=-1)
    b = torch.zeros(*batch, A.shape[-1], **like)
    b[:, : rhs[0].numel()] = rhs.flatten(1)
    b[:, rhs[0].numel() : rhs[0].numel() + init[0].numel()] = init.flatten(1)
    right = (A @ b[..., None])[..., 0]
    z = torch.linalg.solve(A @ A.mT, right).reshape(*batch, n, n_states, n_orders)
    return z / rows.powers[:, 0, None, None, :]


def one_batch(backend, device, n_states, n_windows, n_steps):
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    like = {"dtype": torch.float64, "device": device}
    coefficients = 0.1 * torch.randn(n_windows, n_steps, n_states, n_states, 3, **like)
    states = torch.arange(n_states)
    coefficients[..., states, states, 1] += 1.0
    given = [
        coefficients,
        torch.randn(n_windows, n_steps, n_states, **like),
        torch.randn(n_windows, 1, n_states, 1, **like),
        torch.full((n_windows, n_steps - 1), 0.1, **like),
    ]
    for tensor in given:
        tensor.requires_grad_()
    forward, backward = [], []
    clock = time.process_time if device == "cpu" else time.perf_counter

    def now():
        if device != "cpu":
            torch.cuda.synchronize()
        return clock()

    for _ in range(5):
        start = now()
        if backend == "dense":
            y = dense_windows(*given)
        else:
            y = solve_linear_ode(*given, backend=backend)
        middle = now()
        y.square().sum().backward()
        forward.append(middle - start)
        backward.append(now() - middle)
    # The first loads libraries.
    forward, backward = min(forward[1:]), min(backward[1:])
    return {"forward": forward, "backward": backward}


def windows(report, runs, n_windows, n_steps):
    cases = [(backend, "cpu") for backend in ("banded", "torch", "dense")]
    if limited(_has_gpu, 60) is True:
        cases += [(backend, "cuda") for backend in ("torch", "dense")]
    rows, totals = [], {}
    for n_states in (1, 2):
        for backend, device in cases:
            # Dense matrices of all windows take several GB.
            count = n_windows // 8 if backend == "dense" else n_windows
            key = ["windows", backend, device, n_states, count, n_steps]
            call = lambda key=key: limited(lambda: one_batch(*key[1:]), 300)  # noqa: E731
            run = runs.get(key, call)
            name = [backend, device, 3 * n_states]
            if isinstance(run, str):
                rows.append([*name, run, "", "", ""])
                continue
            total = (run["forward"] + run["backward"]) / count
            totals[backend, device, n_states] = total
            seconds = f"{run['forward']:.3g}", f"{run['backward']:.3g}"
            rows.append([*name, count, *seconds, f"{1 / total:,.0f}"])
    header = ["backend", "device", "unknowns a step", "windows", "forward, s"]
    report.say(f"Windows of {n_steps} steps:")
    report.say()
    report.table([*header, "backward, s", "windows a second, both"], rows)
    for device in dict.fromkeys(device for _, device in cases):
        own = "banded" if device == "cpu" else "torch"
        if ("dense", device, 2) in totals:
            ratio = totals["dense", device, 2] / totals[own, device, 2]
            claim = f"dense over {own} a window, forward and backward, {device}"
            report.bar(claim, ratio, 3, at_most=False)
    report.say()


def _has_gpu():
    import torch

    return torch.cuda.is_available()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute, not kept")
    parser.add_argument("--part", choices=["series", "windows"])
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.fresh:
        KEPT.unlink(missing_ok=True)
    runs = Runs(None if args.quick else KEPT)
    report = Report("ode_solver", "Linear ODEs on all steps at once")
    cases = {
        "series": (
            (1000, 2000, 4000, 8000, 16000, 32000, 64000, 200_000, 1_000_000),
            (500, 1000, 2000, 4000, 8000),
            {
                "slopes": [(2000, 64_000, (0.85, 1.2)), (1000, 1_000_000, (None, 1.1))],
                "memory_from": 32_000,
                "limits": [(200_000, 5, 1.5)],
            },
        ),
        "windows": (512, 50),
    }
    if args.quick:
        cases = {
            "series": (
                (1000, 2000, 4000, 8000, 64_000),
                (500, 1000),
                {
                    "slopes": [(1000, 8000, (None, 1.2))],
                    "memory_from": 8000,
                    "limits": [(64_000, 2, 0.5)],
                },
            ),
            "windows": (64, 20),
        }
    parts = {"series": series, "windows": windows}
    for name in [args.part] if args.part else parts:
        parts[name](report, runs, *cases[name])
    if not args.quick and args.part is None:
        report.write()


if __name__ == "__main__":
    main()
