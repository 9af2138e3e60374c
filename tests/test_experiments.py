"Experiments refuse what is foreign; what is committed under results/ is whole. tests/slow makes them from nothing."

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from committed_results import identities
from notebooks import ROOT, namespace

from salnas import runs
from salnas.space import Arch
from salnas.training import save_arch


@pytest.fixture
def in_experiments(monkeypatch):
    monkeypatch.chdir(ROOT / 'nbs/experiments')


OTHER = {
    'encoder': ('encoder', 'torchvision'),
    'encoder_sha256': ('encoder_sha256', '0' * 64),
    'input_mean': ('input_mean', 0.25),
    'precision': ('settings.precision', 'bf16'),
    'profile': ('settings.lr_encoder', 'paper'),
    'edition': ('edition', 'another'),
    'size': ('settings.size', [192, 256]),
}


@pytest.mark.parametrize('name', OTHER)
def test_committed_runs_are_not_taken_for_runs_of_other_settings(name, in_experiments):
    "Encoder, precision, profile and rates were left out of the guard once."
    word, value = OTHER[name]
    with pytest.raises(ValueError, match='is a run of other settings') as e:
        namespace('kd_ablation.ipynb', 'missing_runs', **{name: value})
    assert f'{word}: ' in str(e.value)


def test_a_small_deserved_needs_no_search(tmp_path, in_experiments):
    "The committed searches are of another space, which ended the smoke profile in an error."
    where = dict(profile='smoke', runs_dir=str(tmp_path / 'runs'), results_dir=str(tmp_path / 'results'))
    names = namespace('deserved.ipynb', 'missing_runs', **where)
    assert {row.split()[1] for row in names['networks'] if ' ' in row} >= {'found', 'even'}
    tiny = save_arch(tmp_path / 'tiny.json', names['space'], names['space'].max())
    with pytest.raises(ValueError, match='outside the space'):  # a real run takes no other's
        namespace('deserved.ipynb', 'salnas.retrain:retrained', found={'s': str(tiny)})


def test_every_committed_run_is_recognised(tmp_path, in_experiments, capsys, monkeypatch):
    "By the grids of the notebooks as they are: no result is repeated."
    monkeypatch.setattr(runs, '_start', None)  # a run that were made would fail
    assert namespace('kd_ablation.ipynb', 'missing_runs')['missing'] == []
    copy = shutil.copytree(ROOT / 'results/search-osie', tmp_path / 'search')  # figures are drawn anew
    names = namespace('search_osie.ipynb', 'salnas.recipes:train_further', results_dir=copy)
    assert len(names['studies']) == 18 and len(names['grid']) == 6
    namespace('pretrained.ipynb', 'salnas.recipes:pretrain')
    for name in ('realtime', 'family'):  # of networks that come along, whose number grows
        assert namespace(f'{name}.ipynb', 'missing_runs', only='nothing')['missing'] == []
    names = namespace('decoder_stride.ipynb', 'missing_runs')
    committed = list((ROOT / 'results/decoder_stride').rglob('run.json'))
    assert committed and len(names['missing']) == len(names['grid']) - len(committed)
    names = namespace('selfkd_when.ipynb', 'missing_runs')
    committed = list((ROOT / 'results/selfkd_when').rglob('run.json'))
    assert committed and len(names['missing']) == len(names['grid']) + 1 - len(committed)
    assert '29 of 29 runs are finished' in capsys.readouterr().out
    copy = shutil.copytree(ROOT / 'results/baselines', tmp_path / 'baselines')  # figures are drawn anew
    names = namespace('baselines.ipynb', 'salnas.yardsticks:measure', results_dir=copy)
    assert len(names['finished']) == len(names['grid']) == 5


def test_the_grid_of_the_bench_is_the_whole_space_once_and_fifty_networks_twice_more(in_experiments, tmp_path):
    names = namespace('bench.ipynb', 'missing_runs', results_dir=tmp_path, runs_dir=tmp_path)
    assert len(names['grid']) == len(names['missing']) == 61 + 6 + 12 + 1
    jobs = [(Arch.from_dict(t['arch']), t['seed']) for run in names['trainings'] for t in run['trainings']]
    assert len(jobs) == len(set(jobs)) == 384 + 2 * 50 and {a for a, s in jobs if s == 0} == set(names['archs'])
    assert {a for a, s in jobs if s == 1} == {a for a, s in jobs if s == 2} == {a for a, _ in jobs[:50]}
    assert names['settings'].precision == 'fp32' and not names['settings'].dropout
    for run in (*names['ratings'], *names['latencies']):
        assert {Arch.from_dict(a) for a in run['archs']} <= set(names['archs'])


