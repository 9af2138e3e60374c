"Tables from files: what is refused, what older files say, and figures that can be checked by hand."

import json
import re
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest

from salnas import report

matplotlib.use('Agg')


def write(folder, name, seed, shift=0.0, images=20, **more):
    folder = folder / name / f'seed{seed}'
    folder.mkdir(parents=True)
    names = [f'{k}.jpg' for k in range(images)]
    cc = np.random.default_rng(0).random(images) + shift
    table = pd.DataFrame({'CC': cc, 'KLD': 1 - cc}, index=pd.Index(names, name='image'))
    table.to_csv(folder / 'per_image.csv')
    result = {
        'experiment': 'toy',
        'model': f'{name}, largest',
        'dataset': 'd',
        'edition': '',
        'protocol': 'native',
        'split': 'test',
        'seed': seed,
        'profile': 'cpu',
        'parameters': {},
        'metrics': table.mean().to_dict(),
        'per_image': 'per_image.csv',
        'cost': {'macs': 5},
        'time_s': 1.0 + seed,
        'provenance': {'commit': 'c' * 40, 'date': 'then', 'device': 'CPU'},
    }
    (folder / 'result.json').write_text(json.dumps(result | more))


@pytest.fixture
def folder(tmp_path):
    for seed, luck in enumerate((0.0, 0.02, 0.01)):
        write(tmp_path, 'base', seed)
        write(tmp_path, 'better', seed, 0.1 + luck)
    return tmp_path


def test_older_and_newer_files_stand_in_one_table(folder):
    newer = {'row': 'newer', 'network': 'largest', 'counted': {'CC': 20}}
    of = {'trained_at': {'commit': 'a'}, 'scored_at': {'commit': 'b'}, 'device': 'GPU'}
    write(folder, 'new', 0, provenance=of, **newer)
    results = report.read_results(folder).set_index(['row', 'seed'])
    assert results.loc[('base', 0), ['network', 'scored_at', 'macs']].tolist() == ['largest', 'c' * 40, 5]
    assert results.loc[('base', 0), 'trained_at'] == ''
    assert results.loc[('newer', 0), ['network', 'trained_at', 'scored_at']].tolist() == ['largest', 'a', 'b']
    assert report.metric_names(report.read_results(folder)) == ['CC', 'KLD']


def test_differences_are_paired_and_both_intervals_hold_them(folder):
    differences = report.compare(report.read_scores(report.read_results(folder)), {'better': 'base', 'absent': 'base'})
    cc = differences.set_index('metric').loc['CC']
    assert np.isclose(cc['mean'], 0.11) and np.allclose(cc.by_seed, [0.1, 0.12, 0.11])
    half = 4.302653 * 0.01 / 3**0.5  # Student's quantile for two degrees of freedom
    assert np.allclose([cc.t_low, cc.t_high], [0.11 - half, 0.11 + half])
    assert 0.099 < cc.low < 0.11 < cc.high < 0.121
    assert report.intervals(differences, 't').loc['better', 'CC'] == '+0.110 [+0.085, +0.135]'
    with pytest.raises(KeyError):
        report.intervals(differences, 'normal')


def test_one_seed_has_no_interval_over_seeds(tmp_path):
    write(tmp_path, 'base', 0)
    write(tmp_path, 'better', 0, 0.1)
    results = report.read_results(tmp_path)
    differences = report.compare(report.read_scores(results), {'better': 'base'})
    assert differences.t_low.isna().all() and report.intervals(differences, 't').loc['better', 'CC'] == '+0.100'
    assert '±' not in report.summary(results).loc['base', 'CC']
    report.forest(differences, ['CC'])  # draws without it


def test_pairs_that_are_none_are_refused(folder):
    write(folder, 'short', 0, images=19)
    write(folder, 'late', 7)
    scores = report.read_scores(report.read_results(folder))
    with pytest.raises(ValueError, match='different pictures'):
        report.paired(scores, 'short', 'base')
    with pytest.raises(ValueError, match='no seed in common'):
        report.paired(scores, 'late', 'base')
    assert report.compare(scores, {'late': 'base'}).empty


def test_two_results_of_one_row_and_seed_are_refused(folder):
    write(folder / 'again', 'base', 0)
    results = report.read_results(folder)
    for use in (report.summary, report.read_scores, report.clock):
        with pytest.raises(ValueError, match='several results of row'):
            use(results)


def test_markdown_has_a_head_and_a_line_per_row():
    table = pd.DataFrame({'CC': ['0.5 ± 0.1']}, index=['none'])
    assert report.markdown(table, 'teacher') == '| teacher | CC |\n| --- | --- |\n| none | 0.5 ± 0.1 |'


def test_the_readme_tells_what_the_report_counts():
    root = Path(__file__).resolve().parent.parent
    told = re.search(r'Of (\d+) claims: (.+)\.\n', (root / 'results/REPORT.md').read_text())
    counts = {verdict: n for n, verdict in re.findall(r'(\d+) "([^"]+)"', told[2])}
    said = (
        f"of {told[1]} claims, the paper's and our own, {counts['holds']} hold, {counts['does not hold']} do not, "
        f'{counts["cannot be told"]} cannot be told from luck with these seeds, and {counts["no run"]} have no run'
    )
    assert said in (root / 'README.md').read_text()
