"""`kstyle serve` as the program that it is: painted, stopped, gone on with, killed, begun again."""

import io
import json
import os
import re
import signal
import time

import psutil
import pytest
from PIL import Image
from waiting import until

pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from serving import Program, by_command, chunks, opened, png


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    program = Program(tmp_path_factory.mktemp("serve") / "painted")
    yield program
    if program.process.poll() is None:
        program.end(signal.SIGKILL)


def test_a_painting_is_the_command_lines(server, tmp_path):
    """Failure: the page paints another picture than the command that it shows, with a mask, weights and settings."""
    mask = png(seed=5)
    settings = {
        "steps": 5, "strength": 0.4, "brush": 0.75, "colour": "luminance", "weights": [1, 2.5], "seed": 3,
        "masks": [server.send(mask), None], "styles": [server.send(png(seed=1)), server.send(png(seed=2))],
    }  # fmt: skip
    job = server.begin(**settings)
    versions = set()
    with server.client.stream("GET", f"/api/jobs/{job['id']}/events") as events:
        for line in events.iter_lines():
            if line:
                versions.add(int(line.partition('"version": ')[2].partition(",")[0]))
    assert len(versions) > 1  # it was seen as it came about
    done = server.ended(job)
    assert (done["state"], done["step"], done["width"], done["height"]) == ("finished", 5, 64, 48), done
    answer = server.client.get(f"/api/jobs/{job['id']}/picture?download")
    assert answer.headers["content-disposition"].startswith("attachment")
    by_command(done["command"], tmp_path / "cli.png")
    ours, theirs = chunks(answer.content), chunks((tmp_path / "cli.png").read_bytes())
    assert ours.keys() == theirs.keys()
    assert {kind for kind in ours if ours[kind] != theirs[kind]} <= {b"tEXt", b"iTXt", b"zTXt"}
    before = server.client.get(f"/api/jobs/{job['id']}/content")
    assert opened(before.content).shape == opened(answer.content).shape


def test_a_style_network_paints(server):
    """Failure: a style that comes with kstyle cannot be chosen, or is painted at another size."""
    job = server.ended(server.begin(styles=["style:night"], preset="kstyle"))
    assert job["state"] == "finished", job
    picture = server.client.get(f"/api/jobs/{job['id']}/picture?download").content
    assert opened(picture).shape == (48, 64, 3)
    server.post(job, "continue", status=409)


def test_stop_and_continue(server):
    """Failure: a painting that was stopped begins anew when it goes on, and its picture so far is lost."""
    job = server.begin(steps=100_000)
    server.wait(job, lambda job: job["step"] > 20)
    server.post(job, "stop")
    stopped = server.ended(job)
    assert stopped["state"] == "stopped" and 20 < stopped["step"] < 100_000, stopped
    assert opened(server.client.get(f"/api/jobs/{job['id']}/picture?download").content).shape == (48, 64, 3)
    server.post(job, "continue")
    going = server.wait(job, lambda job: job["state"] == "painting" and job["step"] != stopped["step"])
    assert going["step"] > stopped["step"] and going["history"][0][0] == 1  # the curve goes on, too
    server.post(job, "stop")
    assert server.ended(job)["state"] == "stopped"


def test_more_steps(server):
    """Failure: one that is finished takes no more steps, or as many as it likes."""
    job = server.ended(server.begin(steps=6))
    assert server.post(job, "continue", {"steps": 7})["total"] == 13
    done = server.ended(job)
    assert (done["state"], done["step"]) == ("finished", 13), done
    server.post(job, "continue", status=409)


def test_larger(server):
    """Failure: 'paint larger' gives the same size, another picture, or one that takes more memory than there is."""
    job = server.ended(server.begin(steps=3, seed=9))
    larger = server.post(job, "larger", status=201)
    assert (larger["width"], larger["height"], larger["settings"]["seed"]) == (128, 96, 9)
    assert server.ended(larger)["state"] == "finished"


def test_what_waits_and_what_is_deleted(server):
    """Failure: a job that waits cannot be stopped; one that is deleted in work paints on, or leaves its folder."""
    painted, waiting, last = (server.begin(steps=steps) for steps in (100_000, 5, 6))
    assert server.job(last)["place"] == 2
    assert server.post(waiting, "stop")["state"] == "stopped"
    server.wait(painted, lambda job: job["step"] > 3)
    folder = server.folder / "jobs" / painted["id"]
    assert server.client.delete(f"/api/jobs/{painted['id']}").status_code == 204
    assert server.client.get(f"/api/jobs/{painted['id']}").status_code == 404
    assert server.ended(last)["state"] == "finished"
    until(lambda: not folder.exists())


