"""Trains the occlusion network on faces with things drawn over them and writes ``models/heads/occlusion.onnx``.

    python -m models.train.fit_occlusion --lfw FOLDER --models AIPFACE_HOME/models --cache FOLDER

Needs PyTorch (CPU is enough; 2.13.0 was used), which is no dependency of the product. Training goes in the rounds of
``ROUNDS``: each adds samples and goes on from the weights of the one before, on all samples so far. Making the 42,000
samples takes about half an hour and training three quarters, on one thread of a machine that does nothing else. The
samples are kept in ``--cache``; a seed makes the same ones again. ``--start`` takes up weights that ``--weights`` left
(so that a new kind of occluder costs one more round, not all of them). Every fifth person is held back for the figures
that are printed, and pictures with real sunglasses are kept out of training altogether.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.manifest import ROOT
from models.train import face_parts, occlusion_samples
from models.train.occluders import Canvas
from models.train.occlusion_net import OcclusionNet, export
from models.train.people import Finder, Person, held_back, noted, pictures
from models.train.textures import Rng
from service.inference.occlusion import SIDE, to_input
from service.values import Points

BATCH, WEIGHT_DECAY = 64, 1e-3
TEST_SEED, TEST_SAMPLES = 12, 3_000
_MAP_WEIGHT = 0.5
"""How much the coarse map counts against the ratios."""


@dataclass(frozen=True, slots=True)
class Round:
    """``samples`` more, drawn from ``seed``; then ``epochs`` over all so far, up to the learning rate ``peak``.

    ``kinds``: what is drawn, with probabilities; empty for the mixture of ``occlusion_samples.choose``.
    """

    seed: int
    samples: int
    epochs: int
    peak: float
    kinds: tuple[tuple[str, float], ...] = ()

    def choose(self, rng: Rng) -> tuple[str, ...]:
        """What to draw on the next face."""
        if not self.kinds:
            return occlusion_samples.choose(rng)
        names, odds = zip(*self.kinds, strict=True)
        return (str(rng.choice(names, p=odds)),)


ROUNDS = (
    Round(seed=11, samples=26_000, epochs=9, peak=5e-3),
    Round(seed=21, samples=8_000, epochs=5, peak=2e-3),
    # The others left mirrored lenses unseen.
    Round(seed=31, samples=8_000, epochs=4, peak=1.5e-3, kinds=(("sunglasses", 0.72), ("clear_glasses", 0.28))),
)


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """``crops`` ``(n, 96, 96, 3)`` uint8 BGR, ``ratios`` ``(n, 7)``, ``maps`` ``(n, 24, 24)`` float16, ``kinds``."""

    crops: NDArray[np.uint8]
    ratios: NDArray[np.float32]
    maps: NDArray[np.float16]
    kinds: NDArray[np.str_]

    def save(self, path: Path) -> None:
        """As npz."""
        np.savez(path, crops=self.crops, ratios=self.ratios, maps=self.maps, kinds=self.kinds)

    @classmethod
    def load(cls, path: Path) -> Samples:
        """From npz."""
        with np.load(path) as content:
            return cls(content["crops"], content["ratios"], content["maps"], content["kinds"])

    def joined(self, other: Samples) -> Samples:
        """Both, one after the other."""
        return Samples(
            np.concatenate((self.crops, other.crops)),
            np.concatenate((self.ratios, other.ratios)),
            np.concatenate((self.maps, other.maps)),
            np.concatenate((self.kinds, other.kinds)),
        )


def located(finder: Finder, people: list[Person]) -> list[tuple[Person, Points]]:
    """Each picture with the outline of its central face; pictures without one are left out."""
    faces = [(person, finder.central(person.image)) for person in people]
    return [(person, face.outline) for person, face in faces if face is not None]


def make_samples(finder: Finder, faces: list[tuple[Person, Points]], donors: list[Person], lesson: Round) -> Samples:
    """The samples of one round, of random faces out of ``faces``, with textures cut from ``donors``."""
    rng = np.random.default_rng(lesson.seed)
    count, side = lesson.samples, occlusion_samples.MAP_SIDE
    crops, maps = np.zeros((count, SIDE, SIDE, 3), np.uint8), np.zeros((count, side, side), np.float16)
    ratios, kinds = np.zeros((count, len(face_parts.PARTS)), np.float32), []
    for index in range(count):
        person, outline = faces[int(rng.integers(len(faces)))]
        canvas = Canvas(person.image, outline, donors[int(rng.integers(len(donors)))].image)
        sample = occlusion_samples.make(rng, canvas, lesson.choose(rng), finder.outline_about)
        crops[index], ratios[index], maps[index] = sample.crop, sample.ratios, sample.covered
        kinds.append("+".join(sample.kinds))
    return Samples(crops, ratios, maps, np.array(kinds))


def prepare(lfw: Path, model_dir: Path, cache: Path, rounds: Sequence[Round]) -> tuple[list[Samples], Samples]:
    """Each round's samples and the held-back ones, from the cache where they lie there already."""
    held = Round(seed=TEST_SEED, samples=TEST_SAMPLES, epochs=0, peak=0)
    paths = {lesson: cache / f"occlusion-{lesson.seed}-{lesson.samples}.npz" for lesson in (*rounds, held)}
    missing = [lesson for lesson, path in paths.items() if not path.is_file()]
    if missing:
        finder, hidden = Finder(model_dir), noted("opaque", "tinted")
        people = [person for person in pictures(lfw) if person.name not in hidden]
        kept_back = held_back([person.identity for person in people])
        train = [person for person in people if person.identity not in kept_back]
        test = [person for person in people if person.identity in kept_back]
        cache.mkdir(parents=True, exist_ok=True)
        for lesson in missing:
            faces = located(finder, test if lesson is held else train)
            make_samples(finder, faces, train, lesson).save(paths[lesson])
    return [Samples.load(paths[lesson]) for lesson in rounds], Samples.load(paths[held])


