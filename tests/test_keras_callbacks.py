"""Every callback that Keras ships, in a training by kstyle: each does what it is for."""

import csv
import importlib.util
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import keras
import numpy as np
import pytest
from keras import callbacks as kerass

import kstyle
from kstyle import data
from kstyle.errors import DataError, UsageError

QUICK = {"epochs": 2, "data.train_limit": 320, "data.test_limit": 100, "batch": 32}  # ten steps an epoch
STEADY = {"schedule": "constant", "optimizer.learning_rate": 0.003}
STEPS, EPOCHS = 10, 2


class Watch(kerass.Callback):
    """Notes what the callbacks beside it are given, and what the learning rate is at each step."""

    def __init__(self):
        super().__init__()
        self.begun, self.ends, self.epochs, self.tests, self.rates = [], [], [], [], []

    def on_train_begin(self, logs=None):
        self.first_params = dict(self.params)

    def on_train_batch_begin(self, batch, logs=None):
        self.begun.append(batch)
        self.rates.append(rate(self.model))

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(dict(logs))

    def on_test_end(self, logs=None):
        self.tests.append(dict(logs))

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append((epoch, dict(logs)))

    def on_train_end(self, logs=None):
        self.last = dict(logs)


def rate(model):
    return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))


class Place:
    """A folder to train in: `place.train(callback, …)` -> (run, watch)."""

    def __init__(self, folder):
        self.folder, self.count = folder, 0

    def train(self, *callbacks, **overrides):
        watch, self.count = Watch(), self.count + 1
        # The watch comes last: it sees what the others have done.
        run = kstyle.train(
            "digits_cnn", run=self.folder / f"run{self.count}", overrides={**QUICK, **overrides},
            callbacks=[*callbacks, watch],
        )  # fmt: skip
        return run, watch


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def pictures(run):
    """Those of the run's test split as `run.model` takes them, and their labels."""
    facts = json.loads((run.folder / "run.json").read_text("utf-8"))
    test = data.load("digits").test
    return (test.images / 255 - np.asarray(facts["mean"])) / np.asarray(facts["std"]), test.labels


