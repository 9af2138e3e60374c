"The experiments from nothing, every kind of run in them; a second call repeats nothing."

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from salnas import runs, sources
from salnas.reproduce import reproduce_command

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]
import fake_archives  # noqa: E402
from notebooks import ROOT, namespace, options, papermill, printed, small_ablation, small_search  # noqa: E402

from salnas.bench import load_bench  # noqa: E402
from salnas.rivals import random_rivals  # noqa: E402
from salnas.training import save_arch  # noqa: E402


@pytest.fixture
def in_experiments(monkeypatch):
    monkeypatch.chdir(ROOT / 'nbs/experiments')


def test_the_main_notebook_under_other_parameters(tmp_path):
    "Its lesson (truth against alpha, solutions) speaks of the defaults, and must not stop a run of something else."
    other = options(protocol='authors', which_past='ema', profile='smoke', output_dir=tmp_path / 'runs')
    papermill('../05_selfkd.ipynb', tmp_path / 'authors.ipynb', *other)
    files = (tmp_path / 'runs').glob('*/result.json')
    assert {json.loads(f.read_text())['protocol'] for f in files} == {'authors'}


def test_kd_ablation(tmp_path):
    "A small one of everything; a second call trains nothing and gives the same tables."
    common = options(**small_ablation(tmp_path))
    rows = ('alone', 'none', 'self-kd', 'multi-step', 'self-kd-alpha1')
    jobs = ' '.join(f'{row}/seed0' for row in rows)
    first = printed(papermill('kd_ablation.ipynb', tmp_path / 'first.ipynb', *common, *options(only=jobs)))
    assert all(f'{job} finished' in first for job in jobs.split())
    files = sorted((tmp_path / 'results').rglob('result.json'))
    means = {r['model']: r['metrics'] for r in map(json.loads, (p.read_text() for p in files))}
    assert len(means) == 9
    assert means['none, largest'] == means['self-kd-alpha1, largest']  # a teacher without weight is none
    assert means['none, largest'] != means['self-kd, largest']
    assert not list((tmp_path / 'results').rglob('*.safetensors'))
    again = papermill('kd_ablation.ipynb', tmp_path / 'again.ipynb', *common, *options(only='nothing'))
    assert ' to make' not in printed(again)
    assert any(f'{means["self-kd, largest"]["CC"]:.3f}' in str(o) for c in again.cells for o in c.get('outputs', []))
    assert (tmp_path / 'results/rivals.png').is_file()


def test_search(tmp_path):
    "From a supernet to tested networks; a second call evaluates nothing anew, and another supernet is refused."
    common = small_search(tmp_path)
    papermill('search_osie.ipynb', tmp_path / 'first.ipynb', *options(**common))
    results = {p.parent.name: json.loads(p.read_text()) for p in (tmp_path / 'out').rglob('result.json')}
    assert len(results) == 6 and {r['split'] for r in results.values()} == {'test'}
    found, largest = (results[k]['cost']['macs'] for k in ('found-1-more-epochs', 'largest-shared-weights'))
    assert found <= 0.7 * largest
    studies = {p: p.read_text() for p in (tmp_path / 'out').rglob('*.jsonl') if p.name == 'study.jsonl'}
    assert len(studies) == 2 and all(t.count('"state": "done"') == 6 for t in studies.values())
    again = papermill('search_osie.ipynb', tmp_path / 'again.ipynb', *options(**common))
    assert ' to make' not in printed(again)
    assert {p: p.read_text() for p in studies} == studies
    with pytest.raises(ValueError, match='supernet_sha256: .* there, .* asked'):
        other = small_search(tmp_path, seed=1)
        namespace('search_osie.ipynb', 'quick_and_plain', **other)


def test_selfkd_when_by_the_command(tmp_path, monkeypatch):
    "The smoke profile of a whole experiment, from nothing to the report; a second call repeats nothing."
    monkeypatch.chdir(ROOT)
    asked = ['--profile', 'smoke', '--only', 'selfkd_when', '--results', str(tmp_path)]
    own = ROOT / 'runs/reproduce/smoke/runs/selfkd_when'
    shutil.rmtree(own, ignore_errors=True)
    reproduce_command(asked)
    report, finished = (tmp_path / 'REPORT.md').read_text(), sorted((tmp_path / 'selfkd_when').rglob('run.json'))
    assert '| selfkd_when | done |' in report and '### selfkd_when: popout' in report and len(finished) > 20
    before = {p: p.stat().st_mtime_ns for p in finished}
    reproduce_command(asked)
    assert {p: p.stat().st_mtime_ns for p in finished} == before


