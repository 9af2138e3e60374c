"""Speed, each claim as a ratio measured by turns in one run.

    python benchmarks/run.py [--only NAME ...] [--threads 2] [--repeats 7] [--jemalloc FILE.so] [--out results.json]

Prints a Markdown table and writes JSON: per entry `name`, `ratio` (how many times faster than the plain way), `aim`,
both medians in seconds, every repetition, and what was checked beside the time; with machine, versions and commit.
`--jemalloc` adds the training step with that allocator preloaded. Run it on an idle machine: two busy processes on two
cores change every figure.
"""

import argparse
import copy
import functools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from salnas import metrics
from salnas.efficiency import Pricer, latency, optimize
from salnas.exports import agreement, load_exported, to_onnx, to_openvino
from salnas.metrics import evaluate_maps, shuffled_negatives
from salnas.space import named_space
from salnas.supernet import ConvBNAct, DynamicConvBNAct, Subnet, Supernet, cut, macs
from salnas.timing import LatencyTable
from salnas.training import batches, calibrate_bn, calibrated, evaluate, provenance, sandwich_step

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
            [sys.executable, __file__, '--worker', kind, '--threads', str(args.threads)],
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


# --- inference ---


@functools.lru_cache(maxsize=None)
def deployed(name, size):
    "A network with statistics of real pictures, and its plain copy."
    from salnas.data import load_dataset
    from salnas.predict import PRETRAINED, SaliencyModel

    if name == 'mobilenetv2' and PRETRAINED.is_file():  # int8 must be judged on trained weights
        net = SaliencyModel.load().net
        return net, plain_copy(net).eval()
    space = named_space(name)
    net = calibrated(Supernet(space, seed=0), load_dataset('popout', size=size), space.max(), 64)
    return net, plain_copy(net).eval()


def inference(name, size, make, args, tolerance=None, least_cc=None):
    net, plain = deployed(name, size)
    images = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as aside:
        run, found = make(net, Path(aside))
        turns = lambda: plain(net.normalise(images)), lambda: run(images.numpy())
        with torch.inference_mode():
            times = by_turns(*turns, args.repeats, calls=8, pause=0.3)
    if tolerance and found['max_abs'] > tolerance or least_cc and found['cc'] < least_cc:
        found['failed'] = f'not accurate enough: {tolerance or least_cc}'
    return *times, found | dict(what=f'batch 1, {size[0]}x{size[1]}, against eager NCHW fp32')


def vino(precision, size, int8=False):
    def make(net, aside):
        from salnas.data import load_dataset

        part = load_dataset('popout', size=size)
        pictures = torch.stack([part.image(k) for k in range(64)])
        to_openvino(net, aside / 'net.xml', size, pictures if int8 else None, least_cc=0.9)
        run = load_exported(aside / 'net.xml', torch.get_num_threads(), precision)
        found = agreement(run, net, size, pictures[:8])
        return run, vars(found) | dict(backend=f'OpenVINO {"int8" if int8 else precision}')

    return make


def onnx(size):
    def make(net, aside):
        found = to_onnx(net, aside / 'net.onnx', size)
        run = load_exported(aside / 'net.onnx', torch.get_num_threads())
        return run, vars(found) | dict(backend='ONNX Runtime fp32')

    return make


def torch_fused(net, aside):
    fast = optimize(net)
    run = lambda images: fast(net.normalise(torch.from_numpy(images)))
    return run, dict(max_abs=0.0, cc=1.0, backend='torch, folded, channels last')


def torch_compiled(net, aside):
    fast = optimize(net, compile=True)
    run = lambda images: fast(net.normalise(torch.from_numpy(images))).numpy()
    with torch.inference_mode():
        found = agreement(run, net, BIG, torch.rand(1, 3, *BIG))
        return run, vars(found) | dict(backend='torch.compile')


BIG = 288, 384


@entry(aim=2.5)
def infer_alphanet_max_fp32(args):
    return inference('alphanet', BIG, vino('fp32', BIG), args, tolerance=1e-4)


@entry(aim=2.5)
def infer_alphanet_max_onnx(args):
    return inference('alphanet', BIG, onnx(BIG), args, tolerance=1e-4)


