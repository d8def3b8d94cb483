"""The server's routes, for Starlette: the page, pictures, jobs. Docs: docs/serve.md."""

import asyncio
import contextlib
import json
from functools import partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import kstyle
from kstyle.errors import DataError, KStyleError, UsageError
from kstyle.io import files
from kstyle.pages.render import filled
from kstyle.pictures import images
from kstyle.serve import asked as asking
from kstyle.serve import boot
from kstyle.serve.guard import Guard
from kstyle.serve.jobs import CONTENT
from kstyle.serve.pictures import MOST_BYTES
from kstyle.serve.queue import Conflict, Full

MOST_JSON = 64_000  # bytes of settings
LARGEST_SHOWN = 2048  # pixels of the long side of the photograph under the slider
TOLD = 0.25  # seconds between two events
ALIVE = 15.0  # and at most, so that a client that has gone is noticed
_HERE = Path(kstyle.__file__).parent
_TYPES = {".js": "text/javascript", ".css": "text/css"}
_KEPT = {"cache-control": "private, max-age=31536000, immutable"}


def app(queue, pictures, token=None):
    """The application, an ASGI callable.

    Args:
        queue: `kstyle.serve.queue.Queue`.
        pictures: `kstyle.serve.pictures.Pictures`.
        token: that is asked for; None: the server is for this machine alone.
    """
    routes = Routes(queue, pictures)

    @contextlib.asynccontextmanager
    async def lifespan(_):
        await queue.start()
        yield
        await queue.close()

    of_job = {
        "": ("GET", routes.job), "/events": ("GET", routes.events), "/picture": ("GET", routes.painted),
        "/content": ("GET", routes.content), "/stop": ("POST", routes.stop), "/continue": ("POST", routes.go_on),
        "/larger": ("POST", routes.larger),
    }  # fmt: skip
    made = Starlette(
        routes=[
            Route("/", routes.page),
            Route("/static/{name}", routes.static),
            Route("/api/pictures", routes.send, methods=["PUT"]),
            Route("/api/pictures/{id}", routes.picture),
            Route("/api/jobs", routes.jobs),
            Route("/api/jobs", routes.begin, methods=["POST"]),
            Route("/api/jobs/{id}", routes.remove, methods=["DELETE"]),
            *(Route(f"/api/jobs/{{id}}{path}", does, methods=[how]) for path, (how, does) in of_job.items()),
        ],
        lifespan=lifespan,
        exception_handlers={
            HTTPException: lambda request, error: _error(error.detail, error.status_code),
            **{kind: partial(_told, status) for kind, status in _STATUS.items()},
            Exception: lambda request, error: _error(f"unexpected {type(error).__name__}", 500),
        },
    )
    return Guard(made, token)


