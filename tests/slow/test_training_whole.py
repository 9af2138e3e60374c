"Exact resumption with the other teachers, precisions and protocols, and the command under torchrun."

import json
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]
from test_training import BIN, run  # noqa: E402
from test_training import test_resume_is_exact as resume_is_exact  # noqa: E402


@pytest.mark.parametrize(
    'kd, options, changes',
    [
        ('none', {}, {}),
        ('pkd', {}, dict(optimizer='sgd', precision='bf16', lr_encoder=0.01, lr_decoder=0.01)),
        ('self-kd', {}, dict(precision='fp16', clip=1.0)),
        ('self-kd', {'teacher': 'last'}, {}),
        ('self-kd', {'teacher': 'best'}, {}),
        ('self-kd', {'teacher': 'ema'}, {}),
        ('pkd', {'protocol': 'authors'}, {}),
        ('ps-kd', {'protocol': 'authors'}, {}),
    ],
    ids=str,
)
def test_resume_is_exact_with_every_teacher(tmp_path, kd, options, changes):
    resume_is_exact(tmp_path, kd, options, changes)


def test_the_command_under_torchrun_scores_as_alone(tmp_path):
    common = '--profile smoke --kd self-kd --kd-set teacher=ema --set epochs=2 batch_size=8 calibration=16'.split()
    run(BIN / 'salnas_train', *common, 'accumulate=2', '--output-dir', tmp_path / 'alone')
    torchrun = BIN / 'torchrun', '--nproc-per-node', 2, '--no-python'
    both = run(*torchrun, BIN / 'salnas_train', *common, '--output-dir', tmp_path / 'both')
    metrics = {k: json.loads((tmp_path / k / 'largest/result.json').read_text())['metrics'] for k in ('alone', 'both')}
    assert metrics['alone'] == pytest.approx(metrics['both'], rel=1e-3)
    assert both.count('CC') == 2  # only the first process reports
    rows = [json.loads(line) for line in (tmp_path / 'both/log.jsonl').read_text().splitlines()]
    assert [r['epoch'] for r in rows] == [0, 1]
