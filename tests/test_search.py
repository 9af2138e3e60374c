"Search strategies: one conformance suite over all of them, storages, workers, failures."

import functools
import json
import logging
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluators import Deadly, is_deadly
from salnas.bench import bench_space
from salnas.blockwise import BlockwiseSearch
from salnas.data import load_dataset
from salnas.efficiency import Pricer
from salnas.progressive import ProgressiveSearch
from salnas.proxies import HierarchicalProxySearch
from salnas.recipes import study
from salnas.search import (
    AtMost,
    EarlyExitEvolution,
    Evolution,
    FileStorage,
    History,
    MemoryStorage,
    NSGA2Search,
    OptunaStrategy,
    RandomSearch,
    Record,
    SharedWeights,
    TPESearch,
    Trial,
    crowding,
    every_arch,
    fronts,
    history,
    open_storage,
    search,
)
from salnas.space import SearchSpace, Stage, mobilenetv2_space, tiny_space
from salnas.supernet import Supernet
from salnas.train import train_command
from salnas.training import load_checkpoint, save_arch, save_checkpoint

STRATEGIES = {
    'random': RandomSearch,
    'evolution': functools.partial(Evolution, population=8),
    'early exit': functools.partial(EarlyExitEvolution, population=8),
    'tighter exit': lambda space, **kw: EarlyExitEvolution(
        space, population=8, early_exit=AtMost(lambda a: macs(a), 1.1 * macs(space.min())), **kw
    ),
    'tpe': functools.partial(TPESearch, startup=8),
    'nsga2': functools.partial(NSGA2Search, population=8),
    'progressive': functools.partial(ProgressiveSearch, per_level=5),
    'hierarchical': functools.partial(
        HierarchicalProxySearch, initial=8, children=6, promote=(3, 2), budgets=(1.0, 2.0, 3.0)
    ),
    'blockwise': BlockwiseSearch,
}
SPACE = tiny_space()
SMALL = SearchSpace(
    'small',
    (8,),
    (Stage((8, 12), (1,), (3,), (1,), 1), Stage((16,), (1, 2), (3, 5), (2,), 2), Stage((24, 32), (1,), (3,), (2,), 2)),
    ('factor', 2),
    'every',
    (64,),
)  # 16 architectures
price = Pricer(SPACE, (48, 64))
small_price = Pricer(SMALL, (48, 64))
BENCH = bench_space()  # its genes are tied
bench_price = Pricer(BENCH, (72, 96))
TWO = {'CC': 'max', 'MACs': 'min'}
RANKED = {('CC a', 'CC b'): 'max', 'MACs': 'min'}
every_strategy = pytest.mark.parametrize('make', STRATEGIES.values(), ids=STRATEGIES)
logging.getLogger('salnas.search').setLevel(logging.ERROR)


def macs(arch):
    return {5: price, 3: small_price, 7: bench_price}[len(arch.depth)].macs(arch)


def score(trial):
    "Made-up scores; a longer budget sees more clearly."
    a = trial.arch
    value = (
        1 - np.exp(-macs(a) / 9e6) + 0.02 * sum(k == 5 for k in a.kernel_size) + 0.001 * (hash(a) % 100) / trial.budget
    )
    return {
        'CC': float(value),
        'CC a': float(value),
        'CC b': float(value - 0.03 * a.depth[1]),
        'MACs': float(macs(a)),
        'more': 1.0,
    }


def run(strategy, n, at_once=1, score=score):
    "n trials, or fewer when there are no more."
    trials = []
    while len(trials) < n:
        new = strategy.ask(min(at_once, n - len(trials)))
        if not new:
            break
        strategy.tell(new, [score(t) for t in new])
        trials += new
    return trials


def plain(trials):
    return [(t.arch, t.budget, t.start) for t in trials]


@every_strategy
@pytest.mark.parametrize('objectives', ['CC', RANKED], ids=['one', 'ranks'])
def test_new_trials_the_same_for_the_same_seed(make, objectives):
    trials = run(make(SPACE, seed=1, objectives=objectives), 40)
    assert len(trials) == len(set(trials)) == 40
    assert all(SPACE.contains(t.arch) and 0 <= t.start < t.budget for t in trials)
    assert plain(trials) == plain(run(make(SPACE, seed=1, objectives=objectives), 40))
    assert (
        plain(trials) != plain(run(make(SPACE, seed=2, objectives=objectives), 40)) or make is BlockwiseSearch
    )  # it is exact: nothing is drawn
    arches = {}
    for t in trials:  # a trial goes on from what was spent on its architecture
        assert t.start == arches.get(t.arch, 0.0)
        arches[t.arch] = t.budget


