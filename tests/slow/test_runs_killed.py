"Whoever is killed, a grid is completed by the next call, and nothing that was finished is repeated."

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from salnas import runs

TOY = """
import time
from pathlib import Path

def make(folder, seed):
    "Ten steps, of which those that were made are not repeated."
    steps = folder / 'steps.txt'
    for k in range(len(steps.read_text()) if steps.is_file() else 0, 10):
        time.sleep(.05)
        with open(steps, 'a') as f:
            f.write('x')
    (folder / 'result.json').write_text('{}')
"""


def test_kills_of_the_whole_group_and_of_single_runs(tmp_path, monkeypatch):
    (tmp_path / 'toy_kill.py').write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    grid = [{'key': f's{seed}', 'seed': seed} for seed in range(6)]
    script = f'from salnas import runs; runs.complete({grid!r}, "toy_kill:make", "runs")'
    env = os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)}
    finished = set()
    for wait in (0.5, 0.8, 1.1, 1.4):
        p = subprocess.Popen([sys.executable, '-c', script], cwd=tmp_path, env=env, start_new_session=True)
        time.sleep(wait)
        os.killpg(p.pid, signal.SIGKILL)
        p.wait()
        now = {q.parent.name: q.stat().st_mtime_ns for q in tmp_path.glob('runs/*/result.json')}
        assert finished <= set(now)
        finished = set(now)
    monkeypatch.chdir(tmp_path)
    runs.complete(grid, 'toy_kill:make', 'runs')
    assert all(Path('runs', run['key'], 'steps.txt').read_text() == 'x' * 10 for run in grid)
    assert not runs.commands(grid, 'toy_kill:make', 'runs')
