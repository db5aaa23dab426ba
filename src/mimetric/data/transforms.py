"""Changes to images, a batch at a time, on its device: each image gets random numbers of its own.

A transform is a small frozen dataclass, called with images (n, c, h, w) and a generator.  Bytes come back as bytes,
rounded; floating point lies in [0, 1].  Where the generator lies does not matter: numbers are drawn there and sent to
the images.  No torchvision; decoding is elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from mimetric.core.checks import check_choice
from mimetric.data.batched import Transform, chosen_rows, floating, in_groups, like, per_image, uniform

Filter = Literal["bilinear", "bicubic"]


class Chain(Transform):
    """Transforms one after the other.

    >>> images = torch.randint(0, 256, (8, 3, 40, 50), dtype=torch.uint8)
    >>> augment = Chain(RandomResizedCrop(32), Flip(), ColorJitter(0.4, 0.4, 0.4, 0.1), Blur())
    >>> augment(images, torch.Generator().manual_seed(0)).shape
    torch.Size([8, 3, 32, 32])
    """

    def __init__(self, *steps: Transform) -> None:
        self.steps = steps

    def __repr__(self) -> str:
        return f"Chain{self.steps}"

    def apply(self, images: Tensor, generator: Generator | None) -> Tensor:
        for step in self.steps:
            images = step(images, generator)
        return images


def two_views(
    images: Tensor, transform: Transform, generator: Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Each image changed twice, apart: what self-supervised objectives pull together.

    The views of a row share its index as a label: ``objective(encoder(a), rows, encoder(b), rows)``.

    >>> a, b = two_views(torch.rand(16, 3, 8, 8), Flip(), torch.Generator().manual_seed(0))
    >>> a.shape == b.shape, torch.equal(a, b)
    (True, False)
    """
    return transform(images, generator), transform(images, generator)


@dataclass(frozen=True)
class Resize(Transform):
    """To a height and a width; where that is smaller, averaging over what becomes one pixel (as pillow does).

    Attributes:
        height: of the result; also its width, if that is None.
        width: of the result.
        filter: "bilinear" (a triangle) or "bicubic" (a = -1/2).
    """

    height: int
    width: int | None = None
    filter: Filter = "bilinear"

    def apply(self, images: Tensor, generator: Generator | None) -> Tensor:  # noqa: ARG002
        return _resized(images, (self.height, self.width or self.height), self.filter)


@dataclass(frozen=True)
class RandomResizedCrop(Transform):
    """A rectangle anywhere, of random area and shape, resized.

    Its shape is drawn evenly on a log scale; a side longer than the image's is cut to that.

    Attributes:
        height, width, filter: as of :class:`Resize`.
        area: least and greatest share of the image's area.
        ratio: least and greatest width over height.

    Reference: Szegedy et al., 2015, arXiv:1409.4842.  Torchvision draws again up to ten times where a side is too
    long, then takes the middle.
    """

    height: int
    width: int | None = None
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    filter: Filter = "bilinear"

    def apply(self, images: Tensor, generator: Generator | None) -> Tensor:
        boxes = self.boxes(len(images), images.shape[2], images.shape[3], generator)
        size = (self.height, self.width or self.height)
        # One call an image: torch's resampling is faster than the products of matrices that would take them at once.
        parts = [
            _resized(image[None, :, top : top + height, left : left + width], size, self.filter)
            for image, (top, left, height, width) in zip(images, boxes.tolist())
        ]
        return torch.cat(parts)

    def boxes(self, count: int, height: int, width: int, generator: Generator | None) -> Tensor:
        """(count, 4) int64: top, left, height and width of each rectangle."""
        share, tilt, down, right = uniform(4, count, generator)
        area = height * width * (self.area[0] + share * (self.area[1] - self.area[0]))
        low, high = (log(ratio) for ratio in self.ratio)
        shape = torch.exp(low + tilt * (high - low))
        rows = torch.sqrt(area / shape).round().clamp(1, height)
        columns = torch.sqrt(area * shape).round().clamp(1, width)
        top, left = down * (height - rows + 1), right * (width - columns + 1)
        return torch.stack((top.floor(), left.floor(), rows, columns), 1).long()


@dataclass(frozen=True)
class Flip(Transform):
    """Left and right exchanged, with probability `share`."""

    share: float = 0.5

    def apply(self, images: Tensor, generator: Generator | None) -> Tensor:
        return torch.where(chosen_rows(self.share, images, generator), images.flip(3), images)