@every_strategy
@pytest.mark.parametrize('factor', [1.1, 3.0])
def test_constraint(make, factor):
    limit = AtMost(macs, factor * macs(SPACE.min()), 'MACs')
    trials = run(make(SPACE, seed=0, constraint=limit, objectives=TWO), 35, at_once=4)
    assert len(set(trials)) == 35 and all(limit.allows(t.arch) for t in trials)
    with pytest.raises(ValueError, match=r'cheapest has .*%% more'.replace('%%', '%')):
        make(SPACE, constraint=AtMost(macs, 0.5 * macs(SPACE.min()), 'MACs'))


@every_strategy
@pytest.mark.parametrize('objectives, cut', [('CC', 9), (TWO, 1), (TWO, 30)], ids=['one', 'two, 1', 'two, 30'])
def test_resumed_it_goes_on_as_if_uninterrupted(make, objectives, cut):
    whole = run(first := make(SPACE, seed=3, objectives=objectives), 42)
    again = make(SPACE, seed=3, objectives=objectives)
    stored = [Record.from_dict(json.loads(json.dumps(Record('x', t, 'w', 0.0).to_dict()))).trial for t in whole[:cut]]
    again.tell(stored, [first.known[t] for t in whole[:cut]])
    assert plain(run(again, 42 - cut)) == plain(whole[cut:])


@every_strategy
def test_tells_out_of_order_failed_and_foreign(make):
    s, rng, waiting, asked = make(SPACE, seed=0, objectives=TWO), np.random.default_rng(0), [], []
    foreign = [Trial(SPACE.sample(rng)) for _ in range(3)]
    s.tell(foreign, [score(t) for t in foreign])
    for k in range(60):
        new = s.ask(1 + k % 3)
        assert new
        asked += new
        waiting += new
        rng.shuffle(waiting)
        told, waiting = waiting[:2], waiting[2:]
        s.tell(
            told,
            [
                None if rng.random() < 0.2 else score(t) | ({'CC': float('nan')} if rng.random() < 0.1 else {})
                for t in told
            ],
        )
    assert len(asked) == len(set(asked)) == 120 and not set(foreign) & set(asked)
    assert any(s.known[t] is None for t in asked) and s.pareto()


@every_strategy
def test_many_asked_before_anything_is_told(make):
    s = make(SPACE, seed=0)
    trials = s.ask(50)
    assert len(set(trials)) == 50
    s.tell(trials[::-1], [score(t) for t in trials[::-1]])
    assert len(set(trials + s.ask(10))) == 60


@every_strategy
def test_all_failed(make):
    s = make(SPACE, seed=0, objectives=TWO)
    trials = run(s, 40, score=lambda t: None)
    assert len(set(trials)) == 40 and s.pareto() == [] and s.done == []


@every_strategy
def test_exhausts_a_small_space(make):
    "Every architecture once (with budgets: at the lowest), then no more."
    for limit in (None, AtMost(macs, np.median([macs(a) for a in every_arch(SMALL)]), 'MACs')):
        s = make(SMALL, seed=0, constraint=limit)
        trials = run(s, 500)
        allowed = {a for a in every_arch(SMALL) if s.allows(a)}
        first = [t.arch for t in trials if t.start == 0]
        assert len(first) == len(set(first)) and set(first) == allowed and len(set(trials)) == len(trials)
        assert s.ask(3) == []


@every_strategy
@pytest.mark.parametrize('share', [0.5, 1.0])
def test_a_space_of_tied_genes_is_never_left(make, share):
    "Also by those that walk by stages: a table of the whole space has a score for whatever is asked."
    whole = set(every_arch(BENCH))
    limit = AtMost(macs, share * macs(BENCH.max()), 'MACs')
    trials = run(make(BENCH, seed=0, constraint=limit, objectives=TWO), 60)
    assert len(whole) == 384 and len(set(trials)) == len(trials) > 1
    assert {t.arch for t in trials} <= whole and all(limit.allows(t.arch) for t in trials)