@entry(aim=1.5)
def infer_alphanet_max_torch(args):
    return inference('alphanet', BIG, torch_fused, args)


@entry(aim=None)  # for those who stay in PyTorch
def infer_alphanet_max_compiled(args):
    return inference('alphanet', BIG, torch_compiled, args, tolerance=1e-4)


@entry(aim=4)
def infer_alphanet_max_bf16(args):
    return inference('alphanet', BIG, vino('bf16', BIG), args, least_cc=0.995)


@entry(aim=4)
def infer_mobilenetv2_max_int8(args):
    from salnas.predict import PRETRAINED, SaliencyModel

    size = SaliencyModel.load().size if PRETRAINED.is_file() else (192, 256)
    return inference('mobilenetv2', size, vino('fp32', size, int8=True), args, least_cc=0.995)


@entry(aim=2.5)
def candidate_evaluation(args):
    """Score one architecture of a supernet after another, as a search does.

    Extract it, calibrate it on 64 training pictures, evaluate it on the validation part."""
    from salnas.data import load_dataset
    from salnas.search import SharedWeights, Trial

    train, val = (load_dataset('popout', s, size=(192, 256)) for s in ('train', 'val'))
    space = named_space('mobilenetv2', resolutions=(256,))
    net, rng, found = Supernet(space, seed=0), np.random.default_rng(0), []
    ours = SharedWeights(net, train, val, calibration=64)
    archs = iter([a for _ in range(args.repeats + 1) for a in [space.sample(rng)] * 2])  # both ways meet the same ones

    def plain():
        sub = calibrate_bn(plain_copy(net.extract(next(archs))), batches(train, 16, 64))
        found.append(evaluate(sub, val).CC.mean())

    def fast():
        found.append(ours(Trial(next(archs)))['CC'])

    times = by_turns(plain, fast, args.repeats)
    difference = max(abs(a - b) for a, b in zip(found[::2], found[1::2]))
    wrong = dict(failed='scores differ by more than 1e-3') if difference > 1e-3 else {}
    what = f'mobilenetv2 at 192x256, 64 + {len(val)} pictures, ours in bf16, against fp32 done plainly'
    return *times, dict(score_difference=float(difference), **wrong, what=what)


@entry(aim=2.5)
def candidate_evaluation_workers(args):
    """Candidates per minute of a whole search with a process per thread, their start included.

    Against one after another done plainly."""
    from salnas.data import load_dataset
    from salnas.search import RandomSearch, SharedWeights, search

    train, val = (load_dataset('popout', s, size=(192, 256)) for s in ('train', 'val'))
    space = named_space('mobilenetv2', resolutions=(256,))
    net, budget = Supernet(space, seed=0), 64
    ours = SharedWeights(net, train, val, calibration=64)

    def plain():
        evaluate(calibrate_bn(plain_copy(net.extract(next(archs))), batches(train, 16, 64)), val)

    def fast(seed):
        assert (search(RandomSearch(space, seed=seed), ours, budget, workers=args.threads).state == 'done').all()

    times = [], []
    for k in range(3):
        archs = (t.arch for t in RandomSearch(space, seed=k).ask(args.repeats + 1))  # as the search will meet them
        plain()
        for _ in range(args.repeats):
            start = time.perf_counter()
            plain()
            times[0].append(time.perf_counter() - start)
        start = time.perf_counter()
        fast(k)
        times[1].append((time.perf_counter() - start) / budget)
    what = f'as above, {budget} candidates by {args.threads} workers with a thread each, start-up included'
    return *times, dict(what=what)


# --- counting, metrics, data ---


@entry(aim=1000)
def arch_pricing(args):
    space, rng = named_space('alphanet'), np.random.default_rng(0)
    price, archs = Pricer(space), [space.sample(rng) for _ in range(500)]
    for a in archs:
        price(a)

    def plain():
        with torch.device('meta'):
            macs(Subnet(space, archs[0]), (288, 384))

    slow, fast = by_turns(plain, lambda: [price(a) for a in archs], args.repeats)
    what = 'MACs of one architecture, against building it and counting what is dispatched'
    return slow, [t / len(archs) for t in fast], dict(what=what)


