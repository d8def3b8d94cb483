"""The head of a frozen network on ants and bees: kstyle's features, computed once, against the transfer-learning post's
loop in plain PyTorch over the same network and weights, which runs the whole network on every photograph every epoch.

    python benchmarks/finetune.py squeezenet --data ../shared/data/hymenoptera --weights FILE
    python benchmarks/finetune.py vgg19 --data ../shared/data/hymenoptera --epochs 3

The post's loop is given a chance: two DataLoader workers, no colour jitter or rotation, `no_grad` under the head. It
is timed for `--epochs` of its own and scaled to the recipe's number.
"""

import argparse
import json
import random
import time
from pathlib import Path

import kstyle
from kstyle import backend

import numpy as np  # isort: skip
import torch  # isort: skip
import torch.nn.functional as F  # isort: skip
from PIL import Image  # isort: skip

from kstyle.models import registry, weights
from kstyle.models.networks.squeezenet import LAYERS

SIZE, RESIZE = 224, 256
CAFFE_MEAN = torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)


class Photographs(torch.utils.data.Dataset):
    """torchvision's ImageFolder with RandomResizedCrop and a flip, or Resize and CenterCrop, in Pillow."""

    def __init__(self, root, train):
        names = sorted(path.name for path in root.iterdir() if path.is_dir())
        self.train, self.files = train, []
        for label, name in enumerate(names):
            for path in sorted((root / name).iterdir()):
                try:
                    Image.open(path).convert("RGB").load()
                except OSError:
                    continue
                self.files.append((path, label))

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        path, label = self.files[index]
        image = Image.open(path).convert("RGB")
        width, height = image.size
        if not self.train:
            scale = RESIZE / min(width, height)
            image = image.resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
            left, top = (image.width - SIZE) // 2, (image.height - SIZE) // 2
            image = image.crop((left, top, left + SIZE, top + SIZE))
        else:
            box = (0, 0, width, height)
            for _ in range(10):
                area, ratio = (
                    width * height * random.uniform(0.08, 1),
                    np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3))),
                )
                w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
                if w <= width and h <= height:
                    left, top = random.randint(0, width - w), random.randint(0, height - h)
                    box = (left, top, left + w, top + h)
                    break
            image = image.crop(box).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            if random.random() < 0.5:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1), label


class Network(torch.nn.Module):
    """VGG19's or SqueezeNet's convolutions with Caffe's weights, a global average and a new head."""

    def __init__(self, name, arrays):
        super().__init__()
        self.name = name
        self.arrays = {
            key: torch.from_numpy(a).permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
            if a.ndim == 4
            else torch.from_numpy(a)
            for key, a in arrays.items()
        }
        self.head = torch.nn.Linear(512, 2)

    def conv(self, x, name, stride=1):
        kernel = self.arrays[f"{name}/kernel"]
        pad = 0 if name == "conv1" else kernel.shape[-1] // 2
        return F.relu_(F.conv2d(x, kernel, self.arrays[f"{name}/bias"], stride, pad))

    def features(self, x):
        x = (x.flip(1).float() - CAFFE_MEAN).contiguous(memory_format=torch.channels_last)
        if self.name == "vgg19":
            for block, depth in enumerate((2, 2, 4, 4, 4), 1):
                for i in range(1, depth + 1):
                    x = self.conv(x, f"block{block}_conv{i}")
                x = F.max_pool2d(x, 2)
            return x
        for name, part in LAYERS.items():
            if part is None:
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            elif name == "conv1":
                x = self.conv(x, name, 2)
            else:
                x = self.conv(x, f"{name}/squeeze1x1")
                x = torch.cat([self.conv(x, f"{name}/expand1x1"), self.conv(x, f"{name}/expand3x3")], 1)
        return x

    def forward(self, x):
        with torch.no_grad():
            x = self.features(x)
        return self.head(x.mean((2, 3)))


def the_posts_loop(network, data, epochs, batch):
    """Seconds and the validation accuracy of each epoch."""
    loaders = {
        part: torch.utils.data.DataLoader(
            Photographs(data / part, part == "train"), batch_size=batch, shuffle=True, num_workers=2
        )
        for part in ("train", "val")
    }
    began = time.perf_counter()
    optimizer = torch.optim.SGD(network.head.parameters(), lr=0.001, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 7, 0.1)
    found = []
    for _ in range(epochs):
        for part, loader in loaders.items():
            right = count = 0
            for images, labels in loader:
                optimizer.zero_grad()
                with torch.set_grad_enabled(part == "train"):
                    logits = network(images)
                    loss = F.cross_entropy(logits, labels)
                    if part == "train":
                        loss.backward()
                        optimizer.step()
                right += int((logits.argmax(1) == labels).sum())
                count += len(labels)
        scheduler.step()
        found.append(right / count)
    return time.perf_counter() - began, found


def ours(name, data, epochs, views, precision, run, weights_file):
    """Seconds and the test accuracy."""
    stage = {"train": "head", "epochs": epochs, "schedule": "cosine", "learning_rate": 0.01}
    stage |= {"views": views} if views else {"augment": False}
    overrides = {"stages": [stage], "precision": precision}
    if weights_file:
        overrides["model.weights"] = str(weights_file)
    began = time.perf_counter()
    done = kstyle.train(f"hymenoptera_{name}", data, run, overrides=overrides)
    return time.perf_counter() - began, done.scores.top1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=["squeezenet", "vgg19"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="the network's weights; default: what kstyle finds")
    parser.add_argument("--epochs", type=int, default=5, help="of the post's loop that are run")
    parser.add_argument("--of", type=int, default=25, help="epochs of the training, the post's")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--runs", type=Path, default=Path("out/benchmark-finetune"))
    args = parser.parse_args()
    row = registry.get("squeezenet1.1" if args.network == "squeezenet" else "vgg19")
    found = weights.obtain(row, "caffe", args.weights)
    network = Network(args.network, weights.layer_arrays(found.path, row.name, row.layers))
    seconds, accuracies = the_posts_loop(network, args.data, args.epochs, args.batch)
    whole = seconds * args.of / args.epochs
    print(
        f"the post's loop: {seconds:.1f} s for {args.epochs} epochs, {whole:.0f} s for {args.of}; {accuracies[-1]:.3f}"
    )
    rows = {"post": {"seconds": whole, "accuracy": accuracies[-1]}}
    for precision in ("float32", "auto"):
        for views in (0, 4):
            label = f"{precision}, {views} views" if views else f"{precision}, no augmentation"
            run = args.runs / f"{args.network}-{precision}-{views}-{time.time():.0f}"
            seconds, accuracy = ours(args.network, args.data, args.of, views, precision, run, args.weights)
            rows[label] = {"seconds": seconds, "accuracy": accuracy, "times_faster": whole / seconds}
            print(f"kstyle {label}: {seconds:.1f} s, {whole / seconds:.1f} times faster; {accuracy:.3f}")
    print(json.dumps({"backend": backend.NAME, "device": backend.device(), "rows": rows}))


if __name__ == "__main__":
    main()
