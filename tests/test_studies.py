"""Workers that take over what a dead one had claimed: every interleaving of two, and a death at every step.

The workers are threads that take turns as a schedule says; a worker's death is an exception that its storage raises
from then on, so that it leaves what a killed process leaves."""

import itertools
import threading
from collections import Counter
from dataclasses import replace

import pytest

from salnas.space import SearchSpace, Stage
from salnas.storages import MemoryStorage, Record, open_storage
from salnas.strategy import AtMost, Strategy, Trial
from salnas.studies import history, search

SPACE = SearchSpace(
    'small',
    (8,),
    (Stage((8, 12), (1,), (3,), (1,), 1), Stage((16,), (1, 2), (3, 5), (2,), 2)),
    ('factor', 2),
    'every',
    (64,),
)
HEADER = {'space': SPACE.to_dict(), 'objectives': [['CC', 'max']]}
LOST = Strategy(SPACE, seed=9).ask()[0]


class ByNumber(MemoryStorage):
    "Gives news in the order of claims, as databases do, not of events."

    def news(self, since=0):
        found, end = super().news(since)
        order = list(self._records)
        return sorted(found, key=lambda r: order.index(r.id)), end


class Killed(BaseException):
    "What a worker meets when it touches its storage after its death."


class Worker(MemoryStorage):
    "One worker's hands on a storage: every touch is a step, which may be its last."

    def __init__(self, store, name, dead, budget, last=None, step=lambda: None):
        super().__init__()
        self.store, self.name, self.dead, self.budget, self.last, self.step = store, name, dead, budget, last, step
        self.steps, self.evaluated = 0, []

    def touch(self, what, *args, **kw):
        self.step()
        self.steps += 1
        assert self.steps < 100, f'{self.name} goes round in circles'
        if self.steps - 1 == self.last:
            self.dead.add(self.name)
        if self.name in self.dead:
            raise Killed
        return what(*args, **kw)

    def open(self, header):
        self.store.open(header)

    def add(self, record):
        self.touch(self.store.add, replace(record, worker=self.name))

    def finish(self, record, **changes):
        self.touch(self.store.finish, record, **changes)

    def news(self, since=0):
        return self.touch(self.store.news, since)

    def read(self):
        return self.touch(self.store.read)

    def work(self):
        "Search until the study is over, or this worker."
        evaluator = lambda trial: self.touch(self.evaluated.append, trial) or {'CC': 0.5}
        try:
            search(Strategy(SPACE), evaluator, self.budget, storage=self)
        except Killed:
            pass


class Turns:
    "Lets threads act one at a time, in the order of a schedule, and then one after the other."

    def __init__(self, schedule):
        self.schedule, self.over, self.change = list(schedule), set(), threading.Condition()

    def step(self, name):
        with self.change:
            self.change.wait_for(lambda: self.first() in (name, None))
            if self.schedule:
                self.schedule.pop(0)
            self.change.notify_all()

    def first(self):
        while self.schedule and self.schedule[0] in self.over:
            self.schedule.pop(0)
        return self.schedule[0] if self.schedule else min({'A', 'B'} - self.over, default=None)

    def end(self, name):
        with self.change:
            self.over.add(name)
            self.change.notify_all()


@pytest.fixture
def dead(monkeypatch):
    "Names of dead workers."
    names = {'ghost'}
    monkeypatch.setattr('salnas.studies._gone', lambda record, stale: record.worker in names)
    return names


def orphaned(store):
    "A study in which a dead worker has claimed a trial."
    store.open(HEADER)
    store.add(Record('lost', LOST, 'ghost', 0.0))
    return store


def together(store, dead, budget, schedule, last):
    "Two workers, of which the first may die; then a third one, so that the study ends. All three."
    turns = Turns(schedule)
    pair = [Worker(store, n, dead, budget, last if n == 'A' else None, lambda n=n: turns.step(n)) for n in 'AB']

    def work(w):
        w.work()
        turns.end(w.name)

    threads = [threading.Thread(target=work, args=(w,)) for w in pair]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    third = Worker(store, 'C', dead, budget)
    third.work()
    return [*pair, third]


