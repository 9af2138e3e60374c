"""Milliseconds per map of every metric: 480x640, 100 fixations, batch 16, two threads by default.

    python benchmarks/metrics.py [--threads 2] [--batch 16] [--repeats 7] [--device cpu]

Two kinds of prediction: smooth, as models make them, and white noise, which is the harder one for AUC because a
processor cannot guess its branches. The time is the median over the repeats; 'all' is one call of evaluate_maps.
"""

import argparse
import time

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from salnas import metrics


def clock(call, repeats, device):
    times = []
    for _ in range(repeats + 1):  # the first one warms up and is dropped
        start = time.perf_counter()
        call()
        if device == 'cuda':
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def make(kind, batch, rng, height=480, width=640, n=100):
    pred = rng.random((batch, height, width))
    if kind == 'smooth':
        pred = np.stack([gaussian_filter(p**8, 25) for p in pred]) - 0.05
    chance = gaussian_filter(rng.random((height, width)) ** 8, 25) ** 4
    fixations = rng.multinomial(n, chance.ravel() / chance.sum(), batch).reshape(pred.shape)
    density = np.stack([gaussian_filter(f.astype(float), 20) for f in fixations])
    return pred, density, fixations


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    for name, value in (('--threads', 2), ('--batch', 16), ('--repeats', 7)):
        parser.add_argument(name, type=int, default=value)
    parser.add_argument('--device', default='cpu')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = {}
    for kind in ('smooth', 'noise'):
        maps = make(kind, args.batch, np.random.default_rng(0))
        pred, density, fixations = (torch.tensor(a, dtype=torch.float32, device=args.device) for a in maps)
        negatives, baseline = metrics.shuffled_negatives(fixations), density.mean(0)
        calls = {
            'CC': lambda: metrics.cc(pred, density),
            'KLD': lambda: metrics.kld(pred, density),
            'NSS': lambda: metrics.nss(pred, fixations),
            'SIM': lambda: metrics.sim(pred, density),
            'AUC': lambda: metrics.auc_judd(pred, fixations),
            'sAUC': lambda: metrics.auc_shuffled(pred, fixations, negatives),
            'IG': lambda: metrics.info_gain(pred, fixations, baseline),
            'all': lambda: metrics.evaluate_maps(pred, density, fixations, negatives, baseline),
        }
        for name, call in calls.items():
            rows.setdefault(name, {})[kind] = clock(call, args.repeats, args.device) / args.batch * 1e3
    where = f'{args.threads} threads, {args.device}, torch {torch.__version__}'
    print(f'ms per 480x640 map, 100 fixations, batch {args.batch}, {where}')
    print(f"{'metric':8}{'smooth':>8}{'noise':>8}")
    for name, row in rows.items():
        print(f"{name:8}{row['smooth']:8.2f}{row['noise']:8.2f}")


if __name__ == '__main__':
    main()
