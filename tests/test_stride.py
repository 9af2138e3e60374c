"The decoder's stride as a gene: strategies, block-wise ratings, training, files written before it existed."

import functools
import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from salnas.blockwise import BlockwiseSearch, Ratings, Traversal, rate
from salnas.data import load_dataset
from salnas.efficiency import Pricer, cost_table
from salnas.neighbours import every_arch, shrunk
from salnas.progressive import ProgressiveSearch
from salnas.proxies import HierarchicalProxySearch
from salnas.search import AtMost, Evolution, NSGA2Search, RandomSearch, TPESearch, history, search
from salnas.space import Arch, mobilenetv2_space, tiny_space
from salnas.supernet import Supernet
from salnas.training import fit, load_checkpoint, named_profile, save_checkpoint

SPACE = tiny_space((64,), strides=(1, 2, 4))
PRICE = Pricer(SPACE, (48, 64))
STRATEGIES = {
    'random': RandomSearch,
    'evolution': functools.partial(Evolution, population=8),
    'tpe': functools.partial(TPESearch, startup=8),
    'nsga2': functools.partial(NSGA2Search, population=8),
    'progressive': functools.partial(ProgressiveSearch, per_level=5),
    'hierarchical': functools.partial(HierarchicalProxySearch, initial=8, children=6, budgets=(1.0, 2.0, 3.0)),
    'blockwise': BlockwiseSearch,
}


def score(trial):
    return {'CC': 1 - np.exp(-PRICE.macs(trial.arch) / 9e6), 'MACs': PRICE.macs(trial.arch)}


@pytest.mark.parametrize('name', STRATEGIES)
def test_strategies_search_it(name):
    strategy = STRATEGIES[name](SPACE, seed=0)
    for _ in range(50):
        trials = strategy.ask(1)
        strategy.tell(trials, [score(t) for t in trials])
    archs = [t.arch for t in strategy.done]
    assert len(archs) == 50 and all(SPACE.contains(a) for a in archs)
    assert {a.stride for a in archs} == {1, 2, 4}


@pytest.mark.parametrize('name', STRATEGIES)
def test_strategies_meet_every_allowed_architecture(name):
    limit = AtMost(PRICE.macs, 1.02 * PRICE.macs(SPACE.min()), 'MACs')
    allowed = set(every_arch(SPACE, limit))
    strategy = STRATEGIES[name](SPACE, seed=0, constraint=limit)
    met = set()
    while trials := strategy.ask(8):
        strategy.tell(trials, [score(t) for t in trials])
        met |= {t.arch for t in trials}
    assert met == allowed and len(allowed) > 5
    assert all(limit.allows(shrunk(SPACE, a, limit, np.random.default_rng(0))) for a in [SPACE.max()])


def test_blockwise_sums_over_frames_with_a_stride():
    loss = lambda a: sum(0.1 / d + 0.02 * (k == 3) for d, k in zip(a.depth, a.kernel_size)) + 0.05 * a.stride
    ratings = rate(SPACE, loss)
    assert Ratings.from_dict(json.loads(json.dumps(ratings.to_dict()))) == ratings
    width, by_stage = SPACE.max().width, [sorted(o for i, o in ratings.options if i == s) for s in range(1, 6)]
    archs = [Arch(64, width, *zip(*[o[1:] for o in c]), s) for c in product(*by_stage) for s in (1, 2, 4)]
    expected = sorted(loss(a) - loss(SPACE.max()) for a in archs)
    for given in (ratings, Ratings(ratings.options)):
        found = list(Traversal(SPACE, given, PRICE.macs).below())
        assert {a for _, a in found} == set(archs)
    found = list(Traversal(SPACE, ratings, PRICE.macs).below())
    assert np.allclose([r for r, _ in found], expected)


def test_trained_saved_and_read(tmp_path):
    settings = named_profile('smoke', 'tiny', epochs=1)
    train, val = (load_dataset('popout', s, size=settings.size) for s in ('train', 'val'))
    net = Supernet(SPACE)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    fit(net, train, val, settings=settings, progress=False)
    assert all(not torch.equal(before[f'ends.{s}.conv.weight'], net.ends[str(s)].conv.weight) for s in (2, 4))
    x = torch.rand(1, 3, 48, 64)
    for stride in (1, 2, 4):
        one = net.extract(replace(SPACE.max(), stride=stride)).eval()
        again = load_checkpoint(save_checkpoint(one, tmp_path / f'{stride}.safetensors')).eval()
        assert again.arch == one.arch and torch.allclose(again(x), one(x), atol=1e-5)
    again = load_checkpoint(save_checkpoint(net, tmp_path / 'net.safetensors'))
    assert again.space == SPACE and torch.allclose(again.eval()(x, SPACE.min()), net.eval()(x, SPACE.min()), atol=1e-5)
    names = {'1': SPACE.max(), '4': replace(SPACE.max(), stride=4)}
    table = cost_table({k: net.extract(a) for k, a in names.items()}, size=(48, 64))
    assert len(table) == 2


def test_a_committed_study_goes_on(tmp_path):
    "Made before the stride was a gene: its strategy proposes the same trials, and two more are added."
    source = Path(__file__).parents[1] / 'results' / 'search-osie' / 'evolution' / 'seed0' / 'study.jsonl'
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes())
    about = json.loads(source.read_text().splitlines()[0])['header']['about']
    before = history(path)
    strategy = Evolution(mobilenetv2_space(), seed=0, objectives={'CC': 'max', 'MACs': 'min'})
    price = Pricer(strategy.space).macs
    table = search(strategy, lambda t: {'CC': 0.5, 'MACs': price(t.arch)}, len(before) + 2, storage=path, about=about)
    assert list(table.arch)[: len(before)] == list(before.arch) and len(table) == len(before) + 2
    assert {a.stride for a in table.arch} == {1} and '"stride": 4' not in path.read_text()
    fresh = Evolution(mobilenetv2_space(), seed=0, objectives={'CC': 'max', 'MACs': 'min'})
    assert [t.arch for t in fresh.ask(8)] == list(before.arch)[:8]


def test_what_is_written_without_the_gene_does_not_mention_it(tmp_path):
    "Headers of checkpoints and half-done trainings are those of before: newer fields are left out at their defaults."
    settings = named_profile('smoke', 'tiny', epochs=1)
    train, val = (load_dataset('popout', s, size=settings.size) for s in ('train', 'val'))
    net = Supernet(tiny_space()).extract(tiny_space().max())
    fit(net, train, val, settings=settings, output_dir=tmp_path / 'run', progress=False)
    save_checkpoint(net, tmp_path / 'net.safetensors')
    files = [f for f in tmp_path.rglob('*') if f.is_file()]
    assert len(files) > 1
    for f in files:
        head = f.read_bytes()
        assert not any(f'"{word}"'.encode() in head for word in ('strides', 'output', 'padding', 'bn_eps', 'decoder'))
    space = tiny_space().to_dict()
    assert list(space) == ['name', 'first', 'stages', 'head', 'shortcut', 'resolutions', 'act']
