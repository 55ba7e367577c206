"""Twelve small networks of common kinds, with random weights, to be exported by both of torch's exporters.

    python benchmarks/exported_models.py

exports, compiles and compares them. Each class is written here, after the idea that its docstring names, to bring along the
operators that exporters write for it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class ConvNext(nn.Module):
    """Depthwise 7x7, LayerNorm with channels last, GELU, layer scale (Z. Liu et al., 2022)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 4, 4)
        self.depth = nn.ModuleList(nn.Conv2d(16, 16, 7, padding=3, groups=16) for _ in range(2))
        self.norm = nn.ModuleList(nn.LayerNorm(16) for _ in range(2))
        self.wide = nn.ModuleList(nn.Linear(16, 64) for _ in range(2))
        self.back = nn.ModuleList(nn.Linear(64, 16) for _ in range(2))
        self.scale = nn.Parameter(torch.full((16,), 0.1))
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for depth, norm, wide, back in zip(self.depth, self.norm, self.wide, self.back, strict=True):
            y = norm(depth(x).permute(0, 2, 3, 1))
            x = x + (self.scale * back(F.gelu(wide(y)))).permute(0, 3, 1, 2)
        return self.head(x.mean((2, 3)))


class UNet(nn.Module):
    """Down, up by transposed convolution, skips by concatenation (O. Ronneberger et al., 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = _block(3, 8), _block(8, 16)
        self.up, self.c = nn.ConvTranspose2d(16, 8, 2, 2), _block(16, 8)
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        b = self.b(F.max_pool2d(a, 2))
        return torch.sigmoid(self.out(self.c(torch.cat([a, self.up(b)], 1))))


def _block(inner: int, outer: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inner, outer, 3, padding=1), nn.BatchNorm2d(outer), nn.ReLU())


class Tagger(nn.Module):
    """Embedding, LSTM in both directions, a label a token."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 12)
        self.lstm = nn.LSTM(12, 10, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(20, 5)

    def forward(self, words: Tensor) -> Tensor:
        return F.log_softmax(self.head(self.lstm(self.table(words))[0]), -1)


class Decoder(nn.Module):
    """One step of a causal transformer that is handed its keys and values of the past, and hands on the longer ones."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.place = nn.Embedding(40, 32), nn.Embedding(64, 32)
        self.norm, self.after = nn.LayerNorm(32), nn.LayerNorm(32)
        self.joined, self.back = nn.Linear(32, 96), nn.Linear(32, 32)
        self.wide, self.narrow = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, words: Tensor, past_key: Tensor, past_value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        before, length = past_key.shape[2], words.shape[1]
        x = self.table(words) + self.place(torch.arange(before, before + length))
        q, k, v = (p.view(1, length, 4, 8).transpose(1, 2) for p in self.joined(self.norm(x)).split(32, -1))
        key, value = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
        seen = torch.ones(length, before + length, dtype=torch.bool).tril(before)
        scores = (q @ key.transpose(2, 3) / 8**0.5).masked_fill(~seen, float("-inf"))
        x = x + self.back((scores.softmax(-1) @ value).transpose(1, 2).reshape(1, length, 32))
        x = x + self.narrow(F.gelu(self.wide(self.after(x)), approximate="tanh"))
        return x @ self.table.weight.T, key, value


class Encoder(nn.Module):
    """torch's own transformer encoder with a padding mask, as in BERT."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(40, 32)
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, activation="gelu", batch_first=True)
        self.pool = nn.Linear(32, 8)

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        bias = torch.where(mask[:, None, None, :] > 0, 0.0, -1e4)
        q = self.table(words)
        out = F.scaled_dot_product_attention(*(q.view(2, -1, 4, 8).transpose(1, 2) for _ in range(3)), attn_mask=bias)
        return torch.tanh(self.pool(self.layer(out.transpose(1, 2).reshape(2, -1, 32))[:, 0]))


