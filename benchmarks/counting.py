"""Counting, metrics, data, and how well a table predicts latencies."""

import functools

import numpy as np
import torch
from harness import by_turns, entry
from salnas import metrics
from salnas.efficiency import Pricer, latency, optimize
from salnas.metrics import evaluate_maps, shuffled_negatives
from salnas.space import named_space
from salnas.supernet import Subnet, Supernet, macs
from salnas.timing import LatencyTable
from torch.nn import functional as F


@entry(aim=1000)
def arch_pricing(args):
    space, rng = named_space('alphanet'), np.random.default_rng(0)
    price, archs = Pricer(space), [space.sample(rng) for _ in range(500)]
    for a in archs:
        price(a)

    def plain():
        with torch.device('meta'):
            macs(Subnet(space, archs[0]), (288, 384))

    slow, fast = by_turns(plain, lambda: [price(a) for a in archs], args.repeats)
    what = 'MACs of one architecture, against building it and counting what is dispatched'
    return slow, [t / len(archs) for t in fast], dict(what=what)


def maps(batch=16, h=480, w=640, n=100):
    rng = np.random.default_rng(0)
    pred = torch.from_numpy(rng.random((batch, h, w))).float()
    fixations = torch.from_numpy(rng.multinomial(n, np.full(h * w, 1 / (h * w)), batch).reshape(batch, h, w)).float()
    pred = F.avg_pool2d(pred[:, None], 31, 1, 15)[:, 0]
    return pred, F.avg_pool2d(fixations[:, None], 41, 1, 20)[:, 0] + 1e-9, fixations


@entry(aim=5)
def auc_judd(args):
    from sklearn.metrics import roc_auc_score

    pred, _, fixations = maps()

    def plain():
        for p, f in zip(pred.numpy(), fixations.numpy()):  # every pixel a negative, counts as weights of the positives
            positives = np.repeat(p[f > 0], f[f > 0].astype(int))
            roc_auc_score(np.r_[np.ones(len(positives)), np.zeros(p.size)], np.r_[positives, p.ravel()])

    times = by_turns(plain, lambda: metrics.auc_judd(pred, fixations), args.repeats)
    return *times, dict(what='16 maps of 480x640, 100 fixations, against scikit-learn')


@entry(aim=1)
def metrics_all(args):
    pred, density, fixations = maps()
    negatives = shuffled_negatives(fixations)

    def plain():  # one picture at a time
        for k in range(len(pred)):
            evaluate_maps(*(t[k : k + 1] for t in (pred, density, fixations)), negatives[k : k + 1], density.mean(0))

    fast = lambda: evaluate_maps(pred, density, fixations, negatives, density.mean(0))
    times = by_turns(plain, fast, args.repeats)
    each = 1e3 * float(np.median(times[1])) / len(pred)
    return *times, dict(ms_per_map=each, what='all seven metrics of 16 maps, against one map at a time')


@entry(aim=3)
def data_loading(args):
    from salnas.data import load_dataset

    cached, drawn = load_dataset('popout'), load_dataset('popout', cache=False)
    plain, fast = (lambda part=part: [part[k] for k in range(50)] for part in (drawn, cached))
    what = '50 samples at 192x256 from the cache, against drawing each anew'
    return *by_turns(plain, fast, args.repeats), dict(what=what)


@entry(aim=None)
def latency_table(args):
    "Not a speed: the median relative error of predicted latencies on 30 random architectures."
    space, rng = named_space('alphanet'), np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(60)]
    supernet, x = Supernet(space, seed=0), torch.randn(1, 3, 288, 384)
    measured = []
    for chunk in np.array_split(np.arange(60), 6):  # a few networks in memory at a time
        nets = {str(i): functools.partial(optimize(supernet.extract(archs[i]).eval()), x) for i in chunk}
        measured += latency(nets, args.repeats, 2).median_ms.tolist()
    table = LatencyTable(space).measure(archs).fit(archs[30:], measured[30:])
    predicted = [table(a) for a in archs[:30]]
    error = np.abs(np.array(predicted) / measured[:30] - 1)
    found = dict(
        median_error=float(np.median(error)),
        aim_median_error=0.1,
        measured_ms=measured[:30],
        predicted_ms=predicted,
        what='predicted against measured latency, 30 architectures, the line fitted on 30 others',
    )
    return [1.0], [1.0], found