def verdict(store, workers, dead, budget):
    "What is wrong with a study that should be over; '' when nothing is."
    left = [r for r in store.read() if r.state != 'void']
    states, trials = Counter(r.state for r in left), [r.trial for r in left]
    evaluated = Counter(t for w in workers if w.name not in dead for t in w.evaluated)
    wrong = [
        states != {'done': budget} and f'states {dict(states)}',
        len(set(trials)) < len(trials) and 'a trial twice in the table',
        LOST not in trials and 'the trial is lost',
        max(evaluated.values(), default=0) > 1 and 'a trial evaluated twice',
    ]
    return ', '.join(filter(None, wrong))


@pytest.mark.parametrize('kind, budget', [(MemoryStorage, 1), (ByNumber, 2)], ids=['as it happens', 'by number'])
@pytest.mark.parametrize('last', [None, 1, 2, 3, 4, 5])
def test_two_workers_find_one_orphan(kind, budget, last, dead):
    "Every interleaving of their first steps, and a death of the first before each of its steps."
    wrong = Counter()
    for places in itertools.combinations(range(7), 3):
        dead.intersection_update({'ghost'})
        store = orphaned(kind())
        workers = together(store, dead, budget, ['A' if i in places else 'B' for i in range(7)], last)
        wrong[verdict(store, workers, dead, budget)] += 1
    assert wrong == {'': 35}


@pytest.mark.parametrize('where', ['study.jsonl', 'study.journal', 'sqlite:///{}/study.db'])
def test_workers_die_between_their_claim_and_the_end_of_the_old_one(where, dead, tmp_path):
    "Each leaves one more claim of the same trial; after the third it is given up, whoever dies over that."
    where = where.format(tmp_path) if '{}' in where else str(tmp_path / where)
    orphaned(open_storage(where))

    def left():
        return [(r.attempt, r.state) for r in open_again(where).read() if r.trial == LOST and r.state != 'void']

    for name, last, expected in [
        ('A', 3, [(1, 'running'), (2, 'running')]),
        ('B', 3, [(1, 'running'), (2, 'running'), (3, 'running')]),
        ('C', 2, [(1, 'running'), (2, 'running'), (3, 'failed')]),
        ('D', 2, [(2, 'running'), (3, 'failed')]),
        ('E', None, [(3, 'failed')]),
    ]:
        Worker(open_storage(where), name, dead, 2, last).work()
        assert left() == expected, name
    assert list(history(where).state) == ['failed', 'done']


def open_again(where):
    store = open_storage(where)
    store.open(HEADER)
    return store


def test_what_lost_a_race_and_died_is_only_withdrawn(dead):
    "The trial is another worker's, at work or done: nobody takes it over, and nobody goes round in circles."
    for state in ('running', 'done'):
        store = MemoryStorage()
        store.open(HEADER)
        store.add(Record('first', LOST, 'alive', 0.0))
        store.add(Record('second', LOST, 'ghost', 0.0))
        if state == 'done':
            store.finish(store.read()[0], state='done', scores={'CC': 0.5})
        (worker := Worker(store, 'A', dead, 3)).work()
        assert LOST not in worker.evaluated
        assert [r.state for r in store.read()[:2]] == [state, 'void' if state == 'done' else 'running']


def test_an_orphan_that_is_not_allowed_any_more_is_withdrawn(dead):
    "By a constraint, or a budget that was made smaller than what is spent."
    store = MemoryStorage()
    store.open(HEADER)
    done = Record('done', Trial(SPACE.max()), 'ghost', 0.0)
    store.add(done)
    store.finish(done, state='done', scores={'CC': 0.5})
    store.add(Record('lost', LOST, 'ghost', 0.0))
    (worker := Worker(store, 'A', dead, 1)).work()
    assert not worker.evaluated and [r.state for r in store.read()] == ['done', 'void']
    store = orphaned(MemoryStorage())
    limit = AtMost(lambda a: float(a == LOST.arch), 0.5)
    table = search(Strategy(SPACE, constraint=limit), lambda t: {'CC': 0.5}, 3, storage=store)
    assert len(table) == 3 and LOST.arch not in set(table.arch)