def _batch(rng: np.random.Generator, samples: Samples, rows: NDArray[np.intp]) -> tuple[torch.Tensor, ...]:
    """One batch, half of the time mirrored, with gains per colour, an offset, and a shift of up to two pixels."""
    planes = torch.from_numpy(to_input(samples.crops[rows]))
    ratios = torch.from_numpy(samples.ratios[rows])
    maps = torch.from_numpy(samples.maps[rows].astype(np.float32))
    if rng.random() < 0.5:
        planes, maps, ratios = planes.flip(3), maps.flip(2), ratios[:, list(face_parts.MIRRORED_PART)]
    gains = torch.from_numpy(rng.uniform(0.85, 1.15, (len(rows), 3, 1, 1)).astype(np.float32))
    offsets = torch.from_numpy(rng.normal(0, 0.05, (len(rows), 1, 1, 1)).astype(np.float32))
    planes = ((planes + 1) * gains - 1 + offsets).clamp(-1, 1)
    down, right = rng.integers(-2, 3, 2)
    return planes.roll((int(down), int(right)), (2, 3)), ratios, maps


def train(net: OcclusionNet, samples: Samples, test: Samples, lesson: Round) -> None:
    """One round. Loss: cross-entropy and absolute error of the ratios, cross-entropy of the map."""
    rng = np.random.default_rng(0)
    steps = len(samples.crops) // BATCH
    optimiser = torch.optim.AdamW(net.parameters(), lesson.peak, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, lesson.peak, total_steps=lesson.epochs * steps, pct_start=0.15
    )
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    for epoch in range(lesson.epochs):
        net.train()
        order = rng.permutation(len(samples.crops))
        for step in range(steps):
            planes, ratios, maps = _batch(rng, samples, order[step * BATCH : (step + 1) * BATCH])
            told, covered = net(planes.contiguous(memory_format=torch.channels_last))
            loss = (
                entropy(told, ratios)
                + (torch.sigmoid(told) - ratios).abs().mean()
                + _MAP_WEIGHT * entropy(covered, maps)
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        error = np.abs(predict(net, test) - test.ratios).mean()
        print(f"seed {lesson.seed}, epoch {epoch + 1}: mean absolute error {error:.4f}", flush=True)


def predict(net: OcclusionNet, samples: Samples) -> NDArray[np.float32]:
    """Ratios ``(n, 7)`` that the network tells."""
    net.eval()
    told = []
    with torch.no_grad():
        for start in range(0, len(samples.crops), 256):
            logits, _ = net(torch.from_numpy(to_input(samples.crops[start : start + 256])))
            told.append(torch.sigmoid(logits).numpy())
    return np.concatenate(told)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lfw", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=len(ROUNDS), help="how many of the last rounds to run")
    parser.add_argument("--start", type=Path, help="weights to go on from where not all rounds are run")
    parser.add_argument("--weights", type=Path, help="where to leave the trained weights for another round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "heads" / "occlusion.onnx")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    net = OcclusionNet()
    if arguments.start is not None:
        net.load_state_dict(torch.load(arguments.start))
    net.to(memory_format=torch.channels_last)  # 2.4 times as fast as the default on a processor
    lessons, test = prepare(arguments.lfw, arguments.models, arguments.cache, ROUNDS)
    for number, lesson in enumerate(ROUNDS):
        if number >= len(ROUNDS) - arguments.rounds:
            train(net, functools.reduce(Samples.joined, lessons[: number + 1]), test, lesson)
    export(net, arguments.out)
    if arguments.weights is not None:
        torch.save(net.state_dict(), arguments.weights)


if __name__ == "__main__":
    main()