def test_selfkd_when(tmp_path, in_experiments):
    "A small one of every kind of run, made in this process; and a grid that was cut there is read by the notebook."
    where = dict(profile='smoke', runs_dir=str(tmp_path / 'runs'), results_dir=str(tmp_path / 'results'))
    names = namespace('selfkd_when.ipynb', 'missing_runs', only='nothing', **where)
    jobs = [f'{row}/seed0' for row in ('v2-a1', 'v2-a0.5', 'start', 'warm-blur')]
    for grid, how in ((names['grid'], names['how']), ([names['halves']], names['labels'])):
        runs.commands(grid, **how)
    with pytest.raises(FileNotFoundError, match='make that run of the grid first'):
        runs.make_run(tmp_path / 'runs', 'warm-none/seed0')
    for job in ['reliability', *jobs]:
        runs.make_run(tmp_path / 'runs', job)
    folders = {job: tmp_path / 'results' / job for job in jobs}
    logs = {job: pd.read_json(folder / 'log.jsonl', lines=True) for job, folder in folders.items()}
    assert ['teacher CC' in log for log in logs.values()] == [True, True, False, True]
    silent, heard = (logs[job].loss for job in jobs[:2])
    assert silent[0] == heard[0] and silent[1] != heard[1]  # the teacher speaks from the second epoch on
    results = {job: json.loads((folder / 'largest/result.json').read_text()) for job, folder in folders.items()}
    assert results['v2-a1/seed0']['parameters']['viewers'] == 2 and results['warm-blur/seed0']['split'] == 'test'
    assert (folders['warm-blur/seed0'] / 'smallest/per_image.csv').is_file()
    read = papermill('selfkd_when.ipynb', tmp_path / 'read.ipynb', *options(**where, only='nothing'))
    assert '5 of 35 runs are finished' in printed(read)
    assert (tmp_path / 'results/phase.png').is_file()


def test_pocketnet(tmp_path, in_experiments):
    "A teacher, a student alone and two taught ones; tables of nothing, then of what is there; a student cannot begin."
    where = dict(
        profile='smoke', runs_dir=str(tmp_path / 'runs'), results_dir=str(tmp_path / 'results'), only='nothing'
    )
    empty = papermill('pocketnet.ipynb', tmp_path / 'empty.ipynb', *options(**where))
    assert '0 of 16 runs are finished' in printed(empty) and not (tmp_path / 'results').exists()
    names = namespace('pocketnet.ipynb', 'missing_runs', **where)
    runs.commands(names['grid'], **names['how'])
    with pytest.raises(FileNotFoundError, match='train the teacher for 2 epochs'):
        runs.make_run(tmp_path / 'runs', 'features/seed0')
    for row in ('teacher', 'none', 'final', 'multi-step', 'features'):
        runs.make_run(tmp_path / 'runs', f'{row}/seed0')
    folders = {p.parent.parent.name: p.parent for p in (tmp_path / 'results').rglob('result.json')}
    results = {row: json.loads((folder / 'result.json').read_text()) for row, folder in folders.items()}
    assert {r['split'] for r in results.values()} == {'test'} and len(results) == 5
    assert results['none']['cost'] == results['features']['cost'] != results['teacher']['cost']  # no adapter is left
    losses = {row: pd.read_json(folder / 'log.jsonl', lines=True).loss.tolist() for row, folder in folders.items()}
    assert losses['multi-step'][0] != losses['final'][0]  # another teacher from the first epoch on
    assert len({tuple(v) for v in losses.values()}) == 5
    read = papermill('pocketnet.ipynb', tmp_path / 'read.ipynb', *options(**where))
    assert '5 of 16 runs are finished' in printed(read)
    assert (tmp_path / 'results/arms.png').is_file() and (tmp_path / 'results/epochs.png').is_file()


