"""Runs fuzz targets for a bounded count or time.

    python -m tests.fuzz.runner --seconds 60 [TARGET…]

What breaks a target is written to `.cache/fuzz/` and shown; `--replay FILE TARGET` runs that file
again. An input that takes the processor longer than `SLOW_S` breaks it too, and one that never ends
is ended with a traceback.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.mutation import mutate
from tests.fuzz.targets import TARGETS, Target

SLOW_S = 1.0
"""Of processor time, for at most 128 KiB: two orders above what the slowest valid input takes."""

HANGS_S = 60.0
MAX_CORPUS = 400


class Finding(Exception):
    """An input that broke its target."""

    def __init__(self, target: Target, data: bytes, what: str) -> None:
        super().__init__(f"{target.name}: {what}, with {data[:200]!r} ({len(data)} bytes)")
        self.target = target
        self.data = data


def fuzz(target: Target, seed: int) -> Iterator[str]:
    """Endless outcomes of mutated inputs, the same ones for the same seed. Raises Finding."""
    rng = random.Random(seed)
    corpus = list(target.corpus)
    seen = set()
    for data in corpus:
        seen.add(check(target, data))
    while True:
        data = mutate(rng, corpus)
        outcome = check(target, data)
        if outcome not in seen and len(corpus) < MAX_CORPUS:
            seen.add(outcome)
            corpus.append(data)
        yield outcome


def check(target: Target, data: bytes) -> str:
    """One input's outcome. Raises Finding."""
    started = time.process_time()
    try:
        outcome = target.run(data)
    except Exception as error:
        raise Finding(target, data, f"{type(error).__name__}: {error}") from error
    took_s = time.process_time() - started
    if took_s > SLOW_S:
        raise Finding(target, data, f"took {took_s:.1f} s")
    return outcome


def main() -> int:
    options = _options()
    if options.replay:
        (name,) = options.targets
        print(check(TARGETS[name], options.replay.read_bytes()))
        return 0
    names = options.targets or list(TARGETS)
    for name in names:
        try:
            counts = _run(TARGETS[name], options.seed, options.seconds / len(names))
        except Finding as finding:
            print(f"{finding}\nkept as {_keep(finding)}", file=sys.stderr)
            raise
        common = ", ".join(f"{outcome} × {count}" for outcome, count in counts.most_common(3))
        print(f"{name}: {counts.total():,} inputs, {len(counts)} outcomes: {common}")
    return 0


def _run(target: Target, seed: int, seconds: float) -> Counter[str]:
    counts: Counter[str] = Counter()
    ends = time.monotonic() + seconds
    for outcome in fuzz(target, seed):
        faulthandler.dump_traceback_later(HANGS_S, exit=True)
        counts[outcome] += 1
        if time.monotonic() > ends:
            break
    faulthandler.cancel_dump_traceback_later()
    return counts


def _keep(finding: Finding) -> Path:
    digest = hashlib.sha256(finding.data).hexdigest()[:12]
    path = Path(".cache/fuzz") / f"{finding.target.name}-{digest}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(finding.data)
    return path


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.runner", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run this one input")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if options.replay and len(options.targets) != 1:
        parser.error("--replay needs one target")
    if not options.replay:
        print(f"seed {options.seed}")
    return options


if __name__ == "__main__":
    sys.exit(main())