class Routes:
    """What is answered to each request."""

    def __init__(self, queue, pictures):
        self._queue, self._pictures = queue, pictures
        # Found by name among these; no path is ever made of what somebody sends.
        folders = (_HERE / "serve" / "page", _HERE / "pages" / "vendor", _HERE / "pages")
        self._static = {path.name: path for folder in folders for path in folder.glob("*") if path.suffix in _TYPES}

    async def page(self, request):
        told = await run_in_threadpool(boot.told, self._pictures, self._queue.most)
        return HTMLResponse(await run_in_threadpool(filled, "serve/page/index.html.jinja", boot=told))

    async def static(self, request):
        path = self._static.get(request.path_params["name"])
        if path is None:
            raise HTTPException(404, "There is no such file.")
        return FileResponse(path, media_type=_TYPES[path.suffix], headers={"cache-control": "no-cache"})

    async def send(self, request):
        part = self._pictures.part()
        try:
            with open(part, "wb") as file:
                async for chunk in _body(request, MOST_BYTES):
                    await run_in_threadpool(file.write, chunk)
            about = await run_in_threadpool(self._pictures.take, part, request.query_params.get("name"))
        except OSError as error:
            raise DataError(files.reason(error)) from error
        finally:
            part.unlink(missing_ok=True)
        return JSONResponse(about, 201)

    async def picture(self, request):
        number = request.path_params["id"]
        if self._pictures.about(number) is None:
            raise HTTPException(404, "There is no such picture.")
        if "thumbnail" in request.query_params:
            small = await run_in_threadpool(self._pictures.thumbnail, number)
            return FileResponse(small, media_type="image/webp", headers=_KEPT)
        path, media = self._pictures.path(number), self._pictures.media_type(number)
        return FileResponse(path, media_type=media, headers=_KEPT)

    async def jobs(self, request):
        # Without the curves, which are most of it, and which the page shows of one alone.
        return JSONResponse([{**self._queue.told(job), "history": []} for job in reversed(self._queue.jobs.values())])

    async def begin(self, request):
        asked = asking.checked(await _json(request), self._pictures)
        return self._answer(self._queue.add(asked), 201)

    async def job(self, request):
        return self._answer(self._of(request))

    async def events(self, request):
        job = self._of(request)

        async def told():
            seen, silent = None, 0.0
            while not self._queue.closing and job.id in self._queue.jobs:
                if job.changed != seen:
                    seen, silent = job.changed, 0.0
                    yield f"data: {files.json_text(self._queue.told(job))}\n\n"
                    if not job.active:
                        return
                elif silent > ALIVE:
                    silent = 0.0
                    yield ":\n\n"
                await asyncio.sleep(TOLD)
                silent += TOLD

        return StreamingResponse(told(), media_type="text/event-stream")

    async def painted(self, request):
        job = self._of(request)
        if "download" in request.query_params:
            path = job.whole()
            if path is None:
                raise HTTPException(404, "It is not painted yet.")
            return FileResponse(path, media_type="image/png", filename=_file_name(job))
        small = "thumbnail" in request.query_params and job.small()
        found = (small, "image/webp") if small else job.picture()
        if found is None:
            raise HTTPException(404, "There is no picture yet.")
        path, media = found
        if media == "image/webp":  # read whole: a newer one may take its place while it is sent
            return Response(await run_in_threadpool(path.read_bytes), media_type=media)
        return FileResponse(path, media_type=media)

    async def content(self, request):
        job = self._of(request)
        path = job.folder / CONTENT
        if not path.is_file():
            await run_in_threadpool(
                _write_content, self._pictures.path(job.asked.content), (job.height, job.width), path
            )
        return FileResponse(path, media_type="image/webp")

    async def stop(self, request):
        job = self._of(request)
        await self._queue.stop(job)
        return self._answer(job)

    async def go_on(self, request):
        job, body = self._of(request), await _json(request)
        self._queue.go_on(job, body.get("steps") if isinstance(body, dict) else None)
        return self._answer(job)

    async def larger(self, request):
        return self._answer(self._queue.larger(self._of(request)), 201)

    async def remove(self, request):
        await self._queue.remove(self._of(request))
        return Response(status_code=204)

    def _of(self, request):
        job = self._queue.jobs.get(request.path_params["id"])
        if job is None:
            raise HTTPException(404, "There is no such painting.")
        return job

    def _answer(self, job, status=200):
        return JSONResponse(self._queue.told(job), status)


_STATUS = {Full: 429, Conflict: 409, UsageError: 400, DataError: 400, KStyleError: 400}


def _told(status, request, error):
    cause = error
    while cause is not None:
        if (
            isinstance(cause, OSError) and cause.errno is not None
        ):  # a full disk; of a damaged picture there is no number
            return _error(f"That cannot be kept ({files.reason(cause)}).", 507)
        cause = cause.__cause__
    return _error(str(error), status)


def _error(line, status):
    return JSONResponse({"error": line}, status, {"connection": "close"} if status == 413 else None)


async def _body(request, most):
    """The body in parts. 413: it is, or says that it is, larger than `most` bytes; the rest is not read."""
    line = f"At most {most / 1e6:g} MB are taken."
    said = request.headers.get("content-length", "0")
    if not said.isdecimal() or int(said) > most:
        raise HTTPException(413, line)
    taken = 0
    async for chunk in request.stream():
        taken += len(chunk)
        if taken > most:
            raise HTTPException(413, line)
        yield chunk


async def _json(request):
    text = b"".join([chunk async for chunk in _body(request, MOST_JSON)])
    try:
        return json.loads(text or b"{}")
    except (ValueError, RecursionError):
        raise HTTPException(400, "Expected JSON.") from None


def _write_content(source, shape, path):
    shape = images.fit(shape, min(max(shape), LARGEST_SHOWN))  # a size that is asked for may be larger than memory
    picture = images.resize_picture(images.read(source), shape)
    with files.replacing(path, ".webp") as beside:
        images.write(beside, picture.rgb, picture.alpha)


def _file_name(job):
    """What a browser is to call the picture; Starlette writes it so that nothing in it can end the header."""
    stems = [name.removeprefix("style:").rpartition(".")[0] or name for name in job.names.values()]
    return f"{files.cut('-'.join(stems), 150)}.png"
