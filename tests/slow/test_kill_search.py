"Searches that are killed lose nothing and repeat nothing; two workers share one study."

import os
import random
import subprocess
import sys
import time
import uuid

import pytest

from salnas.search import OptunaStorage, history

WORKER = '''
import logging, os, sys, time
from salnas.search import Evolution, OptunaStorage, search
from salnas.space import tiny_space

def evaluate(trial):
    with open(sys.argv[2], 'a') as f: f.write(f'start {hash(trial.arch)}\\n')
    time.sleep(float(sys.argv[4]))
    score = (hash(trial.arch) % 1000) / 1000
    with open(sys.argv[2], 'a') as f: f.write(f'end {hash(trial.arch)}\\n')
    return {'CC': score, 'MACs': float(sum(trial.arch.width))}

where = OptunaStorage(*sys.argv[1].split(' ')) if ' ' in sys.argv[1] else sys.argv[1]
strategy = Evolution(tiny_space(), seed=0, objectives={'CC': 'max', 'MACs': 'min'})
search(strategy, evaluate, int(sys.argv[3]), storage=where)
'''
KINDS = ['file', 'journal', 'sqlite'] + ['database'] * (
    'SALNAS_DATABASE' in os.environ
)  # such as postgresql+psycopg://user@host/base


def storage(kind, folder):
    return {
        'file': f'{folder}/s.jsonl',
        'journal': f'{folder}/s.journal',
        'sqlite': f'sqlite:///{folder}/s.db',
        'database': f'{os.environ.get("SALNAS_DATABASE")} salnas-test-{uuid.uuid4().hex}',
    }[kind]


def start(where, log, budget, seconds):
    return subprocess.Popen(
        [sys.executable, '-c', WORKER, where, str(log), str(budget), str(seconds)],
        env=os.environ | {'OMP_NUM_THREADS': '1'},
    )


def lines(log, word):
    return [l.split()[1] for l in log.read_text().splitlines() if l.startswith(word)] if log.exists() else []


def result(where):
    return history(OptunaStorage(*where.split(' ')) if ' ' in where else where)


@pytest.mark.parametrize('kind', KINDS)
def test_kill_9_in_mid_search(kind, tmp_path):
    where, log, rng, budget = storage(kind, tmp_path), tmp_path / 'log', random.Random(0), 40
    for k in range(8):
        process, before = start(where, log, budget, 0.15), len(lines(log, 'start'))
        while len(lines(log, 'start')) < before + 2 + k % 3:  # past the trial that the last kill left
            time.sleep(0.002)
            assert process.poll() is None
        time.sleep(rng.uniform(0, 0.1))  # in the middle of an evaluation
        process.kill()
        process.wait()
    assert start(where, log, budget, 0.15).wait() == 0
    table, started, ended = result(where), lines(log, 'start'), lines(log, 'end')
    print(f'{kind}: {len(started)} begun, {len(ended)} finished, {len(table)} stored')
    assert len(table) == budget and (table.state == 'done').all() and table.arch.is_unique
    assert sorted(ended) == sorted(
        str(hash(a)) for a in table.arch
    )  # nothing that was finished is lost, nothing was finished twice
    assert len(started) == budget + 8 and (table.CC == [(hash(a) % 1000) / 1000 for a in table.arch]).all()


@pytest.mark.parametrize('kind', KINDS)
def test_kill_9_while_storing(kind, tmp_path):
    "Killed around the writes: what had just been finished may be evaluated once more, but the study stays whole."
    where, log, rng, budget = storage(kind, tmp_path), tmp_path / 'log', random.Random(1), 30
    for _ in range(8):
        process, before = start(where, log, budget, 0.02), len(lines(log, 'end'))
        while len(lines(log, 'end')) < before + 2:
            assert process.poll() is None  # past the trial that the last kill left
        time.sleep(rng.uniform(0, 0.01))
        process.kill()
        process.wait()
    assert start(where, log, budget, 0.02).wait() == 0
    table, ended = result(where), lines(log, 'end')
    print(f'{kind}: {len(ended) - len(set(ended))} of 8 kills made an evaluation be repeated')
    assert (
        len(table) == budget
        and (table.state == 'done').all()
        and table.arch.is_unique
        and set(ended) == {str(hash(a)) for a in table.arch}
    )
    assert len(ended) <= budget + 8


@pytest.mark.parametrize('kind', KINDS)
def test_two_workers_share_a_study(kind, tmp_path):
    budget, seconds, wall = 40, 0.5, {}
    for n in (1, 2):
        folder = tmp_path / str(n)
        folder.mkdir()
        where, log = storage(kind, folder), folder / 'log'
        begun = time.perf_counter()
        processes = [start(where, log, budget, seconds) for _ in range(n)]
        assert [p.wait() for p in processes] == [0] * n
        wall[n] = time.perf_counter() - begun
        table = result(where)
        assert (
            len(table) == budget
            and table.arch.is_unique
            and (table.state == 'done').all()
            and len(lines(log, 'end')) == len(set(lines(log, 'end'))) == budget
        )
    print(f'{kind}: one worker {wall[1]:.1f} s, two workers {wall[2]:.1f} s')
    assert wall[2] < 0.8 * wall[1]
