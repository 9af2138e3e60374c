"""What every benchmark shares: the list of entries, measuring by turns, the plain way, and rows of the table."""

import copy
import time

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
