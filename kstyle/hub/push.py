"""`kstyle.push`: a run or a style network to the Hugging Face Hub."""

import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from kstyle import config
from kstyle.errors import DataError
from kstyle.hub import card, client, known
from kstyle.io import runs
from kstyle.io.files import expanded, json_text, one_line, read_bytes, sha256
from kstyle.style.networks import shipped, style_facts


@dataclass(frozen=True)
class Pushed:
    """What went, or would go, to a repository.

    Attributes:
        repository: OWNER/NAME.
        kind: `"run"` or `"network"`.
        files: {name: bytes}.
        url: of the commit; None after a dry run.
    """

    repository: str
    kind: str
    files: dict[str, int]
    url: str | None = None


def push(
    what: str | os.PathLike[str],
    repository: str,
    private: bool | None = None,
    dry_run: bool = False,
    licence: str | None = None,
    message: str | None = None,
) -> Pushed:
    """Puts a finished run, or a style network's file, into a repository of the Hub, with a model card made from it.

    Of a run go its recipe, run.json, weights, scores, history and plots, and the Python file that its network is in,
    where it is in one; not its state, log or pictures. Folders of this machine that recipe and run.json name are left
    out, but for their last part. Of a style network goes its file, which has the style pictures in it.

    Args:
        what: folder of the run; file of the network, or `style:NAME`.
        repository: OWNER/NAME; it is made where it is not there. `HF_ENDPOINT` says on which server.
        private: a new repository is for its owner alone. None: as the server has it. One that is there stays as it is.
        dry_run: nothing is sent, and the Hub is not asked.
        licence: for the card: `"mit"` say.
        message: of the commit.

    Returns:
        A `Pushed`.

    Raises:
        UsageError: no name of a repository; huggingface_hub is not installed.
        DataError: no finished run or style network; or the Hub refuses it or cannot be reached.

    >>> import kstyle
    >>> kstyle.push("style:night", "me/night", dry_run=True).files["style.keras"] > 400_000
    True
    """
    repository = known.repository(repository)
    kind, contents = (_network if _is_network(what) else _run)(what, repository, licence)
    files = {name: len(each) if isinstance(each, bytes) else each.stat().st_size for name, each in contents.items()}
    if dry_run:
        return Pushed(repository, kind, files)
    hub = client.library()
    with client.talking(repository):
        api = hub.HfApi(library_name="kstyle")
        api.create_repo(repository, private=private, exist_ok=True)
        operations = [
            hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=each if isinstance(each, bytes) else str(each))
            for name, each in contents.items()
        ]
        done = api.create_commit(repository, operations, commit_message=message or f"kstyle push: a {kind}")
    return Pushed(repository, kind, files, str(done.commit_url))


def _is_network(what):
    return shipped.is_name(what) or (not os.path.isdir(expanded(what)) and os.path.isfile(expanded(what)))


def _network(what, repository, licence):
    path = shipped.located(what)
    facts = style_facts.read(path, kind=None)
    return "network", {known.CARD: card.of_network(repository, facts, licence).encode(), known.NETWORK: path}


def _run(folder, repository, licence):
    folder = Path(expanded(folder))
    if not folder.is_dir():
        raise DataError(f"{one_line(folder)}: there is no such run or style network.")
    facts = runs.facts(folder)
    if not (folder / runs.RESULT).is_file():
        raise DataError(f"{one_line(folder)}: its training is not done yet (--resume --run goes on with it).")
    recipe, path = config.read("train", str(folder / "recipe.yaml"))
    recipe, scores = known.without_folders(recipe), card.read_json(folder / "scores.json")
    facts = {key: each if key == "classes" else known.without_folders(each) for key, each in facts.items()}
    contents, source = {}, known.code(facts)
    for name, most in {**known.REQUIRED, **known.FURTHER}.items():
        if (folder / name).is_file() and name != known.CARD:
            contents[name] = folder / name
            if contents[name].stat().st_size > most:
                raise DataError(f"{one_line(folder / name)}: has more than the {most:,} bytes that are pulled again.")
    if source is not None:
        name, digest = source
        if not (folder / name).is_file() or sha256(folder / name) != digest:
            raise DataError(f"{one_line(folder)}: {name} is another than when the run began.")
        contents[name] = read_bytes(folder / name, known.MOST_CODE)
    contents[path.name] = yaml.safe_dump(recipe, sort_keys=False).encode()
    contents["run.json"] = json_text(facts, indent=2).encode()
    if scores is not None:
        scores = known.without_folders(scores)
        contents["scores.json"] = json_text(scores, indent=2).encode()
    text = card.of_run(repository, facts, recipe, scores, source and source[0], licence)
    return "run", {known.CARD: text.encode(), **contents}
