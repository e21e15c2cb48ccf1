"""The occlusion network, in PyTorch (needed for training only), and its export to ONNX.

Residual separable convolutions down to 6x6 cells; a coarse map of what is covered is learnt beside the seven ratios,
because telling *where* something lies is a much richer lesson than seven numbers. Only the ratios are exported.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from models.train.face_parts import PARTS

_WIDTHS = (16, 32, 48, 64, 80)


def _convolution(inside: int, outside: int, *, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outside), nn.ReLU(inplace=True))


class Block(nn.Module):
    """Depthwise 3x3, pointwise 1x1, added to the input where the shapes agree."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(inside, inside, stride=stride, groups=inside), _convolution(inside, outside, kernel=1)
        )
        self.keeps = inside == outside and stride == 1

    def forward(self, planes: Tensor) -> Tensor:
        """``(n, inside, h, w)`` → ``(n, outside, h / stride, w / stride)``."""
        changed: Tensor = self.body(planes)
        return planes + changed if self.keeps else changed


class OcclusionNet(nn.Module):
    """``(n, 3, 96, 96)`` RGB (x - 127.5) / 127.5 → logits of the ratios ``(n, 7)`` and of the map ``(n, 24, 24)``."""

    def __init__(self) -> None:
        super().__init__()
        one, two, three, four, five = _WIDTHS
        self.stem = _convolution(3, one, stride=2)  # 48
        self.fine = nn.Sequential(Block(one, two, 2), Block(two, two, 1), Block(two, two, 1))  # 24
        self.middle = nn.Sequential(Block(two, three, 2), Block(three, three, 1), Block(three, three, 1))  # 12
        self.coarse = nn.Sequential(Block(three, four, 2), Block(four, four, 1), Block(four, five, 1))  # 6
        self.context = nn.Conv2d(five, two, 1)
        self.map = nn.Sequential(_convolution(two, two), nn.Conv2d(two, 1, 1))
        # The crop is aligned: where a cell lies tells which part it belongs to, so nothing is averaged away.
        self.cells = _convolution(five, 16, kernel=1)
        self.parts = nn.Sequential(
            nn.Flatten(), nn.Linear(16 * 36 + 144, 64), nn.ReLU(inplace=True), nn.Linear(64, len(PARTS))
        )

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of ratios and map."""
        fine = self.fine(self.stem(planes))
        deep = self.coarse(self.middle(fine))
        context = nn.functional.interpolate(self.context(deep), scale_factor=4.0, mode="nearest")
        covered = self.map(fine + context)
        small = nn.functional.avg_pool2d(torch.sigmoid(covered), 2)
        features = torch.cat([self.cells(deep).flatten(1), small.flatten(1)], 1)
        ratios: Tensor = self.parts(features)
        return ratios, covered[:, 0]


class Served(nn.Module):
    """What is exported: the ratios alone, 0..1."""

    def __init__(self, net: OcclusionNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, planes: Tensor) -> Tensor:
        """``(n, 3, 96, 96)`` → ``(n, 7)``."""
        return torch.sigmoid(self.net(planes)[0])


def export(net: OcclusionNet, path: Path) -> None:
    """Writes the trained network as ONNX with a free batch size, weights in fp32."""
    net.eval()
    torch.onnx.export(
        Served(net),
        (torch.zeros(1, 3, 96, 96),),
        str(path),
        input_names=["input"],
        output_names=["ratios"],
        dynamic_axes={"input": {0: "batch"}, "ratios": {0: "batch"}},
        opset_version=13,
        dynamo=False,
    )
