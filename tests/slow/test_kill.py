"A training that is killed again and again ends at the weights of one that was left alone."
import json
import os
import random
import subprocess
import sys
import time

import torch

from salnas.training import load_checkpoint

COMMAND = [sys.executable, '-c', 'from salnas.selfkd import main; main()', '--profile', 'smoke', '--kd', 'self-kd', '--set', 'epochs=4', 'n_random=0', '--resume', '--save-every', '1']


def start(out): return subprocess.Popen([*COMMAND, '--output-dir', str(out)], env=os.environ | {'OMP_NUM_THREADS': '1'}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def log(out): return [{k: v for k, v in json.loads(line).items() if k != 'seconds'} for line in (out / 'log.jsonl').read_text().splitlines()]


def test_kill_9_at_ten_random_moments(tmp_path):
    whole, broken, rng = tmp_path / 'whole', tmp_path / 'broken', random.Random(0)
    assert start(whole).wait() == 0
    stops = []
    for _ in range(10):
        before = max(broken.glob('state-*.pt'), default=None)
        process = start(broken)
        while process.poll() is None and max(broken.glob('state-*.pt'), default=None) == before: time.sleep(.01)  # it lives and has gone on
        time.sleep(rng.uniform(0, .6))
        process.kill()
        stops.append((process.wait(), max(broken.glob('state-*.pt')).name))
    assert all(code == -9 for code, _ in stops), stops
    print('killed after', *(name for _, name in stops))
    assert start(broken).wait() == 0
    assert log(whole) == log(broken)
    a, b = (load_checkpoint(d / 'best.safetensors').state_dict() for d in (whole, broken))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not list(broken.glob('.*'))  # nor does anything remain of the saves that were killed
