"""Training on several devices: the weights of one, whatever ends a rank, and however many go on."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import boxed
import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from ranks import LOST, STOPPED
from safetensors.numpy import load_file

import kstyle
from kstyle import backend, startup
from kstyle.backend import distribute
from kstyle.errors import DataError, UsageError
from kstyle.training.augment import policy
from kstyle.training.loop import optimizers, ranks, steps
from kstyle.training.setup import settings

pytestmark = pytest.mark.skipif(backend.NAME != "torch", reason="ranks are torch's")
ROOT = Path(__file__).parents[1]

# 100 pictures in batches of 33: the fourth batch of an epoch has one picture, and some ranks none of it.
SMALL = {"data.train_limit": 100, "data.test_limit": 40, "batch": 33, "epochs": 2}
MIXED = {"augment.mixup": 0.4, "augment.cutmix": 1.0, "augment.rotation": 20, "augment.erasing": 0.5}
KINDS = {
    "digits_cnn": {},
    "mixed": {"model": "small_net", "accumulate": 3, **MIXED},
    "norm": {"model": {"name": "small_net", "bn": True}, **MIXED},
    "around": {"model": "small_net", "sam.rho": 0.1, "lookahead.k": 3, "loss": "focal", "metrics": ["auc"]},
    "photographs": {
        "data": "folder",
        "model": "small_net",
        "data.photographs.size": 16,
        "augment": {"mixup": 0.4},
        "batch": 5,
        "data.train_limit": None,
        "data.test_limit": None,
    },
    "boxes": {
        "data": {"name": "tiny_imagenet", "size": 16},
        "model": "small_net",
        "boxes": {"width": 16},
        "augment": {"horizontal_flip": True, "shift": 0.2},
        "batch": 3,
        "data.train_limit": None,
        "data.test_limit": None,
    },
    "local": {"model": {"name": "small_net", "bn": True}, **MIXED, "batch_norm": "local"},
}
# (rank, number of its step, where in it) of a SIGKILL; an epoch has four steps, and each is saved.
MOMENTS = [(0, 2, "step"), (1, 3, "step"), (0, 3, "save"), (1, 5, "step"), (0, 7, "step")]


def photographs(folder):
    """A folder of two classes of eleven noisy pictures each."""
    rng = np.random.default_rng(0)
    for name in ("ants", "bees"):
        (folder / name).mkdir(parents=True)
        for number in range(11):
            Image.fromarray(rng.integers(0, 256, (24, 30, 3), "uint8")).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """{name of a job: (exit codes of its ranks, folder of its run, seconds)}, all in one go: see ranks.py."""
    root = tmp_path_factory.mktemp("runs")
    jobs = {}

    def add(name, count, changes=(), **more):
        changes = {**SMALL, **dict(changes)}
        recipe = {} if more.get("resume") else {"recipe": "digits_cnn", "set": changes}
        jobs[name] = {**recipe, "ranks": count, "run": str(root / name), **more}

    for kind, changes in KINDS.items():
        if kind == "photographs":
            changes = {**changes, "data.path": str(photographs(root / "photographs"))}
        if kind == "boxes":
            changes = {**changes, "data.path": str(boxed.write(root / "tiny-imagenet-200"))}
        for count in {"norm": (1, 3), "local": (2,)}.get(kind, (1, 2)):
            add(f"{kind} {count}", count, changes, metrics=kind == "mixed")
    for number, moment in enumerate(MOMENTS):
        add(f"killed {number}", 2, {"checkpoint.every_steps": 1}, kill=moment)
        for count in (1, 2):
            add(f"killed {number}, on {count}", count, resume=True, copy=str(root / f"killed {number}"))
    add("stopped", 2, stop=(1, 6))
    add("stopped, on 2", 2, resume=True, copy=str(root / "stopped"))
    add("slow", 2, patience=2, wait=(0, "validation", 3))
    add("hung", 2, patience=2, wait=(1, "step", 5))
    (root / "jobs.json").write_text(json.dumps(list(jobs.values())), "utf-8")
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("ranks.py"), root / "jobs.json"],
        env={**os.environ, "KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == len(jobs), done.stderr[-3000:]
    return {name: (json.loads(line), Path(job["run"])) for (name, job), line in zip(jobs.items(), lines)}


def apart(trained, first, second):
    """The largest difference between the weights of two runs."""
    one, other = (load_file(trained[name][1] / "weights.safetensors") for name in (first, second))
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


@pytest.mark.parametrize(
    ("kind", "count", "most"),
    [
        ("digits_cnn", 2, 1e-5),
        ("mixed", 2, 1e-5),
        ("photographs", 2, 1e-5),
        ("boxes", 2, 1e-5),
        ("norm", 3, 1e-4),
        ("around", 2, 1e-5),
    ],
)
def test_several_ranks_train_to_the_weights_of_one(trained, kind, count, most):
    """Failure: a recipe means something else on several devices: gradients are averaged over ranks and not over
    pictures, or a picture is augmented, mixed, normalised or dropped by chance as its rank has it."""
    assert trained[f"{kind} {count}"][0] == [0] * count
    assert apart(trained, f"{kind} 1", f"{kind} {count}") < most


def test_local_normalisation_is_another_one_but_of_all(trained):
    """Failure: batch_norm says nothing, or the statistics that are kept are those of one rank's pictures."""
    name = "local 2"
    assert trained[name][0] == [0, 0]
    assert apart(trained, "norm 1", name) > 1e-3
    one, two = (load_file(trained[each][1] / "weights.safetensors") for each in ("norm 1", name))
    mean = next(key for key in one if "bn1/moving_mean" in key)
    assert np.abs(one[mean] - two[mean]).max() < 0.1 * np.abs(one[mean]).max()


