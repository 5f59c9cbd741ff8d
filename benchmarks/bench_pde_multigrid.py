"""Multigrid for linear equations of fields: iterations, seconds and memory by grid.

    python benchmarks/bench_pde_multigrid.py [--quick | --part {iterations,seconds}]

Iterations are those of conjugate gradients until the residual of the condensed system
is 1e-8 of its right side. Contenders solve the same system from coordinates to values,
assembly, elimination and set-up counted, each in a process of its own, in seconds of
its own processor time on one thread. Every result is kept in ``benchmarks/output`` and
not computed again by a later call; ``--fresh`` starts anew.
"""

import argparse
import resource
import time
import warnings

import numpy as np
from _common import OUTPUT, Report, Runs, limited
from scipy import sparse
from scipy.sparse.linalg import splu, spsolve

from skident.solvers import PdeSystem, solve_linear_pde

KEPT = OUTPUT / "pde_multigrid.jsonl"
SYMMETRIC = {
    "permc_spec": "MMD_AT_PLUS_A",
    "diag_pivot_thresh": 0.0,
    "options": {"SymmetricMode": True},
}
LINES = [(n, n) for n in (16, 32, 64, 128, 256)]
PLANES = [(8, 32, 32), (16, 32, 32), (8, 64, 64), (16, 64, 64), (16, 128, 128)]
# {problem: diffusion, whether a wave carries the field, grids, most iterations}.
PROBLEMS = {
    "heat, nu = 0.1": (0.1, False, LINES, 12),
    "Burgers, nu = 0.1": (0.1, True, LINES, 12),
    "Burgers, nu = 0.01": (0.01, True, LINES, 12),
    "Burgers, nu = 0.001": (0.001, True, LINES, 30),
    "transport, nu = 0": (0.0, True, LINES, 60),
    "heat in a plane, nu = 0.1": (0.1, False, PLANES, 40),
    "heat in a plane, nu = 0.0001": (1e-4, False, PLANES, 65),
}
# Grid and contender: how many times multigrid's seconds it must take.
RATIOS = [
    ((128, 128), "spsolve, full", 50),
    ((128, 128), "splu, full", 1.3),
    ((256, 256), "splu, condensed", 3),
    ((8, 32, 32), "splu, condensed", 2),
    ((8, 64, 64), "splu, condensed", 8),
]
CONTENDERS = ("multigrid", "direct", "splu, condensed", "splu, full", "spsolve, full")


def problem(shape, nu, carried):
    """Coordinates on unit boxes, coefficients, and the field whose faces are given."""
    axes = [np.linspace(0, 1, n) for n in shape]
    grids = np.meshgrid(*axes, indexing="ij")
    c = np.zeros((int(np.prod(shape)), 1 + 2 * len(shape)))
    c[:, 1], c[:, 2 + len(shape) :] = 1.0, -nu
    if carried:
        wave = np.exp(-grids[0]) * np.sin(2 * np.pi * grids[1]) + 0.5
        c[:, 2] = wave.ravel()
    u = np.exp(-grids[0])
    for x in grids[1:]:
        u = u * np.sin(np.pi * x) + 0.2
    return axes, c, u.ravel()


def iterate(shape, nu, carried, solver="multigrid", **params):
    axes, c, u = problem(shape, nu, carried)
    start = time.process_time()
    system = PdeSystem(axes, **params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        factor = system.factor(c, linear_solver=solver)
        z = factor.solve(np.zeros(len(u)), u)
    found = {"iterations": z.n_iterations, "solver": z.solver, "residual": z.residual}
    return {**found, "seconds": time.process_time() - start, **_memory()}


def _memory():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"gigabytes": peak * 1024 / 1e9}


def contend(name, shape):
    axes, c, u = problem(shape, 0.1, len(shape) == 2)
    source = np.zeros(len(u))
    start = time.process_time()
    if name in ("multigrid", "direct"):
        field = solve_linear_pde(c, source, u, axes, linear_solver=name).values[:, 0]
    elif name == "splu, condensed":
        system = PdeSystem(axes)
        condensed = system.condensation.condense(c)
        rhs = np.zeros((system.n_nodes, system.n_variables, 1))
        rhs[system.boundary_nodes, 0, 0] = u[system.boundary_nodes]
        factor = splu(condensed.matrix.tocsc(), **SYMMETRIC)
        field = condensed.expand(factor.solve(condensed.reduce(rhs)), rhs)[:, 0, 0]
    else:
        system = PdeSystem(axes)
        rows = system.rows(c)
        right = np.zeros(rows.shape[0])
        first = len(system.equation_nodes)
        right[first : first + len(system.boundary_nodes)] = (
            system.structure_weight * u[system.boundary_nodes]
        )
        # In units of mean steps: the same numbers as the others work on.
        rows = rows @ sparse.diags(1.0 / np.tile(system.units, system.n_nodes))
        normal, right = (rows.T @ rows).tocsc(), rows.T @ right
        plain = name == "spsolve, full"
        z = spsolve(normal, right) if plain else splu(normal, **SYMMETRIC).solve(right)
        field = z[:: system.n_variables]
    seconds = time.process_time() - start
    return {"seconds": seconds, "check": float(np.linalg.norm(field)), **_memory()}