def test_deserved(tmp_path, in_experiments):
    "Without a search the largest network alone; with one, rivals of its cost, and a sentence that the intervals allow."
    where = dict(
        profile='smoke', runs_dir=str(tmp_path / 'runs'), results_dir=str(tmp_path / 'results'), only='nothing'
    )
    nothing = papermill('deserved.ipynb', tmp_path / 'empty.ipynb', *options(**where, found={}))
    assert 'budget s: no file' in printed(nothing) and '0 of 4 runs are finished' in printed(nothing)
    names = namespace('deserved.ipynb', 'limits', **where)
    space, macs, limits = (names[k] for k in ('space', 'macs', 'limits'))
    found = {k: random_rivals(space, macs, limits[k], 1, seed=9)[0] for k in limits}
    files = {k: str(save_arch(tmp_path / f'{k}.json', space, arch)) for k, arch in found.items()}
    with pytest.raises(ValueError, match='search below it'):
        namespace('deserved.ipynb', 'networks_of', **where, found={'s': files['m']})
    names = namespace('deserved.ipynb', 'missing_runs', **where, found=files)
    drawn = names['networks']
    assert len(drawn) == 11 and all(
        abs(macs(arch) / macs(found[row[0]]) - 1) <= 0.03 for row, arch in drawn.items() if 'random' in row
    )
    assert all(macs(drawn[f'{k} even']) <= macs(found[k]) for k in found)
    runs.commands(names['grid'], **names['how'])
    rows = ['s-found', *(f's-random-{i}' for i in (1, 2, 3))]
    for job in [f'{row}/seed{s}' for s in (0, 1) for row in rows] + ['s-found-self-kd/seed0']:
        runs.make_run(tmp_path / 'runs', job)
    read = papermill('deserved.ipynb', tmp_path / 'read.ipynb', *options(**where, found=files))
    assert '9 of 32 runs are finished' in printed(read)
    said = [line for line in printed(read).splitlines() if 'better than the mean of random' in line]
    assert len(said) == 1 and said[0].startswith('s: ') and 'n = 2' in said[0]
    assert any(words in said[0] for words in (' holds ', ' does not hold ', ' cannot be told '))
    assert (tmp_path / 'results/networks.png').is_file()


def test_bench(tmp_path, in_experiments):
    "The smoke profile from nothing to a table that the library reads; a second call makes nothing."
    where = dict(profile='smoke', runs_dir=str(tmp_path / 'runs'), results_dir=str(tmp_path / 'results'))
    first = printed(papermill('bench.ipynb', tmp_path / 'first.ipynb', *options(**where)))
    assert '0 of 4 runs are finished' in first and '8 networks, 14 trainings' in first
    bench = load_bench(tmp_path / 'results/bench.npz')
    assert bench.about['profile'] == 'smoke' and bench.about['provenance']['trained_at'] and len(bench.scores) == 3
    assert sorted(len(bench[a]['seeds']) for a in bench.archs) == [1] * 5 + [3] * 3
    again = papermill('bench.ipynb', tmp_path / 'again.ipynb', *options(**where))
    assert ' to make' not in printed(again) and '4 of 4 runs are finished' in printed(again)


def test_baselines(tmp_path):
    "The smoke profile from nothing; made again elsewhere, all is the same; made from other pictures, it is not."
    where = lambda name: dict(runs_dir=str(tmp_path / name / 'runs'), results_dir=str(tmp_path / name / 'baselines'))
    first = papermill('baselines.ipynb', tmp_path / 'first.ipynb', *options(profile='smoke', **where('first')))
    assert '2 of 2 runs are finished' in printed(first)
    assert {p.name for p in (tmp_path / 'first/baselines').glob('*.png')} == {'blurs.png', 'rows.png', 'viewers.png'}
    held = dict(profile='smoke', committed=str(tmp_path / 'first'))
    again = papermill('baselines.ipynb', tmp_path / 'again.ipynb', *options(**held, **where('again')))
    assert 'the same' in (said := printed(again).splitlines()[-1]) and 'differs' not in said and 'spread' not in said
    other = papermill('baselines.ipynb', tmp_path / 'other.ipynb', *options(**held, seeds=[5, 6], **where('other')))
    assert 'within' in (said := printed(other).splitlines()[-1]) or 'outside' in said


def test_salicon_is_trained_on_and_scored_where_it_is(tmp_path):
    "Prepared from archives in the official layout; and maps in eight bits of the pictures, as the server takes them."
    (tmp_path / 'archives').mkdir()
    source, archives, _ = fake_archives.salicon(tmp_path / 'archives')
    root = tmp_path / 'root'
    folder = sources.get('salicon', archives, root, source=source, say=lambda *_: None)
    edition = json.loads((folder / 'meta.json').read_text())['edition']
    where = dict(data_root=root, runs_dir=tmp_path / 'runs', results_dir=tmp_path / 'results')
    small = dict(profile='cpu', space='tiny', seeds=[0], teachers=['none'], edition=edition, shown={})
    run = options(**where, **small, test_pictures=folder / 'stimuli')
    read = papermill('salicon.ipynb', tmp_path / 'read.ipynb', *run)
    assert '0 of 1 runs are finished' in printed(read) and '5 maps of seed0 in maps.zip' in printed(read)
    result = json.loads((tmp_path / 'results/none/seed0/largest/salicon/result.json').read_text())
    assert result['dataset'] == 'salicon' and result['parameters']['options'] == {'resolutions': [128]}
    assert len(list((tmp_path / 'runs/maps').glob('COCO_*.png'))) == 5
