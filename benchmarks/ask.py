"""How long a search takes to choose, as its study grows: milliseconds from one trial's end to the next one's claim.

    python benchmarks/ask.py [--trials 100 1000 5000] [--storages memory jsonl sqlite] [--strategies random evolution]

A study of so many finished trials is made at once; then a search goes on with it, and an evaluator that costs nothing
notes when it is called. Between two calls lie the end that is stored, what is read and told, the ask, and the claim.
The first call, which reads the whole study, is given apart as `open`.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from salnas.search import Evolution, MemoryStorage, OptunaStorage, RandomSearch, Record, Trial, search
from salnas.search import EarlyExitEvolution
from salnas.space import alphanet_space

SPACE = alphanet_space()
OBJECTIVES = {'CC': 'max', 'MACs': 'min'}
STRATEGIES = {'random': RandomSearch, 'evolution': Evolution, 'early exit': EarlyExitEvolution}


def score(trial):
    "Two scores that trade off, and cost nothing."
    size = sum(trial.arch.width) + 10 * sum(trial.arch.depth)
    return {'CC': 1 - 100 / size + (hash(trial.arch) % 1000) / 1e5, 'MACs': float(size)}


def records(n):
    "So many finished trials, of random architectures."
    rng = np.random.default_rng(0)
    archs = {}
    while len(archs) < n:
        archs[SPACE.sample(rng)] = None
    trials = [Trial(a) for a in archs]
    return [Record(f'r{i}', t, 'elsewhere:1:', 0.0, 1, 'done', score(t)) for i, t in enumerate(trials)]


def filled(kind, n, folder):
    "A storage of that kind with n finished trials."
    header = {'space': SPACE.to_dict(), 'objectives': [[k, v] for k, v in OBJECTIVES.items()]}
    if kind == 'memory':
        storage = MemoryStorage()
        storage.open(header)
        for r in records(n):
            storage.add(r)
        return storage
    if kind == 'jsonl':
        path = Path(folder) / f'{n}.jsonl'
        lines = [{'header': header}]
        for r in records(n):
            running = r.to_dict() | {'state': 'running', 'scores': {}}
            lines += [{'claim': running}, {'end': r.id, 'changes': {'state': 'done', 'scores': r.scores}}]
        path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
        return path
    url = f'sqlite:///{folder}/{n}.db' if kind == 'sqlite' else f'{folder}/{n}.journal'
    fill_optuna(url, header, records(n))
    return url


def fill_optuna(url, header, trials):
    "What a search would have left in an Optuna study, at a transaction each."
    import optuna

    (storage := OptunaStorage(url)).open(header)
    for r in trials:
        end = {'state': 'done', 'scores': r.scores}
        storage.study.add_trial(
            optuna.create_trial(
                state=optuna.trial.TrialState.COMPLETE,
                values=[r.scores[k] for k in OBJECTIVES],
                params=dict(zip(SPACE.genes, SPACE.values(r.trial.arch))),
                distributions={
                    k: optuna.distributions.CategoricalDistribution(g.choices) for k, g in SPACE.genes.items()
                },
                user_attrs={'claim': r.to_dict() | {'state': 'running', 'scores': {}}, 'end': end},
            )
        )


def measure(storage, strategy, n, turns=15):
    "(seconds to open the study and claim, median seconds from one trial's end to the next one's claim)."
    moments = [time.perf_counter()]

    def evaluator(trial):
        moments.append(time.perf_counter())
        return score(trial)

    search(STRATEGIES[strategy](SPACE, seed=1, objectives=OBJECTIVES), evaluator, n + turns, storage=storage)
    gaps = np.diff(moments)
    return gaps[0], statistics.median(gaps[1:])


def rows(trials=(100, 1000, 5000), storages=('memory', 'jsonl', 'sqlite'), strategies=('random', 'evolution')):
    "A dict per combination: storage, strategy, trials, open_ms, ask_ms."
    for kind in storages:
        for n in trials:
            for strategy in strategies:
                with tempfile.TemporaryDirectory() as folder:
                    first, each = measure(filled(kind, n, folder), strategy, n)
                yield dict(
                    storage=kind,
                    strategy=strategy,
                    trials=n,
                    open_ms=round(1e3 * first, 1),
                    ask_ms=round(1e3 * each, 2),
                )


def ask_5000():
    "For a table of benchmarks: milliseconds per ask at 5,000 trials of evolution, by storage."
    return {r['storage']: r['ask_ms'] for r in rows((5000,), strategies=('evolution',))}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--trials', type=int, nargs='+', default=[100, 1000, 5000])
    parser.add_argument('--storages', nargs='+', default=['memory', 'jsonl', 'sqlite'], help='also: journal')
    parser.add_argument('--strategies', nargs='+', default=['random', 'evolution'], choices=list(STRATEGIES))
    args = parser.parse_args()
    print(f'{"storage":8} {"strategy":10} {"trials":>6} {"open ms":>9} {"ask ms":>8}')
    for r in rows(args.trials, args.storages, args.strategies):
        print(f'{r["storage"]:8} {r["strategy"]:10} {r["trials"]:6} {r["open_ms"]:9} {r["ask_ms"]:8}', flush=True)


if __name__ == '__main__':
    main()
