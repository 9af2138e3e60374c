"A grid is made once: by one process or by several, after a kill, after a failure, by `complete` or by its commands."

import json
import os
import shlex
import subprocess
import sys
import threading

import pytest

from salnas import runs
from salnas.provenance import provenance

TOY = """
import json, os, sys, time
from pathlib import Path

def make(folder, seed, where=''):
    with open(folder / 'started.txt', 'a') as f:
        f.write('x')
    if seed == 'fails':
        raise ValueError('as asked')
    if seed == 'dies':
        os.kill(os.getpid(), 9)
    time.sleep(.1)
    facts = dict(torch='torch' in sys.modules, threads=os.environ['OMP_NUM_THREADS'], nice=os.nice(0), here=os.getcwd())
    Path(folder, 'result.json').write_text(json.dumps({'seed': seed, **facts}))
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    (tmp_path / 'toy_grid.py').write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield 'toy_grid:make'
    sys.modules.pop('toy_grid', None)


def grid_of(*seeds):
    return [{'key': f'row/seed{seed}', 'seed': seed} for seed in seeds]


def test_each_run_gets_a_nice_process_of_one_thread_that_need_not_import_torch(toy, tmp_path):
    made = runs.complete(grid_of(0, 1, 2), toy, 'runs', where={'where': 'a path'})
    facts = [json.loads((folder / 'result.json').read_text()) for folder in made.values()]
    assert [f['seed'] for f in facts] == [0, 1, 2]
    assert all(not f['torch'] and f['threads'] == '1' and f['nice'] >= 10 for f in facts)


def test_a_run_may_have_all_cores(toy, tmp_path, monkeypatch):
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    made = runs.complete(grid_of(0), toy, 'runs', threads=0, progress=False)
    assert json.loads((made['row/seed0'] / 'result.json').read_text())['threads'] == str(os.cpu_count())


def test_two_calls_at_once_make_each_run_once(toy, tmp_path):
    grid, errors = grid_of(*range(5)), []

    def call():
        try:
            runs.complete(grid, toy, 'runs', progress=False)
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=call) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
    assert all((tmp_path / 'runs' / run['key'] / 'started.txt').read_text() == 'x' for run in grid)


def test_failed_and_killed_runs_are_named_and_the_others_made(toy, tmp_path):
    with pytest.raises(RuntimeError) as e:
        runs.complete(grid_of('fails', 0, 'dies', 1), toy, 'runs', progress=False)
    assert '2 of 4 runs failed' in str(e.value)
    assert 'ValueError: as asked' in str(e.value) and 'killed by signal 9' in str(e.value)
    assert [c.split('/')[-1] for c in runs.commands(grid_of('fails', 0, 'dies', 1), toy, 'runs')] == [
        'seedfails',
        'seeddies',
    ]


def test_a_command_makes_its_run_from_anywhere_and_exits(toy, tmp_path):
    one, two = runs.commands(grid_of(0, 1), toy, 'runs', python=sys.executable, results='published')
    env = os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)}
    done = subprocess.run(shlex.split(one), cwd='/', env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / 'published/row/seed0/result.json').read_text())
    assert result['here'] == str(tmp_path)  # where the grid was made
    assert runs.commands(grid_of(0, 1), toy, 'runs', python=sys.executable, results='published') == [two]


@pytest.mark.parametrize(
    'arguments, word',
    [(['nowhere', 'row/seed0'], 'no grid.json in'), (['runs', 'row/seed9'], "no run 'row/seed9'")],
)
def test_a_command_for_no_run_says_so(toy, arguments, word):
    runs.commands(grid_of(0), toy, 'runs')
    with pytest.raises(ValueError, match=word):
        runs.make_run(*arguments)


def test_nothing_runs_when_one_run_is_faulty_or_foreign(toy, tmp_path):
    with pytest.raises(ValueError, match='does not know sede'):
        runs.complete([*grid_of(0), {'key': 'b', 'sede': 1}], toy, 'runs')
    assert not (tmp_path / 'runs').exists()
    runs.complete(grid_of(0), toy, 'runs', about={'edition': 'one'}, progress=False)
    for about, said in (({'edition': 'two'}, '"one" there, "two" asked'), ({}, 'edition: "one" there, null asked')):
        with pytest.raises(ValueError, match=said):
            runs.complete(grid_of(0, 1), toy, 'runs', about=about)
    assert not (tmp_path / 'runs/row/seed1').exists()


def test_a_run_killed_between_its_end_and_its_publication_is_published(toy, tmp_path):
    runs.complete(grid_of(0), toy, 'runs', progress=False)
    made = runs.complete(grid_of(0), toy, 'runs', results='published', progress=False)
    assert (tmp_path / made['row/seed0'] / 'result.json').is_file()
    assert (tmp_path / 'runs/row/seed0/started.txt').read_text() == 'x'


def test_a_grid_names_its_precision(toy, tmp_path):
    "'auto' would be another run on another machine."
    runs.identity({'key': 'a', 'settings': {'precision': 'fp32'}, 'strategy': 'auto'}, toy)
    for run in ({'precision': 'auto'}, {'stages': [{'settings': {'precision': 'auto'}}]}):
        with pytest.raises(ValueError, match="the run a has precision='auto'"):
            runs.missing_runs([{'key': 'a', 'seed': run}], toy, tmp_path)


def test_results_of_a_grid_do_not_make_its_next_runs_dirty(tmp_path, monkeypatch):
    "A grid rewrites committed tables while it runs; the code is still that of the commit."
    for name in ('salnas/__init__.py', 'settings.ini', 'results/table.csv'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('old')
    who = '-c', 'user.name=a', '-c', 'user.email=a@b.c'
    for command in (('init', '-q'), ('add', '.'), (*who, 'commit', '-q', '-m', 'all')):
        subprocess.run(['git', '-C', str(tmp_path), *command], check=True)
    monkeypatch.setattr('salnas.__file__', str(tmp_path / 'salnas/__init__.py'))
    (tmp_path / 'results/table.csv').write_text('new')
    assert len(provenance()['commit']) == 40
    (tmp_path / 'settings.ini').write_text('new')
    assert provenance()['commit'].endswith('-dirty')