@every_strategy
def test_bad_input(make):
    with pytest.raises(ValueError, match='max'):
        make(SPACE, objectives={'CC': 'up'})
    s = make(SPACE)
    t = s.ask(1)
    with pytest.raises(ValueError, match='need as many'):
        s.tell(t, [])
    with pytest.raises(ValueError, match='lack'):
        s.tell(t, [{'NSS': 1.0}])
    s.tell(t, [score(t[0])])
    with pytest.raises(ValueError, match='already'):
        s.tell(t, [score(t[0])])
    with pytest.raises(ValueError, match='outside the space'):
        s.tell([Trial(mobilenetv2_space().min())], [None])


@every_strategy
@pytest.mark.parametrize('budget', [0, 1, 33])
def test_search_keeps_the_budget_and_ends(make, budget, tmp_path):
    table = search(make(SPACE, seed=0, objectives=TWO), score, budget, storage=tmp_path / 's.jsonl')
    assert table.cost.sum() <= budget if len(table) else budget == 0
    assert len(table) and table.cost.sum() > budget - 2 or not budget  # what remains is less than the dearest trial
    assert budget <= 1 or (table.state == 'done').all()


@every_strategy
def test_search_larger_than_the_space(make):
    table = search(make(SMALL, seed=0), score, 10**6)
    assert set(table.arch) == set(every_arch(SMALL, make(SMALL)))


@every_strategy
def test_interrupted_searches_go_on(make, tmp_path):
    "With Ctrl-C at three moments the study is that of a search that was left alone."
    whole, calls = search(make(SPACE, seed=5, objectives=TWO), score, 36), []

    def impatient(trial):
        calls.append(trial)
        if len(calls) in (4, 15, 30):
            raise KeyboardInterrupt
        return score(trial)

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            search(make(SPACE, seed=5, objectives=TWO), impatient, 36, storage=tmp_path / 's.jsonl')
    again = search(make(SPACE, seed=5, objectives=TWO), impatient, 36, storage=tmp_path / 's.jsonl')
    assert list(zip(again.arch, again.budget)) == list(zip(whole.arch, whole.budget)) and len(calls) == len(whole) + 3


def test_one_object_may_be_used_again_after_an_interruption(tmp_path):
    "As in a notebook, where the cell that searches is run once more."
    for strategy in (RandomSearch(SMALL), Evolution(SMALL, population=4), BlockwiseSearch(SMALL)):
        calls = []

        def impatient(trial):
            calls.append(trial)
            if len(calls) in (3, 7):
                raise KeyboardInterrupt
            return score(trial)

        where = tmp_path / f'{type(strategy).__name__}.jsonl'
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                search(strategy, impatient, 1000, storage=where)
        assert len(search(strategy, impatient, 1000, storage=where)) == SMALL.size()


def test_an_evaluator_that_does_not_fit_costs_nothing(tmp_path):
    "A score that is never there is no failed trial but a mistake: nothing of the budget is spent."
    with pytest.raises(ValueError, match=r"gives no \['MACs'\]"):
        search(RandomSearch(SPACE, objectives=TWO), lambda t: {'CC': 0.5}, 5, storage=tmp_path / 's.jsonl')
    assert len(history(tmp_path / 's.jsonl')) == 0
    assert (search(RandomSearch(SPACE, objectives=TWO), score, 5, storage=tmp_path / 's.jsonl').state == 'done').all()
    with pytest.raises(ValueError, match='cannot be named'):
        RandomSearch(SPACE, objectives={'cost': 'min'})
    with pytest.raises(ValueError, match='cannot be named'):
        search(RandomSearch(SPACE), lambda t: {'CC': 0.5, 'state': 1}, 5)
    with pytest.raises(ValueError, match='at most two'):
        Evolution(SPACE, objectives={'CC': 'max', 'NSS': 'max', 'MACs': 'min'})
    assert (
        History(SPACE, ('CC', 'NSS')).names
        == ['CC', 'NSS']
        == History(SPACE, {'CC': 'max', ('CC', 'NSS'): 'max'}).names
    )
    with pytest.raises(ValueError, match='more; raise the limit'):
        RandomSearch(SPACE, constraint=AtMost(macs, 0))


def test_shares_add_up():
    "Ten tenths are one, whatever floating point says."

    class Tenths(RandomSearch):
        def next_trial(self, rng):
            return Trial(super().next_trial(rng).arch, 0.1)

    assert [len(search(Tenths(SPACE), score, b)) for b in (0.3, 0.7, 1.0)] == [3, 7, 10]


