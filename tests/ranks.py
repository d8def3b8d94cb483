"""Trains on several ranks for tests/test_distribute.py: `python ranks.py JOBS.json`.

Frameworks are imported once; each job is then a fork of this process for each of its ranks, so that a job takes a
second and not ten. A job is what `kstyle.train` takes, and

    ranks: how many.
    copy: a folder of which `run` is made first.
    kill: [rank, step, where]: a SIGKILL of this process in that step, where is "step", or in the state's writing
        after it, "save": its file is written and has not got its name yet.
    stop: [rank, step]: a SIGTERM of this process alone, in that step.
    wait: [rank, where, seconds]: this process is slow in a "step", its third, or in each "validation".
    metrics: whether one of the user's is measured.
    patience: seconds, in place of `distribute.PATIENCE`.

The ranks' exit codes are a line on stdout a job: LOST where another rank was missed, STOPPED where it
was stopped and has saved.
"""

import json
import os
import shutil
import signal
import sys
import time

import keras
import sklearn.model_selection  # noqa: F401
from forks import forked

import kstyle
from kstyle.backend import distribute
from kstyle.models.registry import register
from kstyle.models.rows.row import Network
from kstyle.nn.layers import BatchNormalization, Conv2D
from kstyle.training import course, train
from kstyle.training.loop import steps
from kstyle.training.results import keras_file, plots

LOST, STOPPED = 3, 4


def small_net(classes, size, channels=1, *, dtype="float32", bn=False):
    """Two convolutions and a dense layer, with batch normalisation or without."""
    x = inputs = keras.Input((*size, channels))
    for number in (1, 2):
        x = Conv2D(8, 3, pad=1, strides=number, name=f"conv{number}", use_bias=not bn, dtype=dtype)(x)
        x = BatchNormalization(0.9, name=f"bn{number}", dtype=dtype)(x) if bn else x
        x = keras.layers.Activation("relu", name=f"relu{number}", dtype=dtype)(x)
    x = keras.layers.SpatialDropout2D(0.1, name="drop", dtype=dtype)(x)
    x = keras.layers.Dense(classes, name="out")(keras.layers.Flatten(name="flat")(x))
    return keras.Model(inputs, x, name="small_net")


def add_network():
    register(Network("small_net", small_net, {"bn": False}, smallest=4))


def in_step(number, act):
    """Calls `act` at the end of the step of this number."""
    call, done = steps.TrainStep.__call__, iter(range(1, 1_000_000))

    def step(self, *arguments):
        call(self, *arguments)
        if next(done) == number:
            act()

    steps.TrainStep.__call__ = step


def in_save(number, act):
    """Calls `act` before the state that was written as the one of this number gets its name."""
    replace, done = os.replace, iter(range(1, 1_000_000))

    def replacing(source, target):
        if str(target).endswith("state.safetensors") and next(done) == number:
            act()
        replace(source, target)

    os.replace = replacing


def end_by(number):
    return lambda: os.kill(os.getpid(), number)


def work(job, rank):
    """What one rank does, until it ends."""
    distribute.PATIENCE = job.get("patience", distribute.PATIENCE)
    who, number, where = job.get("kill", (None, 0, ""))
    if who == rank:
        {"step": in_step, "save": in_save}[where](number, end_by(signal.SIGKILL))
    who, number = job.get("stop", (None, 0))
    if who == rank:
        in_step(number, end_by(signal.SIGTERM))
    who, where, seconds = job.get("wait", (None, "", 0))
    if who == rank and where == "step":
        in_step(3, lambda: time.sleep(seconds))
    elif who == rank:
        quick = course.metrics.quick
        course.metrics.quick = lambda *arguments: time.sleep(seconds) or quick(*arguments)
    metrics = [keras.metrics.TopKCategoricalAccuracy(3, name="top3")] if job.get("metrics") else []
    told = {"overrides": job.get("set"), "metrics": metrics}
    try:
        kstyle.train(job.get("recipe"), run=job["run"], resume=job.get("resume", False), **told)
    except distribute.Lost:
        return LOST
    except train.Interrupted:
        return STOPPED
    return 0


def nothing(*_):
    """In place of what takes longer than these trainings, and is the first rank's own."""


def main():
    add_network()
    plots.curves = plots.confusion = keras_file.write = nothing
    with open(sys.argv[1], encoding="utf-8") as file:
        jobs = json.load(file)
    for job in jobs:
        if "copy" in job:
            shutil.copytree(job["copy"], job["run"])
        print(json.dumps(forked(job["ranks"], lambda rank, job=job: work(job, rank))), flush=True)


if __name__ == "__main__":
    main()
