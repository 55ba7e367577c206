"""Fingerprints of kernels: the same for the same kernel, another for any other."""

from __future__ import annotations

import random
from dataclasses import replace

from random_kernels import random_kernel

from tgc.ir.fingerprint import fingerprint
from tgc.ir.text import parse_kernel, print_kernel


def test_equal_kernels_have_equal_fingerprints() -> None:
    for seed in range(20):
        kernel = random_kernel(random.Random(seed))
        again = parse_kernel(print_kernel(kernel))
        assert fingerprint(replace(again, name="other", origins=("x",))) == fingerprint(kernel)


def test_other_kernels_have_others() -> None:
    texts: dict[str, str] = {}
    for seed in range(200):
        kernel = random_kernel(random.Random(seed))
        text = print_kernel(kernel)
        assert texts.setdefault(fingerprint(kernel), text) == text
    assert len(texts) > 150
