"""What every benchmark shares: the list of entries, measuring by turns, the plain way, and rows of the table."""

import copy
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from salnas.supernet import ConvBNAct, DynamicConvBNAct, cut
from torch import nn
from torch.nn import functional as F

ENTRIES = {}


def entry(aim):
    "Register a benchmark: it yields (plain, fast, what else was found)."

    def register(f):
        ENTRIES[f.__name__] = f, aim
        return f

    return register


def by_turns(plain, fast, repeats, warmup=1, calls=1, pause=0.0):
    """Seconds of each call of two functions that take turns.

    With `calls` a turn is that many calls in a row, of which the first is not counted, after a pause: two runtimes with
    thread pools of their own disturb each other while the idle one's threads still spin."""
    times = [], []
    for k in range(repeats + warmup):
        for call, kept in zip((plain, fast), times):
            time.sleep(pause)
            for c in range(calls):
                start = time.perf_counter()
                call()
                if k >= warmup and (c or calls == 1):
                    kept.append(time.perf_counter() - start)
    return times


# --- two processes by turns ---


class Worker:
    "A process of its own that makes a call when it is told to, and says what that cost. Its other end is `serve`."

    def __init__(self, script, *arguments, **env):
        self.kind = arguments[1]
        command, pipe = [sys.executable, str(script), *map(str, arguments)], subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=os.environ | env)
        self._answer()

    def _answer(self):
        if not (line := self.process.stdout.readline()):
            raise RuntimeError(f'the worker ended: {" ".join(self.process.args)}')
        return json.loads(line)

    def __call__(self):
        self.process.stdin.write('go\n')
        self.process.stdin.flush()
        return self._answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def serve(call):
    "Call whenever a line comes, until there are no more."
    memory = lambda: dict(line.split(':') for line in Path('/proc/self/status').read_text().splitlines())
    faults = lambda: int(Path('/proc/self/stat').read_text().rpartition(')')[2].split()[7])
    print('{}', flush=True)
    for _ in sys.stdin:
        before, cpu, start = faults(), time.process_time(), time.perf_counter()
        call()
        cost = dict(seconds=time.perf_counter() - start, cpu_s=time.process_time() - cpu, faults=faults() - before)
        sizes = {name: int(memory()[key].split()[0]) / 1024 for name, key in (('MB', 'VmRSS'), ('peak_MB', 'VmHWM'))}
        print(json.dumps(cost | sizes), flush=True)


def processes_by_turns(workers, repeats, warmup=1):
    "(seconds of each call by worker; medians of CPU seconds, page faults and resident memory, by kind of worker)."
    costs = [[] for _ in workers]
    for k in range(repeats + warmup):
        for worker, kept in zip(workers, costs):
            cost = worker()
            if k >= warmup:
                kept.append(cost)
    found = {}
    for worker, kept in zip(workers, costs):
        worker.close()
        names = [name for name in kept[0] if name != 'seconds']
        found |= {f'{name}_{worker.kind}': float(np.median([cost[name] for cost in kept])) for name in names}
    return [[cost['seconds'] for cost in kept] for kept in costs], found


def as_row(name, aim, plain, fast, more):
    "What is written of an entry: its medians, their ratio, every repetition, and what else was found."
    medians = dict(plain_s=float(np.median(plain)), fast_s=float(np.median(fast)))
    ratio = medians['plain_s'] / medians['fast_s']
    return dict(name=name, ratio=ratio, aim=aim, **medians, repetitions=dict(plain=plain, fast=fast), **more)


def in_table(row, more):
    "The row as a line of Markdown; lists stay in the file."
    short = {k: f'{v:.4g}' if isinstance(v, float) else v for k, v in more.items() if not isinstance(v, list)}
    told = '; '.join(v if k == 'what' else f'{k} {v}' for k, v in short.items())
    figures = f'{row["plain_s"]:.4g} | {row["fast_s"]:.4g} | {row["ratio"]:.2f}'
    return f'| {row["name"]} | {figures} | {row["aim"] or ""} | {told} |'


# --- the plain way: NCHW, a hand-written swish, weights copied for each call, module by module ---


class Swish(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


def plainly(self, x, spec):
    groups = spec.cout if spec.depthwise else 1
    weight = cut(self.conv.weight, (spec.cout, spec.cin // groups, spec.kernel, spec.kernel)).contiguous()
    x = F.conv2d(x, weight, None, spec.stride, spec.kernel // 2, 1, groups)
    n = (spec.cout,)
    return self.act(F.batch_norm(x, None, None, cut(self.bn.weight, n), cut(self.bn.bias, n), True, 0.0, self.bn.eps))


def plain_copy(net):
    net = copy.deepcopy(net).to(memory_format=torch.contiguous_format)
    for m in net.modules():
        if isinstance(m, ConvBNAct) and isinstance(m.act, nn.SiLU):
            m.act = Swish()
        if isinstance(m, DynamicConvBNAct):
            m.forward = plainly.__get__(m)
    return net