@pytest.mark.parametrize(
    ("kind", "metrics"),
    [("digits_cnn", []), ("mixed", ["top3", "val_top3"]), ("boxes", ["iou", "val_iou"])],
)
def test_history_is_of_all_pictures(trained, kind, metrics):
    """Failure: losses, accuracies or a user's metrics are those of the first rank's pictures."""
    one, two = (pd.read_csv(trained[f"{kind} {count}"][1] / "history.csv") for count in (1, 2))
    for name in ("loss", "accuracy", "val_loss", "val_accuracy", *metrics):
        np.testing.assert_allclose(two[name], one[name], rtol=1e-5)


@pytest.mark.parametrize("number", range(len(MOMENTS)))
def test_killed_at_any_moment_it_goes_on_with_one_or_two(trained, number):
    """Failure: a rank that dies takes the training with it, or it can only go on with as many."""
    died = MOMENTS[number][0]
    codes, _ = trained[f"killed {number}"]
    assert codes[died] == -signal.SIGKILL
    assert codes[1 - died] == LOST
    for count in (1, 2):
        name = f"killed {number}, on {count}"
        assert trained[name][0] == [0] * count
        assert apart(trained, "digits_cnn 1", name) < 1e-5


def test_a_stop_of_one_rank_stops_all_in_one_step(trained):
    """Failure: a rank stops a step before another, which waits for it, and the state is of neither."""
    assert trained["stopped"][0] == [STOPPED, STOPPED]
    assert trained["stopped, on 2"][0] == [0, 0]
    assert apart(trained, "digits_cnn 1", "stopped, on 2") < 1e-5


def test_a_long_validation_is_no_death_and_a_hung_step_is(trained):
    """Failure: ranks give up while the first still looks at pictures, or wait for ever for one that hangs."""
    assert trained["slow"][0] == [0, 0]
    assert trained["hung"][0] == [LOST, LOST]


class Sent(Exception):
    """What a rank is about to exchange."""


@pytest.mark.parametrize("count", [2, 5])
def test_gradients_are_weighted_by_counts(monkeypatch, count):
    """Failure: on 3 ranks, of which one has fewer pictures than another, or none, the gradient is another one."""
    recipe = settings.load("digits_cnn", {"model.dropout": 0.0, "augment": {}, "batch": count})
    keras.utils.set_random_seed(0)
    model = recipe.model.row.make(10, (8, 8), 1)
    rng = np.random.default_rng(0)
    images = keras.ops.convert_to_tensor(rng.integers(0, 256, (count, 8, 8, 1), "uint8"))
    labels = keras.ops.convert_to_tensor(rng.integers(0, 10, count).astype("int32"))

    def exchanged(kind):
        optimizer = optimizers.build(recipe.optimizer, model.trainable_variables)
        normalise = steps.Normalise([0.0], [1.0])
        step = kind(model, optimizer, recipe, recipe.optimizer, normalise, policy.build(recipe.augment), None, 10)
        try:
            step(images, labels, 1)
        except Sent as found:
            return found.args[0]

    def sent(tensors):
        raise Sent([keras.ops.convert_to_numpy(t) for t in tensors])

    monkeypatch.setattr(distribute, "sum_of", sent)
    monkeypatch.setattr(distribute, "world", lambda: 3)
    parts = []
    for rank in range(3):
        monkeypatch.setattr(distribute, "rank", lambda rank=rank: rank)
        parts.append(exchanged(ranks.RankStep))
    monkeypatch.setattr(steps.TrainStep, "_summed", lambda self, total, grads: sent([total, *grads]))
    for whole, *shares in zip(exchanged(steps.TrainStep), *parts):
        np.testing.assert_allclose(sum(shares), whole, atol=1e-6 * np.abs(whole).max())


def test_ranks_need_torch(monkeypatch):
    """Failure: torchrun with another backend hangs, or trains the same thing several times over."""
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(backend, "NAME", "tensorflow")
    with pytest.raises(UsageError, match=r"2 ranks .* need the backend torch"):
        kstyle.train("digits_cnn", overrides=SMALL)


