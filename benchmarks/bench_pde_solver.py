"""Direct least-squares solves of linear equations of fields: errors, seconds, batches.

    python benchmarks/bench_pde_solver.py [--quick]

Contenders solve the same system in one process, assembly and elimination counted, in
seconds of the process's own processor time. With a GPU, the batch is solved there too,
in seconds by the clock on both sides.
"""

import argparse
import time

import numpy as np
import torch
from _common import OUTPUT, Report, Runs, limited
from scipy import sparse
from scipy.sparse.linalg import splu, spsolve

from skident.datasets import make_spiral_rd
from skident.solvers import PdeSystem, solve_linear_pde

KEPT = OUTPUT / "pde_solver.jsonl"
SYMMETRIC = {
    "permc_spec": "MMD_AT_PLUS_A",
    "diag_pivot_thresh": 0.0,
    "options": {"SymmetricMode": True},
}
# Nodes up to which SciPy's default ordering ends within minutes, by number of axes.
_MAX_PLAIN = {2: 128**2, 3: 8 * 16**2}
# What the discretisation is known to reach: largest errors at 16^2, 32^2 and 64^2.
PUBLISHED = {"heat": (9e-4, 1.7e-4, 3.7e-5), "Laplace": (1e-3, 1.3e-4, 2e-5)}


def plane(name, n):
    """Coordinates, coefficients, field and boundary of a problem with a known field."""
    ends = {"heat": (1, np.pi), "Laplace": (1, 1)}[name]
    t, x = (np.linspace(0, end, n) for end in ends)
    if name == "heat":
        u, c = np.exp(-t)[:, None] * np.sin(x), [0, 1, 0, 0, -1.0]
    else:
        rise = np.sinh(np.pi * t) / np.sinh(np.pi)
        u, c = rise[:, None] * np.sin(np.pi * x), [0, 0, 0, 1.0, 1.0]
    boundary = "faces" if name == "heat" else "box"
    return [t, x], np.tile(c, (n * n, 1)), u.ravel(), boundary


def error(axes, c, u, boundary):
    z = solve_linear_pde(c, np.zeros(len(c)), u, axes, boundary=boundary)
    return float(abs(z.values[:, 0] - u).max())


def spiral_error():
    """Error of u on a patch of 8 x 16 x 16 at the core, with the true equation."""
    data = make_spiral_rd(n_x=64, n_t=21, length=10.0, dt=0.05)
    field = data.X.reshape(-1, 64, 64, 2)[-8:, 24:40, 24:40]
    u, v = field[..., 0].ravel(), field[..., 1].ravel()
    step = 10.0 / 64
    axes = [0.05 * np.arange(8), *[step * np.arange(16)] * 2]
    square = u**2 + v**2
    c = np.zeros((len(u), 7))
    c[:, 0], c[:, 1], c[:, 5], c[:, 6] = square - 1.0, 1.0, -0.1, -0.1
    z = solve_linear_pde(c, square * v, u, axes).values[:, 0]
    return float(abs(z - u).max()), float(np.sqrt(np.mean((z - u) ** 2)))


def transport_error():
    t, x = 0.005 * np.arange(8), np.linspace(0, 2 * np.pi, 64)
    u = np.sin(2 * (x - t[:, None])).ravel()
    return error([t, x], np.tile([0, 1.0, 1.0, 0, 0], (512, 1)), u, "box")


def accuracy(report):
    rows = []
    for name, published in PUBLISHED.items():
        found = [error(*plane(name, n)) for n in (16, 32, 64)]
        order = np.log(found[0] / found[2]) / np.log(63 / 15)
        rows.append([name, *(f"{e:.1e}" for e in found), f"{order:.2f}"])
        worst = max(e / p for e, p in zip(found, published, strict=True))
        report.bar(f"{name}: error over the published one", worst, 2, at_most=True)
        report.bar(f"{name}: order in the step", order, 2, at_most=False)
    transport, spiral = transport_error(), spiral_error()
    rows.append(["transport, 8 x 64", f"{transport:.1e}", "", "", ""])
    rows.append(["spiral, 8 x 16 x 16", f"{spiral[0]:.1e}", "", "", ""])
    report.bar("transport", transport / 2.6e-3, 2, at_most=True)
    report.bar(
        "spiral: largest error over the published", spiral[0] / 6e-3, 2, at_most=True
    )
    report.say()
    report.table(["largest error", "16^2", "32^2", "64^2", "order"], rows)


def burgers(shape):
    """Coefficients of u_t + a u_x - 0.1 laplacian with a wave a; a source; a field."""
    axes = [np.linspace(0, 1, n) for n in shape]
    t, x = np.meshgrid(*axes, indexing="ij")[:2]
    u = np.sin(2 * np.pi * (x - 0.3 * t)).ravel()
    n_axes = len(shape)
    c = np.zeros((u.size, 1 + 2 * n_axes))
    c[:, 1], c[:, 2], c[:, 2 + n_axes :] = 1.0, u, -0.1
    return axes, c, u