def maps(batch=16, h=480, w=640, n=100):
    rng = np.random.default_rng(0)
    pred = torch.from_numpy(rng.random((batch, h, w))).float()
    fixations = torch.from_numpy(rng.multinomial(n, np.full(h * w, 1 / (h * w)), batch).reshape(batch, h, w)).float()
    pred = F.avg_pool2d(pred[:, None], 31, 1, 15)[:, 0]
    return pred, F.avg_pool2d(fixations[:, None], 41, 1, 20)[:, 0] + 1e-9, fixations


@entry(aim=5)
def auc_judd(args):
    from sklearn.metrics import roc_auc_score

    pred, _, fixations = maps()

    def plain():
        for p, f in zip(pred.numpy(), fixations.numpy()):  # every pixel a negative, counts as weights of the positives
            positives = np.repeat(p[f > 0], f[f > 0].astype(int))
            roc_auc_score(np.r_[np.ones(len(positives)), np.zeros(p.size)], np.r_[positives, p.ravel()])

    times = by_turns(plain, lambda: metrics.auc_judd(pred, fixations), args.repeats)
    return *times, dict(what='16 maps of 480x640, 100 fixations, against scikit-learn')


@entry(aim=1)
def metrics_all(args):
    pred, density, fixations = maps()
    negatives = shuffled_negatives(fixations)

    def plain():  # one picture at a time
        for k in range(len(pred)):
            evaluate_maps(*(t[k : k + 1] for t in (pred, density, fixations)), negatives[k : k + 1], density.mean(0))

    fast = lambda: evaluate_maps(pred, density, fixations, negatives, density.mean(0))
    times = by_turns(plain, fast, args.repeats)
    each = 1e3 * float(np.median(times[1])) / len(pred)
    return *times, dict(ms_per_map=each, what='all seven metrics of 16 maps, against one map at a time')


@entry(aim=3)
def data_loading(args):
    from salnas.data import load_dataset

    cached, drawn = load_dataset('popout'), load_dataset('popout', cache=False)
    plain, fast = (lambda part=part: [part[k] for k in range(50)] for part in (drawn, cached))
    what = '50 samples at 192x256 from the cache, against drawing each anew'
    return *by_turns(plain, fast, args.repeats), dict(what=what)


@entry(aim=None)
def latency_table(args):
    "Not a speed: the median relative error of predicted latencies on 30 random architectures."
    space, rng = named_space('alphanet'), np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(60)]
    supernet, x = Supernet(space, seed=0), torch.randn(1, 3, 288, 384)
    measured = []
    for chunk in np.array_split(np.arange(60), 6):  # a few networks in memory at a time
        nets = {str(i): functools.partial(optimize(supernet.extract(archs[i]).eval()), x) for i in chunk}
        measured += latency(nets, args.repeats, 2).median_ms.tolist()
    table = LatencyTable(space).measure(archs).fit(archs[30:], measured[30:])
    predicted = [table(a) for a in archs[:30]]
    error = np.abs(np.array(predicted) / measured[:30] - 1)
    found = dict(
        median_error=float(np.median(error)),
        aim_median_error=0.1,
        measured_ms=measured[:30],
        predicted_ms=predicted,
        what='predicted against measured latency, 30 architectures, the line fitted on 30 others',
    )
    return [1.0], [1.0], found


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--only', nargs='+', choices=list(ENTRIES), default=list(ENTRIES))
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--repeats', type=int, default=7)
    parser.add_argument('--jemalloc', help='libjemalloc.so, for train_step_alphanet_allocator')
    parser.add_argument('--out', type=Path, default=Path('runs/benchmarks.json'))
    parser.add_argument('--worker', help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.worker:
        work(args.worker)
        return
    rows = []
    print('| name | plain, s | fast, s | ratio | aim | |\n|---|---|---|---|---|---|', flush=True)
    for name in args.only:
        call, aim = ENTRIES[name]
        found = call(args)
        if found is None:
            continue
        rows.append(as_row(name, aim, *found))
        print(in_table(rows[-1], found[2]), flush=True)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        machine = dict(cpu=platform.processor() or platform.machine(), cores=os.cpu_count(), threads=args.threads)
        args.out.write_text(json.dumps(dict(machine=machine, provenance=provenance(), entries=rows), indent=1))


if __name__ == '__main__':
    main()
