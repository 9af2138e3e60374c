"""Training steps."""

import copy
import functools
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from harness import by_turns, entry, plain_copy
from salnas.efficiency import Pricer, latency
from salnas.space import named_space
from salnas.supernet import Supernet
from salnas.training import sandwich_step
from torch.nn import functional as F


def sample_data(batch, h, w, seed=0):
    g = torch.Generator().manual_seed(seed)
    density = torch.rand(batch, h, w, generator=g)
    images = torch.randn(batch, 3, h, w, generator=g)
    fixations = (torch.rand(batch, h, w, generator=g) > 0.997).float()
    return images, density / density.sum((1, 2), keepdim=True), fixations


def training(space, jobs):
    "(plain step, fast step, their gradients) of a sandwich: jobs are ((batch, height, width), architectures)."
    net = Supernet(space, seed=0).train()
    slow, fast = plain_copy(net), copy.deepcopy(net).to(memory_format=torch.channels_last)
    data = [(sample_data(*size), archs) for size, archs in jobs]

    def step(net):
        net.zero_grad()
        for (x, density, fixations), archs in data:
            images = x if net is slow else x.contiguous(memory_format=torch.channels_last)
            sandwich_step(net, images, density, fixations, archs, dropout=0.0, drop_connect=0.0)

    def cosine():
        of = lambda net: torch.cat([p.grad.flatten().double() for p in net.parameters() if p.grad is not None])
        return float(F.cosine_similarity(of(slow), of(fast), 0))

    return functools.partial(step, slow), functools.partial(step, fast), cosine


def of_resolution(space, resolution, seed):
    rng = np.random.default_rng(seed)
    return next(a for a in iter(lambda: space.sample(rng), None) if a.resolution == resolution)


def alphanet_jobs(space):
    return [
        ((8, 288, 384), [space.max(), of_resolution(space, 384, 0)]),
        ((8, 192, 256), [of_resolution(space, 256, 1), space.min()]),
    ]


def alphanet_step():
    space = named_space('alphanet')
    return training(space, alphanet_jobs(space))


def peak_fraction(space, jobs, seconds):
    """Operations of a step over what the processor's fastest convolution would do in that time.

    A step is a forward pass, and twice as many operations backward."""
    x = torch.randn(4, 256, 48, 64).contiguous(memory_format=torch.channels_last)
    w = torch.randn(256, 256, 3, 3).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        ms = latency(lambda: F.conv2d(x, w, padding=1), 20, 5).min_ms.iloc[0]
    peak = 2 * 4 * 48 * 64 * 256 * 256 * 9 / (ms / 1e3)
    price = {size: Pricer(space, size[1:]) for size, _ in jobs}
    operations = sum(3 * 2 * size[0] * price[size].macs(a) for size, archs in jobs for a in archs)
    return dict(peak_GFLOPs=peak / 1e9, fraction_of_peak=operations / seconds / peak)


@entry(aim=1.6)
def train_step_alphanet(args):
    plain, fast, cosine = alphanet_step()
    times = by_turns(plain, fast, min(args.repeats, 5))
    space = named_space('alphanet')
    of_peak = peak_fraction(space, alphanet_jobs(space), float(np.median(times[1])))
    what = 'max + random at 288x384, random + min at 192x256, batch 8, fp32'
    return *times, dict(gradient_cosine=cosine(), **of_peak, what=what)


@entry(aim=1.6)
def train_step_mobilenetv2(args):
    space = named_space('mobilenetv2', resolutions=(256,))
    jobs = [((16, 192, 256), [space.max(), space.sample(np.random.default_rng(0)), space.min()])]
    plain, fast, cosine = training(space, jobs)
    times = by_turns(plain, fast, min(args.repeats, 5))
    of_peak = peak_fraction(space, jobs, float(np.median(times[1])))
    return *times, dict(gradient_cosine=cosine(), **of_peak, what='sandwich of 3 at 192x256, batch 16, fp32')


@entry(aim=2.2)
def train_step_alphanet_allocator(args):
    "The plain step as it is against ours with another allocator, in two processes that take turns."
    if not args.jemalloc:
        return None

    def worker(kind, **env):
        p = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name('run.py')), '--worker', kind, '--threads', str(args.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | env,
        )
        assert p.stdout.readline().strip() == 'ready'
        return p

    keeps_pages = 'dirty_decay_ms:-1,muzzy_decay_ms:-1'
    workers = [worker('plain'), worker('fast', LD_PRELOAD=args.jemalloc, MALLOC_CONF=keeps_pages)]
    times, peaks = ([], []), {}
    for k in range(min(args.repeats, 5) + 1):
        for p, kept in zip(workers, times):
            p.stdin.write('go\n')
            p.stdin.flush()
            seconds, peaks[p.pid] = map(float, p.stdout.readline().split())
            if k:
                kept.append(seconds)
    for p in workers:
        p.stdin.close()
        p.wait()
    plain, fast = (peaks[p.pid] for p in workers)
    what = 'as train_step_alphanet, ours with jemalloc preloaded'
    return *times, dict(peak_MB_plain=plain, peak_MB_fast=fast, what=what)


def peak_memory():
    "MB this process held at most; ru_maxrss would be the parent's."
    status = Path('/proc/self/status').read_text().splitlines()
    return int(next(l for l in status if l.startswith('VmHWM')).split()[1]) / 1024


def work(kind):
    "The other end of train_step_alphanet_allocator."
    plain, fast, _ = alphanet_step()
    call = dict(plain=plain, fast=fast)[kind]
    print('ready', flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        call()
        print(time.perf_counter() - start, peak_memory(), flush=True)