def timed(call):
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def contend(name, shape):
    """Seconds of one solve from coordinates to values, and the values' check."""
    axes, c, u = burgers(shape)
    source = np.zeros(len(u))
    if name == "skident":
        seconds, z = timed(
            lambda: solve_linear_pde(c, source, u, axes, linear_solver="direct").values
        )
        return {"seconds": seconds, "check": float(abs(z[:, 0]).sum())}

    def full():
        system = PdeSystem(axes)
        rows = system.rows(c)
        right = np.zeros(rows.shape[0])
        start = len(system.equation_nodes)
        stop = start + len(system.boundary_nodes)
        right[start:stop] = system.structure_weight * u[system.boundary_nodes]
        # In units of mean steps, without which the ordering would be all that differs.
        rows = rows @ sparse.diags(1.0 / np.tile(system.units, system.n_nodes))
        normal, right = (rows.T @ rows).tocsc(), rows.T @ right
        if name == "spsolve, full":
            return spsolve(normal, right)[:: system.n_variables]
        return splu(normal, **SYMMETRIC).solve(right)[:: system.n_variables]

    def condensed():
        system = PdeSystem(axes)
        condensed = system.condensation.condense(c)
        rhs = np.zeros((system.n_nodes, system.n_variables, 1))
        rhs[system.boundary_nodes, 0, 0] = u[system.boundary_nodes]
        factor = splu(condensed.matrix.tocsc(), **SYMMETRIC)
        field = factor.solve(condensed.reduce(rhs))
        return condensed.expand(field, rhs)[:, 0, 0]

    seconds, z = timed(condensed if name == "splu, condensed" else full)
    return {"seconds": seconds, "check": float(abs(z).sum())}


def times(report, runs, shapes, limit):
    names = ["skident", "splu, condensed", "splu, full", "spsolve, full"]
    rows, found = [], {}
    stopped = set()
    for shape in shapes:
        for name in names:
            hopeless = (
                name == "spsolve, full" and np.prod(shape) > _MAX_PLAIN[len(shape)]
            )
            if hopeless or (name, len(shape)) in stopped:
                found[shape, name] = "-"
                continue
            key = ["times", name, list(shape)]
            run = runs.get(
                key, lambda n=name, s=shape: limited(lambda: contend(n, s), limit)
            )
            if isinstance(run, str):
                stopped.add((name, len(shape)))
            found[shape, name] = run
        cells = [
            run if isinstance(run, str) else f"{run['seconds']:.3f}"
            for run in (found[shape, name] for name in names)
        ]
        rows.append([" x ".join(map(str, shape)), *cells])
    report.table(["nodes", *(f"{name}, s" for name in names)], rows)

    def ratio(shape, name):
        run = found[shape, name]
        # One that was stopped took unknown time of the processor.
        seconds = run["seconds"] if isinstance(run, dict) else np.nan
        return seconds / found[shape, "skident"]["seconds"]

    bars = [
        ((128, 128), "spsolve, full", 50),
        ((128, 128), "splu, full", 1.3),
        ((256, 256), "splu, condensed", 2),
        ((8, 32, 32), "splu, condensed", 2),
    ]
    for shape, name, wanted in bars:
        if shape in shapes:
            claim = f"{' x '.join(map(str, shape))}: times faster than {name}"
            report.bar(claim, ratio(shape, name), wanted, at_most=False)
    apart = [
        abs(run["check"] / found[shape, "skident"]["check"] - 1)
        for (shape, _), run in found.items()
        if isinstance(run, dict)
    ]
    report.bar("contenders apart, relative", max(apart), 1e-6, at_most=True)
    report.say()


def one_batch(device, n_batch, n):
    """Seconds forward and backward, by the clock and of the processor."""
    axes, c, u = burgers((n, n))
    system = PdeSystem(axes)
    shift = 1.0 + 0.1 * np.arange(n_batch) / n_batch
    c = np.stack([np.where(np.arange(5) == 2, s * c, c) for s in shift])
    c = torch.tensor(c, device=device, requires_grad=True)
    u = torch.tensor(u, device=device)
    seconds = []
    for _ in range(2):
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter(), time.process_time()
        z = solve_linear_pde(c, torch.zeros_like(u), u, system)
        (gradient,) = torch.autograd.grad((z[..., 0] - u).square().sum(), c)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start[0], time.process_time() - start[1]
    return {
        "clock": seconds[0],
        "processor": seconds[1],
        "values": float(z.detach()[..., 0].abs().sum()),
        "gradient": float(gradient.abs().sum()),
    }


def batches(report, runs, sizes):
    rows = []
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for n_batch, n in sizes:
        found = {
            device: runs.get(
                ["batch", device, n_batch, n],
                lambda d=device, b=n_batch, n=n: one_batch(d, b, n),
            )
            for device in devices
        }
        for device, run in found.items():
            rows.append(
                [f"{n_batch} of {n}^2", device, f"{run['clock']:.2f}"]
                + [f"{run['processor']:.2f}"]
            )
        if "cuda" in found:
            claim = f"{n_batch} patches of {n}^2 on a GPU: times faster"
            ratio = found["cpu"]["clock"] / found["cuda"]["clock"]
            report.bar(claim, ratio, 5, at_most=False)
            apart = max(
                abs(found["cuda"][k] / found["cpu"][k] - 1)
                for k in ("values", "gradient")
            )
            report.bar("GPU and CPU apart, relative", apart, 1e-6, at_most=True)
    report.say("Values and gradients of a batch, coefficients by their gradient:")
    report.say()
    report.table(["patches", "device", "by the clock, s", "processor, s"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small, and not kept")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    options = parser.parse_args()
    if options.fresh:
        KEPT.unlink(missing_ok=True)
    runs = Runs(None if options.quick else KEPT)
    report = Report("pde_solver", "Direct solves of linear equations of fields")
    accuracy(report)
    if options.quick:
        shapes, limit, sizes = [(16, 16), (32, 32), (8, 12, 12)], 30, [(4, 16)]
    else:
        shapes = [(2**k, 2**k) for k in range(4, 9)]
        shapes += [(8, 16, 16), (16, 16, 16), (8, 32, 32)]
        limit, sizes = 3600, [(64, 32), (64, 64)]
    times(report, runs, shapes, limit)
    batches(report, runs, sizes)
    if not options.quick:
        report.write()


if __name__ == "__main__":
    main()