@pytest.mark.parametrize('factor', [1.1, 1.5])
def test_nsga2_has_generations_under_a_tight_constraint(factor):
    s = NSGA2Search(SPACE, constraint=AtMost(macs, factor * macs(SPACE.min())), objectives=TWO, population=8)
    run(s, 40)
    assert (
        sum(bool(t.info) for t in s.done) > 30
        and max((v for t in s.done for k, v in t.info.items() if 'generation' in k), default=0) >= 2
    )


# --- ranking against another implementation ---


def test_fronts_and_crowding_agree_with_optuna():
    from optuna.study._multi_objective import _fast_non_domination_rank

    rng = np.random.default_rng(0)
    for m in (1, 2, 3):
        values = rng.integers(0, 12, (80, m)).astype(float)  # with ties
        assert (fronts(values) == _fast_non_domination_rank(values)).all()
    assert list(crowding(np.array([[0.0, 4.0], [1, 2], [4, 1], [5, 0]]))) == [
        np.inf,
        4 / 5 + 3 / 4,
        4 / 5 + 2 / 4,
        np.inf,
    ]


# --- storages ---


def storages(folder):
    return {
        'file': folder / 'study.jsonl',
        'journal': str(folder / 'study.journal'),
        'sqlite': f'sqlite:///{folder}/study.db',
    }


@pytest.mark.parametrize('kind', ['file', 'journal', 'sqlite'])
def test_storage_round_trip_and_refusals(kind, tmp_path):
    where = storages(tmp_path)[kind]
    found = search(
        Evolution(SPACE, objectives=TWO), lambda t: score(t) if t.arch != SPACE.min() else 1 / 0, 12, storage=where
    )
    again = search(Evolution(SPACE, objectives=TWO), None, 12, storage=where)
    assert (
        again.drop(columns='seconds').equals(found.drop(columns='seconds'))
        and list(found.state)[0] == 'failed'
        and 'ZeroDivisionError' in found.reason[0]
    )
    with pytest.raises(ValueError, match='another space'):
        search(RandomSearch(SMALL, objectives=TWO), score, 1, storage=where)
    with pytest.raises(ValueError, match='another objectives'):
        search(RandomSearch(SPACE), score, 1, storage=where)
    assert (
        len(search(TPESearch(SPACE, objectives=TWO, seed=7), score, 15, storage=where)) == 15
    )  # another strategy may go on


def test_optuna_sees_the_study(tmp_path):
    import optuna

    search(
        RandomSearch(SPACE, objectives=TWO),
        lambda t: score(t) if t.arch.resolution == 64 else {'CC': float('nan'), 'MACs': 1.0},
        10,
        storage=f'sqlite:///{tmp_path}/s.db',
    )
    study = optuna.load_study(study_name='salnas', storage=f'sqlite:///{tmp_path}/s.db')
    assert [d.name for d in study.directions] == ['MAXIMIZE', 'MINIMIZE'] and len(study.trials) == 10
    for t in study.trials:
        assert (t.state.name == 'COMPLETE') == (t.params['resolution'] == 64) and set(t.params) == set(SPACE.genes)
    done = [t for t in study.trials if t.state.name == 'COMPLETE']
    assert done and all(t.values[1] == macs(SPACE.arch([t.params[g] for g in SPACE.genes])) for t in done)


def test_damaged_files(tmp_path):
    where = tmp_path / 's.jsonl'
    search(RandomSearch(SPACE), score, 5, storage=where)
    whole = where.read_bytes().replace(f':{os.getpid()}:'.encode(), b':999999999:')  # the process that wrote it is dead
    for cut in range(1, 60, 7):  # the last line is torn: it is as if it had not been
        where.write_bytes(whole[:-cut])
        table = search(RandomSearch(SPACE), score, 6, storage=where)
        assert len(table) == 6 and (table.state == 'done').all() and table.arch.is_unique
    where.write_bytes(whole.replace(b'{"claim"', b'{"cl\0im"', 1))
    with pytest.raises(ValueError, match='damaged'):
        search(RandomSearch(SPACE), score, 6, storage=where)
    (tmp_path / 'other.jsonl').write_text('{"a": 1}\n')
    with pytest.raises(ValueError, match='not a storage'):
        search(RandomSearch(SPACE), score, 1, storage=tmp_path / 'other.jsonl')
    (tmp_path / 'notes.jsonl').write_text('{"somebody": "else\'s work"}')  # without a newline at its end
    with pytest.raises(ValueError, match='not a storage'):
        search(RandomSearch(SPACE), score, 1, storage=tmp_path / 'notes.jsonl')
    assert (tmp_path / 'notes.jsonl').read_text() == '{"somebody": "else\'s work"}'
    with pytest.raises(ValueError, match='must end in'):
        open_storage('study.txt')
    with pytest.raises(ValueError, match="storage foo://...@bar cannot be opened: Can't load plugin.*foo"):
        open_storage('foo://me:secret@bar').read()
    with pytest.raises(FileNotFoundError):
        history(tmp_path / 'nowhere' / 'typo.jsonl')
    assert not (tmp_path / 'nowhere').exists()