@dataclass(frozen=True)
class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue, in this order, each by a random amount.

    The first three mix the image with black, with its mean gray and with itself in gray, by a factor drawn evenly
    from max(0, 1 - amount) to 1 + amount; the hue turns by a part of the circle from -amount to amount.  Values stay
    in [0, 1].  Images that are not in color (3 channels) take brightness and contrast alone.

    Attributes:
        brightness, contrast, saturation: amounts >= 0.
        hue: amount in [0, 1/2].
        share: probability that an image is changed.

    Reference: Howard, 2013, arXiv:1312.5402.  Gray is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), as in pillow.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    share: float = 1.0

    def apply(self, images: Tensor, generator: Generator | None) -> Tensor:
        chosen, draws = chosen_rows(self.share, images, generator), uniform(4, len(images), generator)
        factors = [
            max(0.0, 1 - amount) + draw * (1 + amount - max(0.0, 1 - amount))
            for draw, amount in zip(draws, (self.brightness, self.contrast, self.saturation))
        ]
        turn = (2 * draws[3] - 1) * self.hue
        return torch.where(chosen, in_groups(self._changed, images, *factors, turn), images)

    def _changed(
        self, x: Tensor, bright: Tensor, contrast: Tensor, saturation: Tensor, turn: Tensor
    ) -> Tensor:
        color = x.shape[1] == 3
        if self.brightness:
            x = (x * per_image(bright)).clamp_(0, 1)
        if self.contrast:
            mean = (_gray(x) if color else x).mean((1, 2, 3), keepdim=True)
            x = torch.lerp(mean, x, per_image(contrast)).clamp_(0, 1)
        if self.saturation and color:
            x = torch.lerp(_gray(x), x, per_image(saturation)).clamp_(0, 1)
        return turn_hue(x, per_image(turn)) if self.hue and color else x


