"The table that comes with the package: whole, small, quick, read without torch, and what the runs say."

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from salnas.bench import BENCH, bench_space, load_bench
from salnas.contest import contender, walk, walks_of
from salnas.neighbours import every_arch
from salnas.space import Arch

RESULTS = Path(__file__).resolve().parent.parent / 'results/bench'
made = pytest.mark.skipif(
    not BENCH.is_file(), reason='this checkout has no table: nbs/experiments/bench.ipynb makes it'
)


@made
def test_it_is_whole_and_small():
    bench = load_bench()
    assert bench.space == bench_space() and set(bench.archs) == set(every_arch(bench.space)) and len(bench) == 384
    seeds = [bench[a]['seeds'] for a in bench.archs]
    assert seeds.count([0]) == 334 and seeds.count([0, 1, 2]) == 50
    assert {'CC', 'NSS', 'KLD', 'SIM', 'AUC'} <= set(bench.metrics) and {'synflow', 'jacob_cov', 'naswot'} <= set(
        bench.scores
    )
    assert all(np.isfinite(a).all() for name, a in bench.arrays.items() if name != 'ratings')
    of_some = np.isfinite(bench.arrays['ratings'])
    cells = [i for i, name in enumerate(bench.ratings) if name.startswith('c')]
    assert len(cells) == 8 and all((of_some[:, i] == [len(s) == 3 for s in seeds]).all() for i in cells)
    assert of_some[:, bench.ratings.index("DNA's sum")].all() and bench.about['provenance']['ratings']
    assert BENCH.stat().st_size < 5e6 and bench.about['provenance']['trained_at']
    began = time.perf_counter()
    for arch in bench.archs:
        bench.query(arch)
    assert (time.perf_counter() - began) / len(bench) < 1e-3


@made
def test_it_says_what_the_runs_say():
    bench = load_bench()
    lines = [
        json.loads(line) for file in RESULTS.glob('train/*/networks.jsonl') for line in file.read_text().splitlines()
    ]
    assert len(lines) == len(bench.arrays['seed'])
    for line in lines:
        known = bench[Arch.from_dict(line['arch'])]
        at = known['seeds'].index(line['seed'])
        for metric, score in line['test'].items():
            assert abs(known['test'][metric][at] - score) < 1e-5
            assert np.allclose(known['val'][metric][at], line['val'][metric], atol=1e-5)


@made
def test_numpy_and_pandas_are_enough():
    program = """
import sys
for name in ('torch', 'torchvision', 'scipy', 'matplotlib'):
    sys.modules[name] = None  # an import of it fails
from salnas.bench import load_bench
bench = load_bench()
print(bench.evaluator(epochs=bench.epochs).names, len(bench.table()))
"""
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@made
def test_committed_walks_are_of_the_table_that_comes_along():
    bench, walks = load_bench(), RESULTS.parent / 'search_strategies'
    asked = {json.loads(f.read_text())['identity']['fingerprint'] for f in walks.glob('*/run.json')}
    assert asked == {bench.fingerprint[:16]}
    assert (walks / f'predictions-{bench.fingerprint[:8]}.csv').is_file()
    kept = walks_of(walks / 'random')[0]
    assert walk(bench, contender(bench, 'random', 0, max_macs=0.5), 64).equals(kept)