def test_storage_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr('salnas.storages.time.sleep', lambda seconds: None)
    with pytest.raises(ConnectionError, match='does not answer: unable to open database file$'):
        search(RandomSearch(SMALL), lambda *_: {}, 1, storage=f'sqlite:///{tmp_path}')


@pytest.mark.parametrize('kind', ['file', 'journal', 'sqlite'])
def test_two_workers_find_the_same_orphans(kind, tmp_path):
    "Three take them over at once; nobody crashes, and each is evaluated once."
    where, dead = storages(tmp_path)[kind], f'{socket.gethostname()}:999999999:1'
    store = open_storage(where)
    store.open({'space': SPACE.to_dict(), 'objectives': [['CC', 'max']]})
    orphans = [Record(f'o{k}', t, dead, 0.0) for k, t in enumerate(RandomSearch(SPACE, seed=9).ask(4))]
    for r in orphans:
        store.add(r)
    late = open_storage(where)
    late.open({'space': SPACE.to_dict(), 'objectives': [['CC', 'max']]})
    late.read()
    store.finish(orphans[0], state='void', reason='first')
    late.finish(orphans[0], state='done', scores={'CC': 1.0})  # too late: it stays what it was
    assert [r.state for r in open_again(where).read()] == ['void', 'running', 'running', 'running']
    evaluated = []

    def work():
        search(RandomSearch(SPACE), lambda t: evaluated.append(t) or score(t), 12, storage=where)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    table = history(where)
    assert (
        len(table) == len(evaluated) == len(set(evaluated)) == 12
        and (table.state == 'done').all()
        and {r.trial.arch for r in orphans[1:]} <= set(table.arch)
    )


def open_again(where):
    store = open_storage(where)
    store.open({'space': SPACE.to_dict(), 'objectives': [['CC', 'max']]})
    return store


def claimed(worker, attempt=1):
    return Record('abc', Trial(SPACE.max()), worker, time.time(), attempt)


def test_orphans(tmp_path):
    """What a dead process had claimed is evaluated again, but not a fourth time.

    What another machine holds is left alone until it is stale."""
    for worker, attempt, stale, state in (
        ('here:999999999:1', 2, 1e9, 'done'),
        ('here:999999999:1', 3, 1e9, 'failed'),
        ('far:1:1', 1, 1e9, 'running'),
        ('far:1:1', 1, 0.0, 'done'),
    ):
        worker = worker.replace('here', socket.gethostname())
        store = MemoryStorage()
        s = RandomSearch(SPACE)
        store.open({'space': SPACE.to_dict(), 'objectives': [['CC', 'max']]})
        store.add(claimed(worker, attempt))
        table = search(s, score, 4, storage=store, stale=stale)
        assert len(table) == 4 and list(table.state[table.arch == SPACE.max()]) == [state], (worker, attempt, table)


def test_workers_that_race_never_evaluate_a_trial_twice(tmp_path):
    "Three threads with equal strategies and seeds on one file: the hardest case, since all want the same trials."
    evaluated, lock = [], threading.Lock()

    def slow(trial):
        with lock:
            evaluated.append(trial)
        time.sleep(0.002)
        return score(trial)

    def work():
        search(Evolution(SPACE, seed=0, objectives=TWO), slow, 40, storage=FileStorage(tmp_path / 's.jsonl'))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    table = history(tmp_path / 's.jsonl')
    assert len(table) == 40 and (table.state == 'done').all() and len(evaluated) == len(set(evaluated)) == 40


# --- processes ---


def test_an_evaluator_that_dies_fails_its_trial_only():
    table = search(RandomSearch(SPACE, seed=0), Deadly(), 12, workers=2)
    deadly = [is_deadly(a) for a in table.arch]
    assert any(deadly) and not all(deadly) and list(table.state == 'failed') == deadly
    assert (
        (table.reason[table.state == 'failed'] == 'its process died').all()
        and table.arch.is_unique
        and len(table) == 12
    )
    assert os.getpid() not in set(table.pid.dropna())