class Swin(nn.Module):
    """Windows that are cut out, shifted by a roll, attended in with a relative bias, and put back (Z. Liu et al., 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, 16, 4, 4), nn.LayerNorm(16)
        self.joined, self.back = nn.Linear(16, 48), nn.Linear(16, 16)
        self.bias = nn.Parameter(torch.randn(2, 16, 16) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).permute(0, 2, 3, 1)
        y = torch.roll(self.norm(x), (-2, -2), (1, 2))
        n, h, w, c = y.shape
        windows = y.view(n, h // 4, 4, w // 4, 4, c).transpose(2, 3).reshape(-1, 16, c)
        q, k, v = self.joined(windows).view(-1, 16, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
        out = ((q @ k.transpose(-2, -1) * 8**-0.5 + self.bias).softmax(-1) @ v).transpose(1, 2).reshape(-1, 16, c)
        y = self.back(out).view(n, h // 4, w // 4, 4, 4, c).transpose(2, 3).reshape(n, h, w, c)
        return x + torch.roll(y, (2, 2), (1, 2))


class EfficientNet(nn.Module):
    """Inverted bottleneck with squeeze and excitation, SiLU and hard activations (M. Tan and Q. Le, 2019; A. Howard et al., 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.wide, self.depth = nn.Conv2d(8, 32, 1), nn.Conv2d(32, 32, 5, 1, 2, groups=32)
        self.norm, self.down, self.up, self.back = nn.BatchNorm2d(32), nn.Conv2d(32, 8, 1), nn.Conv2d(8, 32, 1), nn.Conv2d(32, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardswish(self.stem(x))
        y = self.norm(self.depth(F.silu(self.wide(x))))
        y = y * F.hardsigmoid(self.up(F.relu6(self.down(F.adaptive_avg_pool2d(y, 1)))))
        return x + self.back(y)


class DeepLab(nn.Module):
    """Dilated convolutions side by side, a pooled image, bilinear upsampling (L.-C. Chen et al., 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _block(3, 8)
        self.rates = nn.ModuleList(nn.Conv2d(8, 4, 3, padding=r, dilation=r) for r in (1, 3, 6))
        self.image, self.out = nn.Conv2d(8, 4, 1), nn.Conv2d(16, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.avg_pool2d(self.stem(x), 2)
        pooled = F.interpolate(self.image(y.mean((2, 3), keepdim=True)), size=y.shape[2:], mode="bilinear", align_corners=False)
        whole = self.out(torch.cat([*(rate(y) for rate in self.rates), pooled], 1))
        return F.interpolate(whole, size=x.shape[2:], mode="bilinear", align_corners=True).argmax(1)


class Generator(nn.Module):
    """A decoder of images: transposed convolutions, group and instance norm, nearest upsampling, tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Linear(8, 16 * 16)
        self.up, self.norm = nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.GroupNorm(4, 8)
        self.more, self.own, self.out = nn.Conv2d(8, 8, 3, padding=1), nn.InstanceNorm2d(8, affine=True), nn.Conv2d(8, 3, 3)

    def forward(self, z: Tensor) -> Tensor:
        x = F.leaky_relu(self.norm(self.up(self.start(z).view(-1, 16, 4, 4))), 0.2)
        x = self.own(self.more(F.interpolate(x, scale_factor=2.0, mode="nearest")))
        return torch.tanh(self.out(F.pad(x, (1, 1, 1, 1), mode="reflect")))


class PointNet(nn.Module):
    """A shared perceptron on points, the largest of each segment, and of all (C. Qi et al., 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.norm, self.head = nn.Conv1d(3, 16, 1), nn.BatchNorm1d(16), nn.Linear(32, 4)

    def forward(self, points: Tensor, segment: Tensor) -> Tensor:
        x = F.relu(self.norm(self.own(points.transpose(1, 2)))).transpose(1, 2)[0]
        parts = torch.zeros(5, 16).scatter_reduce(0, segment[:, None].expand(-1, 16), x, "amax")
        return self.head(torch.cat([parts, x.max(0).values[None].expand(5, -1)], -1))


class Conformer(nn.Module):
    """Attention beside a gated depthwise convolution over time, then a GRU (A. Gulati et al., 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attend = nn.LayerNorm(16), nn.MultiheadAttention(16, 4, batch_first=True)
        self.gate, self.depth, self.back = nn.Conv1d(16, 32, 1), nn.Conv1d(16, 16, 7, padding=3, groups=16), nn.Conv1d(16, 16, 1)
        self.gru = nn.GRU(16, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        x = x + self.attend(y, y, y, need_weights=False)[0]
        x = x + self.back(F.silu(self.depth(F.glu(self.gate(x.transpose(1, 2)), 1)))).transpose(1, 2)
        return self.gru(x)[0].cumsum(1)


class Experts(nn.Module):
    """Two of four experts for each token, chosen by the largest gates, with SwiGLU and RMS normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.scale = nn.Linear(16, 4), nn.Parameter(torch.rand(16) + 0.5)
        self.first, self.second, self.last = (nn.Parameter(torch.randn(4, *s) * 0.2) for s in ((16, 24), (16, 24), (24, 16)))

    def forward(self, x: Tensor) -> Tensor:
        y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.scale
        shares, chosen = self.gate(y).softmax(-1).topk(2, -1)
        weights = torch.zeros(x.shape[0], 4).scatter(1, chosen, shares / shares.sum(-1, keepdim=True))
        every = torch.einsum("ni,eij->nej", y, self.first)
        every = F.silu(every) * torch.einsum("ni,eij->nej", y, self.second)
        return x + torch.einsum("nej,ejk,ne->nk", every, self.last, weights)


def networks() -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
    """Each network, in inference, and example inputs; seeded."""
    torch.manual_seed(0)
    image, words = torch.randn(1, 3, 32, 32), torch.randint(0, 40, (2, 7))
    made: dict[str, tuple[Any, tuple[Tensor, ...]]] = {
        "convnext": (ConvNext(), (image,)), "unet": (UNet(), (image,)), "tagger": (Tagger(), (words,)),
        "decoder": (Decoder(), (words[:1, :3], torch.randn(1, 4, 5, 8), torch.randn(1, 4, 5, 8))),
        "encoder": (Encoder(), (words, (torch.rand(2, 7) < 0.7).long())), "swin": (Swin(), (image,)),
        "efficientnet": (EfficientNet(), (image,)), "deeplab": (DeepLab(), (image,)), "generator": (Generator(), (torch.randn(1, 8),)),
        "pointnet": (PointNet(), (torch.randn(1, 20, 3), torch.randint(0, 5, (20,)))),
        "conformer": (Conformer(), (torch.randn(1, 12, 16),)),
        "experts": (Experts(), (torch.randn(9, 16),)),
    }  # fmt: skip
    return {name: (module.eval(), inputs) for name, (module, inputs) in made.items()}
