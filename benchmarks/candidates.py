"""The score of one architecture of a supernet after another, as a search needs it."""

import time

import numpy as np
from harness import by_turns, entry, plain_copy
from salnas.evaluation import calibration_images
from salnas.space import named_space
from salnas.supernet import Supernet
from salnas.training import batches, calibrate_bn, evaluate


@entry(aim=5)
def candidate_evaluation(args):
    """Score one architecture of a supernet after another, as a search does.

    Extract it, calibrate it on 64 training pictures, evaluate it on the validation part."""
    from salnas.data import load_dataset
    from salnas.search import SharedWeights, Trial

    train, val = (load_dataset('popout', s, size=(192, 256)) for s in ('train', 'val'))
    space = named_space('mobilenetv2', resolutions=(256,))
    net, rng, found = Supernet(space, seed=0), np.random.default_rng(0), []
    ours, same = SharedWeights(net, train, val, calibration=64), calibration_images(train, 64)
    archs = iter([a for _ in range(args.repeats + 1) for a in [space.sample(rng)] * 2])  # both ways meet the same ones

    def plain():
        sub = calibrate_bn(plain_copy(net.extract(next(archs))), batches(train, 16, images=same))
        found.append(evaluate(sub, val).CC.mean())

    def fast():
        found.append(ours(Trial(next(archs)))['CC'])

    times = by_turns(plain, fast, args.repeats)
    difference = max(abs(a - b) for a, b in zip(found[::2], found[1::2]))
    wrong = dict(failed='scores differ by more than 1e-3') if difference > 1e-3 else {}
    what = f'mobilenetv2 at 192x256, 64 + {len(val)} pictures, both in fp32'
    return *times, dict(score_difference=float(difference), **wrong, what=what)


@entry(aim=5)
def candidate_evaluation_workers(args):
    """Candidates per minute of a whole search with a process per thread, their start included.

    Against one after another done plainly."""
    from salnas.data import load_dataset
    from salnas.search import RandomSearch, SharedWeights, search

    train, val = (load_dataset('popout', s, size=(192, 256)) for s in ('train', 'val'))
    space = named_space('mobilenetv2', resolutions=(256,))
    net, budget = Supernet(space, seed=0), 64
    ours, same = SharedWeights(net, train, val, calibration=64), calibration_images(train, 64)

    def plain():
        evaluate(calibrate_bn(plain_copy(net.extract(next(archs))), batches(train, 16, images=same)), val)

    def fast(seed):
        assert (search(RandomSearch(space, seed=seed), ours, budget, workers=args.threads).state == 'done').all()

    times = [], []
    for k in range(3):
        archs = (t.arch for t in RandomSearch(space, seed=k).ask(args.repeats + 1))  # as the search will meet them
        plain()
        for _ in range(args.repeats):
            start = time.perf_counter()
            plain()
            times[0].append(time.perf_counter() - start)
        start = time.perf_counter()
        fast(k)
        times[1].append((time.perf_counter() - start) / budget)
    what = f'as above, {budget} candidates by {args.threads} workers with a thread each, start-up included'
    return *times, dict(what=what)