PROGRAM = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from evaluators import Slow
from salnas.strategy import Strategy
from salnas.studies import search
from salnas.space import tiny_space
"""
RUN = "search(Strategy(tiny_space()), Slow(), 4, storage=sys.argv[1], workers=1)"


def test_shared_weights_in_two_processes_score_as_in_one():
    train, val = (load_dataset('popout', s, size=(48, 64)) for s in ('train', 'val'))
    evaluator = SharedWeights(
        Supernet(SPACE, seed=0), train, val, costs={'MACs': price.macs}, calibration=16, precision='fp32'
    )
    both = search(RandomSearch(SPACE, objectives=TWO), evaluator, 3, workers=2)
    assert not evaluator.known and (both.state == 'done').all()  # it was others that evaluated
    for row in both.itertuples():
        assert np.isclose(row.CC, evaluator(Trial(row.arch))['CC'], rtol=0, atol=1e-5) and row.MACs == macs(row.arch)


def test_a_program_without_a_guard_is_told_so_and_spends_nothing(tmp_path):
    (tmp_path / 'p.py').write_text(PROGRAM + RUN)
    done = subprocess.run(
        [sys.executable, str(tmp_path / 'p.py'), str(tmp_path / 's.jsonl')], capture_output=True, text=True, timeout=120
    )
    assert (
        done.returncode == 1
        and "if __name__ == '__main__'" in done.stderr.splitlines()[-1]
        and not (tmp_path / 's.jsonl').exists()
    )


def test_workers_end_with_a_killed_search(tmp_path):
    (tmp_path / 'p.py').write_text(PROGRAM + f"if __name__ == '__main__': {RUN}")
    p = subprocess.Popen([sys.executable, str(tmp_path / 'p.py'), str(tmp_path / 's.jsonl')])
    while not (tmp_path / 's.jsonl').exists() or 'claim' not in (tmp_path / 's.jsonl').read_text():
        time.sleep(0.1)
        assert p.poll() is None
    children = subprocess.run(['ps', '-o', 'pid=', '--ppid', str(p.pid)], capture_output=True, text=True).stdout.split()
    assert children
    p.kill()
    p.wait()
    for _ in range(100):
        if not any(os.path.exists(f'/proc/{c}') for c in children):
            break
        time.sleep(0.1)
    assert not [c for c in children if os.path.exists(f'/proc/{c}')]


def test_an_evaluator_that_cannot_travel_says_so():
    with pytest.raises(ValueError, match='picklable'):
        search(RandomSearch(SPACE), lambda t: score(t), 2, workers=1)


# --- bugs and what was seen to go wrong ---


def test_a_refused_storage_leaves_no_process(tmp_path):
    where = tmp_path / 's.jsonl'
    search(RandomSearch(SMALL), score, 1, storage=where)
    before = set(multiprocessing.active_children())
    with pytest.raises(ValueError, match='another space'):
        search(RandomSearch(SPACE), Deadly(), 1, storage=where, workers=1)
    end = time.monotonic() + 20
    while left := set(multiprocessing.active_children()) - before:
        assert time.monotonic() < end, f'{len(left)} worker processes outlive the refusal'
        time.sleep(0.05)


def test_workers_that_cannot_all_start_are_ended(monkeypatch):
    "The second of three fails: the first is shut down."
    shut = []

    class Pool:
        def __init__(self, *arguments):
            self.number = len(pools)
            pools.append(self)

        def submit(self, f):
            return self

        def result(self):
            if self.number == 1:
                raise BrokenProcessPool('no memory')

        def shutdown(self, **how):
            shut.append(self.number)

    pools = []
    monkeypatch.setattr('salnas.studies.ProcessPoolExecutor', Pool)
    with pytest.raises(RuntimeError, match='do not start'):
        search(RandomSearch(SPACE), Deadly(), 1, workers=3)
    assert len(pools) == 2 and 0 in shut


def test_a_storage_with_facts_refuses_a_search_without(tmp_path):
    "Left out, other facts, and facts about a study that has none: all refused, and nothing evaluated."
    facts, where = {'supernet': 'a', 'size': (48, 64)}, tmp_path / 's.jsonl'
    search(RandomSearch(SPACE), score, 2, storage=where, about=facts)
    for about in (None, {}, {'supernet': 'b', 'size': (48, 64)}, {'supernet': 'a'}):
        with pytest.raises(ValueError, match='another about'):
            search(RandomSearch(SPACE), score, 3, storage=where, about=about)
    assert len(history(where)) == 2
    assert len(search(RandomSearch(SPACE), score, 3, storage=where, about=facts)) == 3
    search(RandomSearch(SPACE), score, 1, storage=tmp_path / 'none.jsonl')
    with pytest.raises(ValueError, match='another about'):
        search(RandomSearch(SPACE), score, 2, storage=tmp_path / 'none.jsonl', about=facts)


def test_a_study_by_the_older_rule_of_calibration_is_not_joined(tmp_path):
    "The first images calibrated once, and such a study does not say so: its scores are not those of a sample."
    start = save_checkpoint(Supernet(SPACE, seed=0), tmp_path / 'net.safetensors')
    facts = dict(dataset='popout', edition='popout-1', space='tiny', resolutions=list(SPACE.resolutions), options={})
    facts |= dict(size=[48, 64], calibration=4, precision='fp32', supernet=str(start), supernet_sha256='')
    go_on = lambda budget: study(tmp_path, 'random', 0, budget, **facts)
    go_on(1)
    go_on(2)
    header, *events = (file := tmp_path / 'study.jsonl').read_text().splitlines()
    header = json.loads(header)
    assert header['header']['about'].pop('calibration images') == 'a sample'
    file.write_text('\n'.join([json.dumps(header), *events]) + '\n')
    with pytest.raises(ValueError, match='another about'):
        go_on(3)
    assert len(history(file)) == 2


def test_a_trial_told_twice_is_refused():
    s = RandomSearch(SPACE)
    a, b = s.ask(2)
    with pytest.raises(ValueError, match='already'):
        s.tell([a, a], [{'CC': 0.1}, {'CC': 0.2}])
    assert s.known[a] == {}
    s.tell([b], [None])
    with pytest.raises(ValueError, match='already'):
        s.tell([b], [{'CC': 0.2}])


def test_many_open_a_new_database_at_once(tmp_path):
    failures, tables = [], []

    def work(where, start):
        start.wait()
        try:
            tables.append(search(RandomSearch(SMALL), score, 3, storage=where))
        except Exception as e:
            failures.append(f'{type(e).__name__}: {str(e).splitlines()[0]}')

    for k in range(3):
        start = threading.Barrier(5)
        threads = [threading.Thread(target=work, args=(f'sqlite:///{tmp_path}/{k}.db', start)) for _ in range(5)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert not failures, failures
    assert len(tables) == 15 and all(len(history(f'sqlite:///{tmp_path}/{k}.db')) == 3 for k in range(3))


def test_a_torn_line_of_a_journal_is_passed_over(tmp_path):
    where = str(tmp_path / 's.journal')
    search(RandomSearch(SMALL), score, 3, storage=where)
    whole = (tmp_path / 's.journal').read_bytes()
    assert whole.endswith(b'}\n')
    for cut in (1, 2, 40):  # the crash came in the middle of the last write: that the third trial ended
        (tmp_path / 's.journal').write_bytes(whole[:-cut])
        table = search(RandomSearch(SMALL), score, 5, storage=where)
        assert len(table) == 5 and (table.state == 'done').all() and table.arch.is_unique


def test_a_lock_of_a_dead_writer_holds_nobody_up(tmp_path):
    "Neither what Optuna's own lock leaves behind, nor a killed process that had the lock."
    where = tmp_path / 's.journal'
    search(RandomSearch(SMALL), score, 2, storage=str(where))
    os.symlink(where, f'{where}.lock')
    program = f"""
