"""A stand-in for the Hugging Face Hub on 127.0.0.1: `with Hub() as hub:`, as much of its HTTP API as kstyle needs."""

import base64
import hashlib
import http.server
import json
import re
import urllib.parse

import yaml
from local_http import Listening

TOKEN = "hf_stand_in_for_a_secret"


class Hub(Listening):
    """Keeps repositories in memory. Files from `LARGE` bytes on go the way of Git LFS.

    Attributes:
        url: where it listens.
        repositories: {OWNER/NAME: {"private": bool, "files": {name: bytes}, "sha": text}}.
        requests: `[(method, path, whether TOKEN came with it)]`.
        claimed: {name: size that the listing says in place of the true one}.
    """

    LARGE = 4096

    def __init__(self):
        self.repositories, self.requests, self.claimed, self.blobs = {}, [], {}, {}
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
                known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
                hub.requests.append((self.command, path, known))
                status, headers, content = hub.answer(self.command, path, body, known)
                content = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_HEAD = answer

            def log_message(self, *_):
                pass

        super().__init__(Handler)
        self.url = self.address

    def put(self, name, files):
        """A public repository with these files."""
        self.repositories[name] = {"private": False, "files": dict(files), "sha": "a" * 40}

    def answer(self, method, path, body, known):
        """`(status, headers, content)` of a request."""
        if method == "PUT" and path.startswith("/lfs/"):
            self.blobs[hashlib.sha256(body).hexdigest()] = body
            return 200, {}, {}
        if method == "GET" and (found := re.fullmatch(r"/lfs/(\w{64})", path)):
            return 200, {"Content-Type": "application/octet-stream"}, self.blobs[found[1]]
        if path == "/api/validate-yaml":
            text = json.loads(body)["content"]
            about = yaml.safe_load(text.split("---\n")[1])
            return 200, {}, {"errors": [] if isinstance(about, dict) else [{"message": "no metadata"}], "warnings": []}
        if method == "POST" and not known:
            return 401, {}, {"error": "Invalid credentials."}
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if name in self.repositories:
                return 409, {}, {"error": "You already created this model repo", "url": f"{self.url}/{name}"}
            private = asked.get("visibility") == "private" or asked.get("private") is True
            self.repositories[name] = {"private": private, "files": {}, "sha": "0" * 40}
            return 200, {}, {"url": f"{self.url}/{name}", "name": name}
        found = re.match(r"/(?:api/models/)?([\w.-]+/[\w.-]+?)(?:\.git)?(?:/(.*))?$", path)
        repository = self.repositories.get(found[1])
        if repository is None or (repository["private"] and not known):
            return 404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, {}
        return self._in(found[1], repository, found[2] or "", body)

    def _in(self, name, repository, rest, body):
        if rest.startswith("preupload/"):
            modes = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if f["size"] >= self.LARGE else "regular",
                    "shouldIgnore": False,
                }
                for f in json.loads(body)["files"]
            ]
            return 200, {}, {"files": modes}
        if rest == "info/lfs/objects/batch":
            asked = json.loads(body)["objects"]
            link = {each["oid"]: {"upload": {"href": f"{self.url}/lfs/{each['oid']}", "header": {}}} for each in asked}
            objects = [{"oid": each["oid"], "size": each["size"], "actions": link[each["oid"]]} for each in asked]
            return 200, {"Content-Type": "application/vnd.git-lfs+json"}, {"transfer": "basic", "objects": objects}
        if rest.startswith("commit/"):
            for line in map(json.loads, body.decode().splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    repository["files"][value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    repository["files"][value["path"]] = self.blobs[value["oid"]]
            repository["sha"] = hashlib.sha1(body).hexdigest()
            url = f"{self.url}/{name}/commit/{repository['sha']}"
            return 200, {}, {"success": True, "commitOid": repository["sha"], "commitUrl": url}
        if rest in ("", "revision/main"):
            siblings = []
            for path, content in repository["files"].items():
                digest = hashlib.sha256(content).hexdigest()
                lfs = {"sha256": digest, "size": len(content), "pointerSize": 130}
                about = {"rfilename": path, "size": self.claimed.get(path, len(content)), "blobId": digest[:40]}
                siblings.append(about | ({"lfs": lfs} if len(content) >= self.LARGE else {}))
            facts = {"id": name, "modelId": name, "sha": repository["sha"], "private": repository["private"]}
            return 200, {}, {**facts, "tags": [], "downloads": 0, "likes": 0, "siblings": siblings}
        if found := re.fullmatch(r"resolve/(\w{40})/(.+)", rest):
            content = repository["files"].get(found[2])
            if content is None or found[1] != repository["sha"]:
                return 404, {"X-Error-Code": "EntryNotFound"}, {}
            if len(content) >= self.LARGE:
                digest = hashlib.sha256(content).hexdigest()
                self.blobs.setdefault(digest, content)
                return 302, {"Location": f"{self.url}/lfs/{digest}"}, {}
            return 200, {"Content-Type": "text/plain; charset=utf-8"}, content
        return 404, {"X-Error-Code": "RevisionNotFound"}, {}
