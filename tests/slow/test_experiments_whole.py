"The experiments from nothing, every kind of run in them; a second call repeats nothing."

import json
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]
from notebooks import ROOT, namespace, options, papermill, printed, small_ablation, small_search  # noqa: E402


@pytest.fixture
def in_experiments(monkeypatch):
    monkeypatch.chdir(ROOT / 'nbs/experiments')


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