import time
from salnas.storages import JournalLock
JournalLock({str(where)!r}).acquire()
print('locked', flush=True)
time.sleep(100)
"""
    holder = subprocess.Popen([sys.executable, '-c', program], stdout=subprocess.PIPE, text=True)
    begun = time.monotonic()
    if holder.stdout.readline() == 'locked\n':
        begun = time.monotonic()
        threading.Timer(0.5, holder.kill).start()
    assert len(search(RandomSearch(SMALL), score, 4, storage=str(where))) == 4
    assert time.monotonic() - begun < 10, f'waited {time.monotonic() - begun:.0f} s for a process that is dead'
    holder.kill()
    holder.wait()
    holder.stdout.close()


def test_a_search_reads_each_record_once():
    "What a look at the study costs must not grow with the study."

    class Counted(MemoryStorage):
        handed = 0

        def news(self, since=0):
            found = super().news(since)
            self.handed += len(found[0])
            return found

    store = Counted()
    search(Evolution(SPACE, objectives=TWO), score, 150, storage=store)
    assert store.handed == 300  # each claim and each end
    search(RandomSearch(SPACE, objectives=TWO), score, 160, storage=store)
    assert store.handed == 300 + 150 + 20


@pytest.mark.parametrize('name', ['random', 'evolution', 'early-exit', 'tpe', 'nsga2', 'progressive'])
def test_a_committed_study_is_asked_again(name):
    "The very architectures of the study on OSIE, one after the other."
    kinds = {
        'random': RandomSearch,
        'evolution': Evolution,
        'early-exit': functools.partial(EarlyExitEvolution, mutation='genes'),
        'tpe': TPESearch,
        'nsga2': NSGA2Search,
        'progressive': functools.partial(ProgressiveSearch, per_level=7),
    }
    file = Path(__file__).parent.parent / 'results/search-osie' / name / 'seed0/study.jsonl'
    header, *events = map(json.loads, file.read_text().splitlines())
    ends = {e['end']: e['changes'] for e in events if 'end' in e}
    s = kinds[name](SearchSpace.from_dict(header['header']['space']), seed=0, objectives=TWO)
    for e in (e for e in events if 'claim' in e):
        (trial,) = s.ask(1)
        assert trial == Record.from_dict(e['claim']).trial, f'trial {len(s.known)}'
        s.tell([trial], [ends[e['claim']['id']]['scores']])
    assert len(s.done) == 60


@pytest.mark.parametrize('sampler', ['NSGAIIISampler', 'BruteForceSampler', 'QMCSampler', 'ready made'])
def test_any_sampler_of_optuna_is_a_strategy(sampler):
    import optuna

    made = optuna.samplers.RandomSampler(seed=1) if sampler == 'ready made' else getattr(optuna.samplers, sampler)
    few = AtMost(macs, np.median([macs(a) for a in every_arch(SMALL)]), 'MACs')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # QMC is experimental
        fresh = lambda: OptunaStrategy(SMALL, seed=1, constraint=few, objectives=TWO, sampler=made)
        trials = run(first := fresh(), 100)
        assert {t.arch for t in trials} == {a for a in every_arch(SMALL) if few.allows(a)} and len(trials) == 8
        again = fresh()
        again.tell(trials[:4], [first.known[t] for t in trials[:4]])
        resumed = plain(run(again, 4))
    assert resumed == plain(trials[4:]) or sampler == 'ready made'


# --- from an architecture to a network ---


def test_train_a_found_architecture(tmp_path):
    "With learning rates of 0 the trained network has the very weights that the supernet holds for it."
    train = lambda *arguments: train_command(
        [
            '--profile',
            'smoke',
            '--set',
            'epochs=1',
            'lr_encoder=0.',
            'lr_decoder=0.',
            '--output-dir',
            *map(str, arguments),
        ]
    )
    net, arch = Supernet(SPACE, seed=7), SPACE.sample(np.random.default_rng(0))
    shared, found = (
        save_checkpoint(net, tmp_path / 'shared.safetensors'),
        save_arch(tmp_path / 'found.json', SPACE, arch),
    )
    train(tmp_path / 'net', '--arch', found, '--start', shared, '--kd', 'self-kd')
    result = json.loads((tmp_path / 'net/network/result.json').read_text())
    assert (
        result['parameters']['arch'] == arch.to_dict()
        and result['split'] == 'test'
        and result['parameters']['kd']['name'] == 'self-kd'
        and result['parameters']['start'].endswith('shared.safetensors')
    )
    assert result['cost']['macs'] == price.macs(arch)
    trained, cut = load_checkpoint(tmp_path / 'net/network/net.safetensors'), dict(net.extract(arch).named_parameters())
    assert trained.arch == arch and all(torch.equal(p, cut[n]) for n, p in trained.named_parameters())
    for arguments, word in (
        (['--arch', found, '--space', 'tiny'], 'brings its space'),
        (['--arch', found, '--start', shared, '--encoder', 'torchvision'], '--encoder'),
        (['--start', tmp_path / 'typo.safetensors'], 'no such file'),
        (['--space', 'mobilenetv2', '--start', shared], 'another space'),
        (['--start', tmp_path / 'net/network/net.safetensors'], 'one network'),
    ):
        with pytest.raises(SystemExit, match=word):
            train(tmp_path / 'x', *arguments)