@dataclass(frozen=True)
class Blur(Transform):
    """A Gaussian blur whose width is drawn evenly, with probability `share`; mirrored at the border.

    Attributes:
        sigma: least and greatest standard deviation, in pixels; weights beyond 3 of the greatest are left out.
        share: probability that an image is changed.
    """

    sigma: tuple[float, float] = (0.1, 2.0)
    share: float = 0.5

    def apply(self, images: Tensor, generator: Generator | None) -> Tensor:
        chosen, draw = chosen_rows(self.share, images, generator), uniform(1, len(images), generator)[0]
        sigma = self.sigma[0] + draw * (self.sigma[1] - self.sigma[0])
        return torch.where(chosen, in_groups(self._blurred, images, sigma), images)

    def _blurred(self, x: Tensor, sigma: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        radius = min(round(3 * self.sigma[1]), min(height, width) - 1)  # a mirror shows no more
        places = torch.arange(-radius, radius + 1, device=x.device)
        weights = torch.softmax(-(places**2) / (2 * sigma[:, None] ** 2), 1)
        kernels = weights.repeat_interleave(channels, 0)[:, None, :, None]
        rows = F.pad(x, (radius,) * 4, mode="reflect").flatten(0, 1)[None]  # every channel of every image
        rows = F.conv2d(rows, kernels, groups=n * channels)
        return F.conv2d(rows, kernels.transpose(2, 3), groups=n * channels).view(x.shape)


@dataclass(frozen=True)
class Erase(Transform):
    """A rectangle anywhere painted in one value, with probability `share`.

    Attributes:
        share: probability that an image is changed.
        area, ratio: as of :class:`RandomResizedCrop`.
        value: of every channel, in [0, 1], for bytes too.

    Reference: Zhong et al., 2017, arXiv:1708.04896.
    """

    share: float = 0.5
    area: tuple[float, float] = (0.02, 1 / 3)
    ratio: tuple[float, float] = (0.3, 1 / 0.3)
    value: float = 0.0

    def apply(self, images: Tensor, generator: Generator | None) -> Tensor:
        chosen = chosen_rows(self.share, images, generator)
        height, width = images.shape[2:]
        drawn = RandomResizedCrop(1, area=self.area, ratio=self.ratio)
        boxes = drawn.boxes(len(images), height, width, generator).to(images.device)
        top, left, rows, columns = (per_image(side) for side in boxes.T)
        down = torch.arange(height, device=images.device)[:, None]
        right = torch.arange(width, device=images.device)
        inside = (down >= top) & (down < top + rows) & (right >= left) & (right < left + columns)
        value = round(255 * self.value) if images.dtype == torch.uint8 else self.value
        return images.masked_fill(inside & chosen, value)


@dataclass(frozen=True)
class Affine(Transform):
    """Turned, scaled, sheared and moved about its middle, each by an amount drawn evenly; bilinear.

    A pixel at p from the middle goes to R(angle) S(shear) scale p + move, with S adding shear * y to x.

    Attributes:
        angle: greatest turn to either side, in radians; positive turns clockwise as one looks at it.
        scale: least and greatest.
        shear: greatest, to either side.
        move: greatest move to any side, as a share of that side of the image.
        value: of what lies beyond the border, in [0, 1]; None repeats the border.
    """

    angle: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    move: float = 0.0
    value: float | None = 0.0

    def apply(self, images: Tensor, generator: Generator | None) -> Tensor:
        draws = uniform(5, len(images), generator)
        angle, shear, right, down = (
            (2 * draw - 1) * limit
            for draw, limit in zip(draws, (self.angle, self.shear, self.move, self.move))
        )
        scale = self.scale[0] + draws[4] * (self.scale[1] - self.scale[0])
        back = _backwards(angle, scale, shear, right, down, *images.shape[2:])
        return in_groups(self._moved, images, back)

    def _moved(self, x: Tensor, back: Tensor) -> Tensor:
        value, padding = self.value or 0.0, "border" if self.value is None else "zeros"
        grid = F.affine_grid(back, list(x.shape), align_corners=False)
        return F.grid_sample(x - value, grid, padding_mode=padding, align_corners=False) + value


def augmentation(words: str, height: int, width: int) -> Transform:
    """The transforms that words stand for, one after the other, for images of that size.

    ======  ============================================================================================
    crop    a rectangle of 16% to 100% of the area, scaled back (Musgrave et al. 2020, arXiv:2003.08505)
    flip    left and right exchanged, half of the time
    turn    turned by up to 10 degrees, moved and sheared by up to a tenth, scaled by 0.9 to 1.1
    jitter  brightness, contrast and saturation by up to 40%, hue by up to 10% (Chen et al. 2020, arXiv:2002.05709)
    blur    Gaussian of 0.1 to 2 pixels, half of the time (the same)
    erase   a rectangle of 2% to 33% of the area painted black, half of the time (Zhong et al. 2017, arXiv:1708.04896)
    strong  crop, flip, jitter and blur
    ======  ============================================================================================

    >>> augmentation("crop,flip", 28, 28)(torch.rand(4, 1, 28, 28)).shape
    torch.Size([4, 1, 28, 28])
    """
    named: dict[str, tuple[Transform, ...]] = {
        "crop": (RandomResizedCrop(height, width, area=(0.16, 1.0)),),
        "flip": (Flip(),),
        "turn": (Affine(angle=pi / 18, scale=(0.9, 1.1), shear=0.1, move=0.1, value=None),),
        "jitter": (ColorJitter(0.4, 0.4, 0.4, 0.1),),
        "blur": (Blur(),),
        "erase": (Erase(),),
    }
    named["strong"] = tuple(step for word in ("crop", "flip", "jitter", "blur") for step in named[word])
    chosen = [word.strip() for word in words.split(",")]
    for word in chosen:
        check_choice("augmentation", "words", word, tuple(named))
    return Chain(*(step for word in chosen for step in named[word]))


def turn_hue(x: Tensor, turn: Tensor) -> Tensor:
    """Colors (n, 3, h, w) in [0, 1] with their hue (of HSV) moved by `turn`, in parts of the circle.

    >>> red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    >>> turn_hue(red, torch.tensor(1 / 3)).flatten().round(decimals=3)  # green
    tensor([0., 1., 0.])
    """
    high, low = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    spread = (high - low).clamp(min=1e-12)
    red, green, blue = torch.split(x, 1, 1)
    third = torch.where(high == green, 2 + (blue - red) / spread, 4 + (red - green) / spread)
    sixth = torch.where(high == red, (green - blue) / spread, third)  # of the circle, from red
    place = torch.tensor((5.0, 3.0, 1.0), device=x.device, dtype=x.dtype).view(3, 1, 1)
    k = torch.remainder(place + sixth + 6 * turn, 6)
    return high - (high - low) * torch.minimum(k, 4 - k).clamp(0, 1)


def _resized(images: Tensor, size: tuple[int, int], filter: Filter) -> Tensor:
    check_choice("resize", "filter", filter, get_args(Filter))
    # Torch resamples bytes on a CPU three times as fast as floats, but torch 2.13 is off by up to 6 when bicubic, and
    # wrong where a side becomes 1; floats are wrong there where the width does, and right when turned.
    if images.dtype == torch.uint8 and images.device.type == "cpu" and filter == "bilinear" and 1 not in size:
        return F.interpolate(images, size, mode=filter, antialias=True)
    if size[1] == 1 < size[0]:
        return _resized(images.mT.contiguous(), size[::-1], filter).mT
    x = F.interpolate(floating(images), size, mode=filter, antialias=True)
    return like(images, x.clamp(0, 1))


def _backwards(
    angle: Tensor, scale: Tensor, shear: Tensor, right: Tensor, down: Tensor, height: int, width: int
) -> Tensor:
    """(n, 2, 3): where each pixel comes from, both in [-1, 1] from border to border."""
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack((cos, shear * cos - sin, sin, shear * sin + cos), 1).view(-1, 2, 2)
    size = turn.new_tensor((width, height)) / 2
    back = torch.linalg.inv(turn * scale[:, None, None]) * size / size[:, None]
    return torch.cat((back, -back @ torch.stack((2 * right, 2 * down), 1)[:, :, None]), 2)


def _gray(x: Tensor) -> Tensor:
    red, green, blue = torch.split(x, 1, 1)
    gray: Tensor = 0.299 * red + 0.587 * green + 0.114 * blue
    return gray