def by_name(shape):
    return " x ".join(map(str, shape))


def run_iterations(report, runs, quick):
    largest = 64**2 if quick else np.inf
    rows = []
    for name, (nu, carried, shapes, bound) in PROBLEMS.items():
        counts = []
        for shape in shapes:
            if np.prod(shape) > (2 * largest if len(shape) == 3 else largest):
                continue
            found = runs.get(
                ["iterations", name, shape],
                lambda s=shape, nu=nu, c=carried: limited(
                    lambda: iterate(s, nu, c), 600
                ),
            )
            taken = found["iterations"]
            if found["solver"] == "direct":
                taken = f"> {taken}, then direct"
            else:
                counts.append(taken)
            cost = [f"{found['seconds']:.2f}", f"{found['gigabytes']:.2f}"]
            rows.append([name, by_name(shape), taken, *cost])
        if nu:
            report.bar(f"{name}: most iterations", max(counts), bound, at_most=True)
            # Small grids with one axis of space are all but solved by the blocks.
            first = 2 if len(shapes[0]) == 2 else 0
            compared = counts[first:]
            if len(compared) > 1:
                report.bar(
                    f"{name}: most over fewest from {by_name(shapes[first])} on",
                    max(compared) / min(compared),
                    1.35,
                    at_most=True,
                )
    report.say()
    report.table(["problem", "nodes", "iterations", "seconds", "peak GB"], rows)
    rows = []
    for n in (16, 32) if quick else (16, 32, 64):
        for weight in (1.0, 32.0):
            found = runs.get(
                ["published", n, weight],
                lambda n=n, w=weight: limited(
                    lambda: iterate(
                        (n, n), 0.1, False, "multigrid_paper", equation_weight=w
                    ),
                    900,
                ),
            )
            if isinstance(found, str):
                rows.append([f"{n} x {n}", weight, found, ""])
                continue
            taken = found["iterations"]
            taken = f"> {taken}" if found["solver"] == "direct" else taken
            rows.append([f"{n} x {n}", weight, taken, f"{found['seconds']:.1f}"])
    report.say("The published cycle on the heat equation, nu = 0.1:")
    report.say()
    report.table(["nodes", "weight of the equation", "iterations", "seconds"], rows)


def run_seconds(report, runs, quick):
    shapes = [(128, 128), (8, 32, 32)]
    shapes += [] if quick else [(256, 256), (8, 64, 64)]
    table, found = [], {}
    for shape in shapes:
        for name in CONTENDERS:
            if "full" in name and shape != (128, 128):
                continue
            if quick and name == "spsolve, full":
                continue
            found[shape, name] = result = runs.get(
                ["seconds", shape, name],
                lambda s=shape, n=name: limited(lambda: contend(n, s), 1200),
            )
            row = [by_name(shape), name]
            if isinstance(result, str):
                table.append([*row, result, ""])
            else:
                table.append(
                    [*row, f"{result['seconds']:.2f}", f"{result['gigabytes']:.2f}"]
                )
    for shape, name, wanted in RATIOS:
        own, other = found.get((shape, "multigrid")), found.get((shape, name))
        if not isinstance(own, dict) or not isinstance(other, dict):
            continue
        gap = abs(own["check"] - other["check"]) / other["check"]
        title = f"{by_name(shape)}: {name} over multigrid, in seconds"
        report.bar(title, other["seconds"] / own["seconds"], wanted, at_most=False)
        report.bar(f"{by_name(shape)}: difference to {name}", gap, 2e-7, at_most=True)
    report.say()
    report.table(["nodes", "solver", "seconds", "peak GB"], table)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small grids; not kept")
    parser.add_argument("--fresh", action="store_true", help="compute all anew")
    parser.add_argument("--part", choices=("iterations", "seconds"))
    args = parser.parse_args()
    if args.fresh:
        KEPT.unlink(missing_ok=True)
    runs = Runs(None if args.quick else KEPT)
    report = Report("pde_multigrid", "Multigrid for linear equations of fields")
    if args.part != "seconds":
        run_iterations(report, runs, args.quick)
    if args.part != "iterations":
        run_seconds(report, runs, args.quick)
    if not args.quick and args.part is None:
        report.write()


if __name__ == "__main__":
    main()