def test_the_ranking_asks_for_networks_of_the_bench(in_experiments, tmp_path):
    "Reduced are the fifty that have three seeds there, in their order, and every twin keeps what is not reduced."
    jobs = namespace('bench.ipynb', 'missing_runs', results_dir=tmp_path, runs_dir=tmp_path)['jobs']
    names = namespace('ranking.ipynb', 'missing_runs', results_dir=tmp_path, runs_dir=tmp_path)
    assert len(names['grid']) == len(names['missing']) == 12 + 8 * 5
    assert all(run['archs'] == [job['arch'] for job in jobs[:192]] for run in names['by_supernet'])
    thrice = [job['arch'] for job in jobs if job['seed'] == 1]
    for cell, runs_of in names['of_cell'].items():
        twins = [job['arch'] for run in runs_of for job in run['trainings']]
        assert [t['depth'] for t in twins] == [a['depth'] for a in thrice] and len(twins) == 50
        halved = [t['width'] != a['width'] for t, a in zip(twins, thrice)]
        assert set(halved) == {'c1' in cell} and {t['resolution'] for t in twins} == (
            {48, 60, 72} if 'r1' in cell else {64, 80, 96}
        )
    there = namespace('elsewhere.ipynb', 'missing_runs', results_dir=tmp_path, runs_dir=tmp_path)
    assert [job['arch'] for job in there['jobs']] == thrice and len(there['grid']) == 2 * 5


def test_every_supernet_of_the_ablation_holds_the_networks_that_are_cut_out(in_experiments, tmp_path):
    names = namespace('dynamic_ablation.ipynb', 'missing_runs', results_dir=tmp_path, runs_dir=tmp_path)
    assert len(names['grid']) == len(names['missing']) == 5 * 3 + 5 * 3
    spaces = {row: space for row, (space, _) in names['variants'].items()}
    assert all(space.contains(arch) for space in spaces.values() for arch in names['networks'].values())
    assert len(set(spaces.values())) == 3 and len(set(names['networks'].values())) == 5
    changed = {row: set(changes) for row, (_, changes) in names['variants'].items() if changes}
    without = {'dropout', 'drop_connect'}
    assert changed == {'no sandwich': without | {'sampling'}, 'no dropout': without}


def test_a_student_begins_after_its_teacher(in_experiments, tmp_path):
    "And the student without one may train for as many MACs."
    names = namespace('pocketnet.ipynb', 'missing_runs', results_dir=tmp_path, runs_dir=tmp_path)
    assert len(names['grid']) == 48 == len(names['missing'])
    made = set()
    for wave in names['waves']:
        assert all(run.get('teacher', '') in made | {''} for run in wave)
        made |= {run['key'] for run in wave}
    epochs = {run['row']: run['settings']['epochs'] for run in names['grid']}
    assert epochs.pop('none, as dear as a teacher') == 21 and epochs.pop('none, as dear as features') == 25
    assert set(epochs.values()) == {12}


def test_identities_are_those_that_the_results_tell(tmp_path):
    "What the migration reads off the files is what stands beside them."
    count, migrated = 0, set()
    for folder, identity, finished in identities():
        told = json.loads((folder / 'run.json').read_text())
        assert not runs.differences(told['identity'], identity) and told['finished'] == finished
        count += 1
        migrated.add(folder.relative_to(ROOT / 'results').parts[0])
    others = [f for experiment in migrated for f in (ROOT / 'results' / experiment).rglob('run.json')]
    assert count == 55 == len(others)


@pytest.mark.parametrize(
    'path', sorted((ROOT / 'results').rglob('result.json')), ids=lambda p: '/'.join(p.parts[-4:-1])
)
def test_a_committed_result_is_whole(path):
    "It names a commit, and its means are those of its own per-image scores."
    result = json.loads(path.read_text())
    rows = pd.read_csv(path.parent / result['per_image'], index_col='image')
    assert np.allclose(rows.mean()[list(result['metrics'])], list(result['metrics'].values()), rtol=1e-4, atol=1e-5)
    of = result['provenance']
    assert len(of.get('scored_at', of)['commit']) == 40, 'no commit, or uncommitted changes'
