"A training that is killed again and again ends at the weights of one that was left alone."

import json
import os
import random
import subprocess
import sys
import time

import torch

from salnas.training import load_checkpoint

COMMAND = [
    sys.executable,
    '-c',
    'from salnas.train import train_command; train_command()',
    '--profile',
    'smoke',
    '--kd',
    'self-kd',
    '--set',
    'epochs=4',
    'n_random=0',
    '--resume',
    '--save-every',
    '1',
]


def start(out):
    return subprocess.Popen(
        [*COMMAND, '--output-dir', str(out)],
        env=os.environ | {'OMP_NUM_THREADS': '1'},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def log(out):
    return [
        {k: v for k, v in json.loads(line).items() if k != 'seconds'}
        for line in (out / 'log.jsonl').read_text().splitlines()
    ]


def steps(out):
    "How far the newest state is: steps since the start, of 13 per epoch."
    newest = max((p.stem for p in out.glob('state-*.pt')), default='state-0-0')
    _, epoch, step = newest.split('-')
    return 13 * int(epoch) + int(step)


def test_kill_9_at_ten_random_moments(tmp_path):
    whole, broken, rng = tmp_path / 'whole', tmp_path / 'broken', random.Random(0)
    assert start(whole).wait() == 0
    assert steps(whole) == 52
    killed = []
    for moment in (
        4 * i + rng.randrange(6) for i in range(10)
    ):  # over the whole run, so that every epoch and every state of the teacher is met
        process = start(broken)
        while process.poll() is None and steps(broken) < moment:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        assert process.wait() == -9
        killed.append(steps(broken))
    print('killed after step', *killed)
    assert killed[-1] > 35 and start(broken).wait() == 0
    assert log(whole) == log(broken)
    a, b = (load_checkpoint(d / 'best.safetensors').state_dict() for d in (whole, broken))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not list(broken.glob('.*'))  # nor does anything remain of the saves that were killed