def same_weights(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def backup_and_restore(place):
    """A training that broke off in its second epoch goes on with that epoch, from the weights of the first."""
    folder, kept = place.folder / "backup", {}

    def break_off(batch, logs=None):
        if kept:
            raise RuntimeError("a power cut")

    def keep(epoch, logs):
        kept["weights"] = broken.model.get_weights()

    broken = kerass.LambdaCallback(on_train_batch_begin=break_off, on_epoch_end=keep)
    with pytest.raises(RuntimeError, match="a power cut"):
        place.train(kerass.BackupAndRestore(folder), broken)
    first = []
    look = kerass.LambdaCallback(on_train_batch_begin=lambda b, logs=None: first.append(look.model.get_weights()))
    run, watch = place.train(kerass.BackupAndRestore(folder), look)
    assert same_weights(first[0], kept["weights"])
    assert [epoch for epoch, _ in watch.epochs] == [1] and run.history["epoch"].tolist() == [2]
    assert not folder.exists()  # the training is done


def base_class(place):
    """`params` and the logs are what `keras.Model.fit` gives."""
    _, watch = place.train()
    assert watch.first_params == {"verbose": 1, "epochs": EPOCHS, "steps": STEPS}
    assert watch.begun == [*range(STEPS)] * EPOCHS
    assert all(type(value) is float for logs in watch.ends for value in logs.values())
    for epoch, logs in watch.epochs:
        last = watch.ends[STEPS * (epoch + 1) - 1]
        assert last == {"loss": pytest.approx(logs["loss"]), "accuracy": pytest.approx(logs["accuracy"])}
        assert watch.tests[epoch] == {"loss": logs["val_loss"], "accuracy": logs["val_accuracy"]}
        assert "epoch" not in logs
    assert watch.ends[0] != watch.ends[1]
    assert watch.last == watch.epochs[-1][1]


def callback_list(place):
    """Those in a list of Keras' are called."""
    inner = kerass.History()
    place.train(kerass.CallbackList([inner]))
    assert len(inner.history["loss"]) == EPOCHS


def csv_logger(place):
    """A table with one column for the epoch."""
    run, _ = place.train(kerass.CSVLogger(place.folder / "log.csv"))
    with open(place.folder / "log.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0].count("epoch") == 1 and [row[0] for row in rows] == ["epoch", "0", "1"]
    assert float(rows[2][rows[0].index("val_loss")]) == run.history["val_loss"].iloc[-1]


def early_stopping(place):
    """More accuracy is better, without saying so; the training ends, and the best weights are the result."""
    best = {}

    def keep(epoch, logs):
        best.setdefault("weights", stop.model.get_weights())

    # No rate: the first epoch stays the best. Patience ends after the second of four.
    stop = kerass.EarlyStopping("val_accuracy", patience=1, restore_best_weights=True)
    run, _ = place.train(stop, keep, epochs=4, **{**STEADY, "optimizer.learning_rate": 1e-12})
    assert len(run.history) == 2 and stop.monitor_op is keras.ops.greater
    assert same_weights(run.model.get_weights(), best["weights"])
    assert (run.folder / "weights.safetensors").is_file() and (run.folder / "scores.json").is_file()


def history(place):
    """The same numbers as the run's own history, and reachable from the model."""
    own = kerass.History()
    run, _ = place.train(own)
    assert run.model.history is own and own.epoch == [0, 1]
    for name in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
        assert own.history[name] == run.history[name].tolist()


def lambda_callback(place):
    """Every hook is called, those that are no methods of a class too."""
    once, each_batch = ("on_train_begin", "on_train_end"), ("on_train_batch_begin", "on_train_batch_end")
    each_epoch = ("on_epoch_begin", "on_test_begin", "on_test_end", "on_epoch_end")
    heard = []

    def hear(hook):
        return lambda *arguments, **named: heard.append(hook)

    place.train(kerass.LambdaCallback(**{hook: hear(hook) for hook in (*once, *each_epoch, *each_batch)}))
    assert [heard.count(hook) for hook in once] == [1, 1]
    assert [heard.count(hook) for hook in each_epoch] == [EPOCHS] * 4
    assert [heard.count(hook) for hook in each_batch] == [STEPS * EPOCHS] * 2


def learning_rate_scheduler(place):
    """Its rate holds in every step, whatever the recipe's schedule says (here a cosine, by step)."""
    _, watch = place.train(kerass.LearningRateScheduler(lambda epoch, lr: lr if epoch == 0 else lr / 4))
    assert watch.rates == [pytest.approx(0.003)] * STEPS + [pytest.approx(0.003 / 4)] * STEPS


def model_checkpoint(place):
    """A file an epoch, named by its logs, that Keras opens; the best alone by `val_accuracy`."""
    path = place.folder / "best.keras"
    each = kerass.ModelCheckpoint(place.folder / "{epoch}-{val_loss:.3f}.keras")
    best = kerass.ModelCheckpoint(path, monitor="val_accuracy", save_best_only=True)
    steps = kerass.ModelCheckpoint(
        place.folder / "{epoch}-{batch}-{accuracy:.2f}.weights.h5", save_weights_only=True, save_freq=STEPS
    )
    run, watch = place.train(each, best, steps, optimizer={"name": "sgd", "learning_rate": 0.05, "momentum": 0.9})
    saved = [place.folder / f"{epoch + 1}-{logs['val_loss']:.3f}.keras" for epoch, logs in watch.epochs]
    assert same_weights(keras.models.load_model(saved[-1]).get_weights(), run.model.get_weights())
    assert best.best == run.history["val_accuracy"].max() and path.is_file()
    accuracies = [watch.ends[STEPS * (epoch + 1) - 1]["accuracy"] for epoch in range(EPOCHS)]
    for epoch, accuracy in enumerate(accuracies, 1):
        assert (place.folder / f"{epoch}-{STEPS}-{accuracy:.2f}.weights.h5").is_file()


def orbax_checkpoint(place):
    """A checkpoint an epoch."""
    if not importlib.util.find_spec("orbax"):
        pytest.skip("orbax-checkpoint is not installed")
    place.train(kerass.OrbaxCheckpoint(place.folder / "orbax", save_on_background=False))
    assert list((place.folder / "orbax").iterdir())


def progbar_logger(place):
    """A bar that counts the steps."""
    bar = kerass.ProgbarLogger()
    place.train(bar)
    assert bar.target == STEPS and bar.seen == STEPS and bar.epochs == EPOCHS


def reduce_lr_on_plateau(place):
    """A lowered rate stays: beside a constant rate and beside one that the recipe changes at each step."""
    for overrides in (STEADY, {}):
        # No improvement is large enough: it lowers the rate after the second epoch.
        lower = kerass.ReduceLROnPlateau("val_accuracy", factor=0.01, patience=1, min_delta=2)
        run, watch = place.train(lower, epochs=3, **overrides)
        held = watch.rates[2 * STEPS]
        assert held < 0.02 * watch.rates[2 * STEPS - 1]
        assert watch.rates[2 * STEPS :] == [held] * STEPS
        assert run.history["learning_rate"].iloc[-1] == held


def remote_monitor(place):
    """What it posts, a server gets."""
    got = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        root = f"http://127.0.0.1:{server.server_port}"
        run, _ = place.train(kerass.RemoteMonitor(root, path="/epochs", send_as_json=True))
    finally:
        server.shutdown()
        server.server_close()
    assert [(path, sent["epoch"]) for path, sent in got] == [("/epochs", 0), ("/epochs", 1)]
    assert got[1][1]["val_loss"] == run.history["val_loss"].iloc[-1]


def swap_ema_weights(place):
    """The averages are validated, and they are the result, as at the end of Keras' `fit`."""
    ema = {"optimizer": {"name": "adam", "learning_rate": 0.003, "arguments": {"use_ema": True, "ema_momentum": 0.9}}}
    tested = []
    look = kerass.LambdaCallback(on_test_begin=lambda logs: tested.append(look.model.get_weights()))
    run, _ = place.train(kerass.SwapEMAWeights(), look, **ema)
    plain, _ = place.train(**{**ema, "optimizer.arguments": {}})
    assert same_weights(run.model.get_weights(), tested[-1])
    assert run.history["loss"].tolist() == pytest.approx(plain.history["loss"].tolist())  # the steps are the same
    assert not same_weights(run.model.get_weights(), plain.model.get_weights())


def tensor_board(place):
    """Event files of training and validation."""
    if not all(map(importlib.util.find_spec, ("tensorflow", "tensorboard"))):
        pytest.skip("needs TensorFlow and TensorBoard, which a recipe's `tensorboard: true` does not")
    place.train(kerass.TensorBoard(place.folder / "events", histogram_freq=1))
    for part in ("train", "validation"):
        (events,) = (place.folder / "events" / part).iterdir()
        assert b"epoch_accuracy" in events.read_bytes()


def terminate_on_nan(place):
    """The first step whose loss is no number is the last; kstyle then says what may help."""
    watch = Watch()
    with pytest.raises(DataError, match=r"epoch 1.*learning_rate"):
        diverging = {"name": "sgd", "learning_rate": 1e30, "weight_decay": 1e30}
        place.train(kerass.TerminateOnNaN(), watch, optimizer=diverging)
    losses = [logs["loss"] for logs in watch.ends]
    assert len(losses) < STEPS and np.isfinite(losses[:-1]).all() and not np.isfinite(losses[-1])


WHAT = {
    "BackupAndRestore": backup_and_restore,
    "CSVLogger": csv_logger,
    "Callback": base_class,
    "CallbackList": callback_list,
    "EarlyStopping": early_stopping,
    "History": history,
    "LambdaCallback": lambda_callback,
    "LearningRateScheduler": learning_rate_scheduler,
    "ModelCheckpoint": model_checkpoint,
    "OrbaxCheckpoint": orbax_checkpoint,
    "ProgbarLogger": progbar_logger,
    "ReduceLROnPlateau": reduce_lr_on_plateau,
    "RemoteMonitor": remote_monitor,
    "SwapEMAWeights": swap_ema_weights,
    "TensorBoard": tensor_board,
    "TerminateOnNaN": terminate_on_nan,
}
SHIPPED = sorted(name for name in dir(kerass) if isinstance(getattr(kerass, name), type))


@pytest.mark.parametrize("name", SHIPPED)
def test_kerass_own(place, name):
    """Failure: a callback that works in `keras.Model.fit` does not do in `kstyle.train` what it is for."""
    assert name in WHAT, f"Keras has a new callback, {name}: say above what it is for"
    WHAT[name](place)


def test_a_function_ends_the_training(place):
    """Failure: a function is not called, or the run that it ends is no run: nothing to score, nothing to go on with."""
    calls = []

    def enough(epoch, logs):
        calls.append((epoch, sorted(logs)))
        return epoch == 0

    run, _ = place.train(enough, epochs=3)
    names = ["accuracy", "images_per_second", "learning_rate", "loss", "seconds", "val_accuracy", "val_loss"]
    assert calls == [(0, names)]
    assert len(run.history) == 1 and kstyle.evaluate(run.folder).top1 == run.scores.top1
    more = kstyle.train(None, run=run.folder, resume=True, overrides={"epochs": 2})
    assert len(more.history) == 2


@pytest.mark.parametrize("when", ["batch", "epoch"])
def test_stop_training_ends_all_stages(place, when):
    """Failure: a callback's stop ends the stage only, and the next one begins."""

    class Stop(kerass.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = when == "batch" and batch == 3

        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    stages = [{"train": "head", "epochs": 2}, {"train": "all", "epochs": 2}]
    run, watch = place.train(Stop(), epochs=None, stages=stages)
    assert len(run.history) == 1 and len(watch.begun) == (4 if when == "batch" else STEPS)
    assert (run.folder / "scores.json").is_file()


def test_early_stop_of_a_recipe_ends_the_stage_alone(place):
    """Failure: the recipe's own `early_stop` is taken for a callback's stop, and no later stage is trained."""
    stages = [{"train": "head", "epochs": 3, "learning_rate": 1e-12}, {"train": "all", "epochs": 1}]
    _, watch = place.train(epochs=None, stages=stages, early_stop=1, **{"checkpoint.monitor": "val_accuracy"})
    assert len(watch.begun) == 3 * STEPS  # two epochs of the first, where nothing moves, and the second


def test_a_rate_that_a_callback_set_holds_over_a_resume(place):
    """Failure: the recipe's schedule takes the rate back, in the next step or once the training goes on."""

    class Once(kerass.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 4 and len(watch.rates) == 5:
                self.model.optimizer.learning_rate = 0.002

    watch = Watch()
    run, _ = place.train(Once(), watch)
    assert watch.rates[5:] == [pytest.approx(0.002)] * (2 * STEPS - 5) and watch.rates[4] != watch.rates[5]
    more = kstyle.train(None, run=run.folder, resume=True, overrides={"epochs": 3})
    assert more.history["learning_rate"].iloc[-1] == pytest.approx(0.002)


def test_the_model_can_be_evaluated_by_keras(place):
    """Failure: `run.model.evaluate` says that the model is not compiled, or gives other numbers than the run's."""
    run, _ = place.train(**{"data.test_limit": None})
    loss, accuracy = run.model.evaluate(*pictures(run), verbose=0)
    assert loss == pytest.approx(run.history["val_loss"].iloc[-1], rel=1e-4)
    assert accuracy == pytest.approx(run.scores.top1)


def test_logs_of_batches_are_fetched_when_they_are_read(place, monkeypatch):
    """Failure: a callback that does not read its batches' logs makes the host wait; or read late, they are others."""
    from kstyle.nn import callbacks

    fetched, kept = [], []
    fetch = callbacks.BatchLogs._fetch
    monkeypatch.setattr(callbacks.BatchLogs, "_fetch", lambda self: (fetched.append(self), fetch(self)))
    save, backup = kerass.ModelCheckpoint(place.folder / "x.keras"), kerass.BackupAndRestore(place.folder / "backup")
    keep = kerass.LambdaCallback(on_train_batch_end=lambda batch, logs: kept.append(logs))
    run = kstyle.train("digits_cnn", run=place.folder / "run", overrides=QUICK, callbacks=[save, backup, keep])
    assert len(kept) == STEPS * EPOCHS and not fetched
    assert len({logs["loss"] for logs in kept}) == len(kept)
    for epoch, loss in enumerate(run.history["loss"], 1):
        assert {**kept[STEPS * epoch - 1]}["loss"] == pytest.approx(loss)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ([3], "callbacks: expected Keras callbacks or functions; got 3"),
        ([kerass.EarlyStopping], "callbacks: EarlyStopping is a class; give one of it"),
        ([lambda epoch: None], "is called with an epoch and its logs: too many positional arguments"),
    ],
)
def test_what_is_no_callback(tmp_path, given, line):
    """Failure: an error in the middle of Keras, after an epoch that took an hour."""
    with pytest.raises(UsageError) as caught:
        kstyle.train("digits_cnn", run=tmp_path / "run", overrides=QUICK, callbacks=given)
    assert line in str(caught.value) and not (tmp_path / "run").exists()


def test_weights_and_biases(place, monkeypatch):
    """Failure: W&B's callback for Keras breaks, or its run, offline here, lacks an epoch or a batch."""
    pytest.importorskip("tensorflow", reason="W&B's callback for Keras imports TensorFlow, whatever the backend")
    wandb = pytest.importorskip("wandb")
    from wandb.integration.keras import WandbMetricsLogger

    noted = []
    with wandb.init(
        mode="offline", project="kstyle", dir=place.folder, settings=wandb.Settings(silent=True)
    ) as open_run:
        log = wandb.log
        monkeypatch.setattr(wandb, "log", lambda row: (noted.append(row), log(row)))
        run, _ = place.train(WandbMetricsLogger(log_freq=1))
        assert open_run.summary["epoch/val_loss"] == run.history["val_loss"].iloc[-1]
    assert [row["epoch/epoch"] for row in noted if "epoch/epoch" in row] == [0, 1]
    assert sum("batch/accuracy" in row for row in noted) == STEPS * EPOCHS
    assert list(place.folder.glob("wandb/offline-run-*/*.wandb"))


def test_mlflow(place, monkeypatch):
    """Failure: MLflow's callback for Keras breaks, or its run, in a local folder here, lacks an epoch."""
    mlflow = pytest.importorskip("mlflow")
    from mlflow.keras import MlflowCallback

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # files, without a database
    mlflow.set_tracking_uri((place.folder / "mlflow").as_uri())
    with mlflow.start_run() as open_run:
        run, _ = place.train(MlflowCallback())
    found = mlflow.MlflowClient().get_metric_history(open_run.info.run_id, "val_accuracy")
    assert [(each.step, each.value) for each in found] == [*enumerate(run.history["val_accuracy"])]
