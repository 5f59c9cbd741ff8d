"""All four variants on synthetic dictionaries: accuracy and agreement of re-runs.

    python benchmarks/bench_sae_variants.py small|medium [--scale 0.3] [--seeds 3]

8,000 steps of 512 rows that are never repeated, two dictionary seeds, several training
seeds, with and without the released l1 term. Fits are kept in benchmarks/output, so
that an interrupted run goes on where it was.
"""

import argparse
import pickle
import time
import warnings
from itertools import combinations
from pathlib import Path

import numpy as np
from _common import Report

from skident.datasets import make_sparse_dictionary
from skident.decomposition import IdentifiableSAE
from skident.metrics import arip_report, dictionary_cosine_similarity, sae_stability

SIZES = {"small": (64, 256, 5), "medium": (256, 1024, 16)}
STEPS, BATCH = 8000, 512
VARIANTS = [
    ("topk", 0.0),
    ("abstopk", 0.0),
    ("isae", 0.01),
    ("isae", 0.0),
    ("isae_me", 0.01),
    ("isae_me", 0.0),
]
OUTPUT = Path(__file__).parent / "output"


def rows(size, scale, seed):
    """Training rows as float16, held-out rows and the true dictionary."""
    n, k_atoms, active = SIZES[size]
    mixtures = {"mixture_scale": scale, "n_mixtures": 3} if scale else {}
    data = make_sparse_dictionary(
        STEPS * BATCH + 10_000, n, k_atoms, active, random_state=seed, **mixtures
    )
    # A copy, or all rows would stay in memory a second time.
    test = data.X[-10_000:].copy()
    return data.X[:-10_000].astype(np.float16), test, data.dictionary


def fitted(path, X, size, variant, l1_weight, seed):
    """A fit from the cache, or anew; with its seconds."""
    if path.exists():
        return pickle.loads(path.read_bytes())
    _, k_atoms, active = SIZES[size]
    start = time.perf_counter()
    sae = IdentifiableSAE(
        k_atoms,
        active,
        variant=variant,
        l1_weight=l1_weight,
        max_steps=STEPS,
        max_epochs=1,
        batch_size=BATCH,
        learning_rate=1e-3,
        shuffle_buffer=10**9,
        random_state=seed,
    ).fit(X)
    result = sae, time.perf_counter() - start
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps(result))
    return result


def measure(size, scale, variant, l1_weight, cache, n_seeds):
    """Scores of one variant, mean over dictionaries and (pairs of) training seeds."""
    scores = []
    for dictionary_seed in (42, 43):
        data, fits = cache.get(dictionary_seed), []
        for seed in range(n_seeds):
            name = f"{size}-{scale}-{variant}-{l1_weight}-{dictionary_seed}-{seed}.pkl"
            path = OUTPUT / "variants" / name
            if data is None:
                data = cache[dictionary_seed] = rows(size, scale, dictionary_seed)
            fits.append(fitted(path, data[0], size, variant, l1_weight, seed))
            print(name, f"{fits[-1][1]:.0f} s", flush=True)
        test, truth = data[1], data[2]
        single = [
            {
                "FVU": 1.0 - sae.score(test),
                "R_S": arip_report(sae, test, random_state=0).arip_mean,
                "true": dictionary_cosine_similarity(truth, sae.components_),
                "seconds": seconds,
            }
            for sae, seconds in fits
        ]
        pairs = [
            sae_stability(a, b, test[:4000], oracle=True, random_state=0)
            for (a, _), (b, _) in combinations(fits, 2)
        ]
        merged = {key: np.mean([s[key] for s in single]) for key in single[0]}
        scores.append(merged | {k: np.mean([p[k] for p in pairs]) for k in pairs[0]})
    return {key: float(np.mean([s[key] for s in scores])) for key in scores[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--scale", type=float, default=0.0, help="mixture scale")
    parser.add_argument("--seeds", type=int, default=3, help="training seeds")
    parser.add_argument("--first", type=int, help="only the first so many variants")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    n, k_atoms, active = SIZES[args.size]
    cache = {}
    found = {
        (variant, l1): measure(args.size, args.scale, variant, l1, cache, args.seeds)
        for variant, l1 in VARIANTS[: args.first]
    }
    kind = f"mixture {args.scale:g}" if args.scale else "iid"
    suffix = f"_mixture_{args.scale:g}" if args.scale else ""
    report = Report(
        f"sae_variants_{args.size}{suffix}",
        f"Variants on {kind} dictionaries, (N, K, k) = {(n, k_atoms, active)}",
    )
    report.say(
        f"{STEPS} steps of {BATCH} fresh rows, learning rate 1e-3, 2 dictionary seeds "
        f"x {args.seeds} training seeds. FVU, R_S and agreement on held-out rows; "
        '"true" is the mean cosine of true atoms and their matches.'
    )
    report.say()
    columns = ["FVU", "R_S", "dcs", "iou", "l2", "l2_norm", "oracle_iou", "oracle_l2"]
    columns += ["true", "seconds"]
    report.table(
        ["variant", "l1", *columns],
        [
            [variant, l1, *(f"{scores[c]:.3f}" for c in columns)]
            for (variant, l1), scores in found.items()
        ],
    )
    topk, signed = found["topk", 0.0], found["abstopk", 0.0]
    isae = found["isae", 0.01]
    if args.scale:
        report.bar(
            "R_S of isae over abstopk", isae["R_S"] / signed["R_S"], 0.9, at_most=True
        )
        report.bar(
            "IoU of isae minus abstopk",
            isae["iou"] - signed["iou"],
            -0.03,
            at_most=False,
        )
    else:
        report.bar(
            "FVU of abstopk over topk", signed["FVU"] / topk["FVU"], 0.65, at_most=True
        )
        report.bar(
            "DCS of abstopk minus topk",
            signed["dcs"] - topk["dcs"],
            0.05,
            at_most=False,
        )
        report.bar(
            "IoU of abstopk minus topk", signed["iou"] - topk["iou"], 0.3, at_most=False
        )
        gap = abs(isae["FVU"] - signed["FVU"])
        report.bar("FVU of isae from abstopk's", gap, 0.03, at_most=True)
    report.write()


if __name__ == "__main__":
    main()