def test_the_process_that_paints_is_killed(server):
    """Failure: memory runs out, and with the process the queue ends; or the painting has to begin anew."""
    job, after = server.begin(steps=100_000), server.begin(steps=4)
    until((server.folder / "jobs" / job["id"] / "run" / "state.safetensors").exists)
    os.kill(server.worker(), signal.SIGKILL)
    failed = server.ended(job)
    assert failed["state"] == "failed" and "memory" in failed["error"], failed
    assert server.ended(after)["state"] == "finished"
    server.post(job, "continue")
    server.wait(job, lambda job: job["state"] == "painting" and job["step"] != failed["step"])
    assert re.search(r"going on after step [1-9]", (server.folder / "log.txt").read_text())
    server.post(job, "stop")
    assert server.ended(job)["state"] == "stopped"


@pytest.mark.skipif(not hasattr(psutil.Process, "rlimit"), reason="files cannot be limited here")
def test_the_disk_fills_while_it_paints(server):
    """Failure: a painting that cannot be written is told as finished, takes the queue along, or is lost for good."""
    job = server.begin(steps=6)
    server.ended(job)
    painter = psutil.Process(server.worker())
    before = painter.rlimit(psutil.RLIMIT_FSIZE)
    painter.rlimit(
        psutil.RLIMIT_FSIZE, (500, before[1])
    )  # bytes of a file: a longer one is an error, as on a full disk
    server.post(job, "continue", {"steps": 5})
    failed = server.ended(job)
    assert failed["state"] == "failed" and "cannot be written" in failed["error"], failed
    painter.rlimit(psutil.RLIMIT_FSIZE, before)
    server.post(job, "continue")
    done = server.ended(job)
    assert (done["state"], done["step"], done["error"]) == ("finished", 11, None), done
    assert painter.is_running()


def test_a_mask_that_is_black(server):
    """Failure: what the painter refuses is a job that never ends, or an error without a word."""
    black = io.BytesIO()
    Image.new("L", (64, 48)).save(black, "PNG")
    failed = server.ended(server.begin(masks=[server.send(black.getvalue())]))
    assert failed["state"] == "failed" and "black everywhere" in failed["error"], failed


def test_a_second_server(server, command):
    """Failure: two servers paint in one folder, and each undoes what the other keeps."""
    code, _, said = command("serve", server.folder, "--port", "0")
    assert code == 2 and "in use" in said
    port = server.link.rstrip("/").rpartition(":")[2]
    code, _, said = command("serve", server.folder.parent / "other", "--port", port)
    assert code == 2 and "another program listens" in said


def test_the_server_is_killed(tmp_path):
    """Failure: what was painted when the server was killed, or ended by Ctrl-C, is lost, or has to be begun by hand."""
    folder = tmp_path / "painted"
    first = Program(folder)
    job, waiting = first.begin(steps=100_000), first.begin(steps=4)
    until((folder / "jobs" / job["id"] / "run" / "state.safetensors").exists)
    before = first.wait(job, lambda job: job["step"] > 0)
    painter = first.worker()
    first.end(signal.SIGKILL)
    until(lambda: not psutil.pid_exists(painter))  # it ends by itself
    second = Program(folder)
    now = second.wait(job, lambda job: job["step"] > before["step"])
    assert now["state"] == "painting"
    assert re.search(r"going on after step [1-9]", (folder / "log.txt").read_text())
    code, said = second.end()
    assert code == 0 and "Traceback" not in said, said
    kept = {each["id"]: json.loads((folder / "jobs" / each["id"] / "job.json").read_text()) for each in (job, waiting)}
    assert (kept[job["id"]]["state"], kept[waiting["id"]]["state"]) == ("painting", "waiting")
    assert kept[job["id"]]["step"] >= now["step"]  # saved after the step at hand


def test_a_second_ctrl_c(tmp_path):
    """Failure: a server whose painter does not answer cannot be ended but by SIGKILL."""
    program = Program(tmp_path / "painted")
    job = program.begin(steps=100_000)
    program.wait(job, lambda job: job["step"] > 0)
    os.kill(program.worker(), signal.SIGSTOP)
    program.process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert program.process.poll() is None  # it waits for the step at hand
    code, said = program.end()
    assert code == 0 and "Traceback" not in said, said