def test_devices_that_cannot_be(monkeypatch, command):
    """Failure: --devices is passed over, or starts ranks of ranks."""
    monkeypatch.setattr(kstyle, "BACKEND", "tensorflow")
    code, _, err = command("train", "digits_cnn", "--devices", "2")
    assert (code, "several devices need torch or JAX; this is tensorflow" in err) == (2, True)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    code, _, err = command("train", "digits_cnn", "--devices", "2")
    assert (code, "torchrun has started 3 ranks: leave --devices out" in err) == (2, True)


def test_a_rank_has_the_gpu_of_its_number(monkeypatch):
    """Failure: all ranks compute on the first GPU, one after the other."""
    import torch

    monkeypatch.setenv("KERAS_TORCH_DEVICE", "")
    monkeypatch.delenv("KERAS_TORCH_DEVICE")
    monkeypatch.setenv("LOCAL_RANK", "3")
    startup.place_rank("torch")
    assert os.environ.get("KERAS_TORCH_DEVICE") == ("cuda:3" if torch.cuda.is_available() else None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    startup.place_rank("torch")
    assert os.environ["KERAS_TORCH_DEVICE"] == "cuda:3"
    monkeypatch.setenv("KERAS_TORCH_DEVICE", "cpu")
    startup.place_rank("torch")
    assert os.environ["KERAS_TORCH_DEVICE"] == "cpu"


def test_who_is_at_fault():
    """Failure: a user is told of the rank that was ended because of another."""
    from kstyle.backend.by_torch import launch

    def ended(*codes):
        return {rank: SimpleNamespace(exitcode=code) for rank, code in enumerate(codes)}

    assert launch._told(ended(launch.LOST, 2, -signal.SIGTERM), 3, "--resume") == 2
    with pytest.raises(DataError, match=r"Rank 2 of 3 was ended from outside \(SIGKILL\)"):
        launch._told(ended(launch.LOST, -signal.SIGTERM, -signal.SIGKILL), 3, "--resume")
    with pytest.raises(DataError, match="lost each other"):
        launch._told(ended(launch.LOST, launch.LOST), 2, "--resume")


def started(run, *more):
    """`kstyle train --devices 2` in a process, and the numbers of its ranks' processes, once it has saved."""
    process = subprocess.Popen(
        [sys.executable, "-m", "kstyle", "train", "--devices", "2", "--run", run, "--quiet", *more],
        env={**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    state, began = run / "state.safetensors", time.time()
    while process.poll() is None and not (state.exists() and state.stat().st_mtime > began):
        assert time.time() - began < 200
        time.sleep(0.1)
    found = {}
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            environ = entry.read_bytes()
        except OSError:
            continue
        if f"KSTYLE_LAUNCHER={process.pid}\0".encode() in environ and (rank := re.search(rb"\0RANK=(\d)", environ)):
            found[int(rank[1])] = int(entry.parent.name)
    return process, found


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_rank_that_dies_ends_the_command(tmp_path):
    """Failure: the others wait for it, or a page of torchrun's tracebacks, or a state that is torn."""
    run = tmp_path / "run"
    process, found = started(run, "digits_cnn", "--set", "epochs=4000", "--set", "checkpoint.every_steps=3")
    assert sorted(found) == [0, 1], process.communicate(timeout=300)
    os.kill(found[1], signal.SIGKILL)
    died = time.time()
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err.count("\n")) == (1, 1), err
    assert err.startswith("kstyle: Rank 1 of 2 was ended from outside (SIGKILL)")
    assert time.time() - died < 60
    assert not any(Path(f"/proc/{number}").exists() for number in found.values())
    assert load_file(run / "state.safetensors")


JAX = """
import json, sys
import kstyle, ranks
from kstyle.backend import distribute
ranks.add_network()
for devices in (1, 2):
    if devices == 2:
        distribute.over_devices(2)
        import keras
        batch = distribute.divided(keras.ops.ones((6, 4)))
        print(sorted(shard.data.shape for shard in batch.addressable_shards))
    kstyle.train("digits_cnn", run=sys.argv[1] + f"/{devices}", overrides=json.loads(sys.argv[2]))
"""


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_jax_on_two_devices_trains_to_the_weights_of_one(tmp_path):
    """Failure: DataParallel's devices each train by themselves, or one does all the work."""
    changes = {**SMALL, "batch": 50, "augment": {}, "model": KINDS["norm"]["model"]}  # few shapes are soon compiled
    done = subprocess.run(
        [sys.executable, "-c", JAX, tmp_path, json.dumps(changes)], capture_output=True, text=True, timeout=300,
        env={
            **os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "[(3, 4), (3, 4)]" in done.stdout
    one, two = (load_file(tmp_path / f"{count}" / "weights.safetensors") for count in (1, 2))
    assert max(float(np.abs(one[name] - two[name]).max()) for name in one) < 1e-4
