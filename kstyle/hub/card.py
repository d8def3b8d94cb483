"""The model card of a run or of a style network: README.md, with the metadata that the Hub reads, from its files."""

import json
from pathlib import Path

import yaml

from kstyle.hub import known
from kstyle.io.files import legible, plain

SCORES = {
    "top1": ("accuracy", "top-1"),
    "top5": ("accuracy", "top-5"),
    "mean_average_precision": ("mean_average_precision", "average precision"),
}


def of_run(repository, facts, recipe, scores, needs_code, licence=None):
    """The card of a training run.

    Args:
        repository: OWNER/NAME.
        facts, recipe, scores: run.json, recipe.yaml and scores.json as dicts; the last may be None.
        needs_code: name of the Python file that its network is in, or None.
        licence: as the Hub has it, `mit` say; None: nothing is said of it.

    Returns:
        Text: YAML between two lines of `---`, then Markdown.
    """
    name, data = repository.partition("/")[2], recipe.get("data", {}).get("name", "")
    data = plain(data if data != "folder" else facts.get("data", {}).get("origin", data))
    measured = [
        (kind, title, scores[key]) for key, (kind, title) in SCORES.items() if (scores or {}).get(key) is not None
    ]
    about = {
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["kstyle", "image-classification"],
    }
    if measured:
        metrics = [{"type": kind, "name": title, "value": round(value, 6)} for kind, title, value in measured]
        task = {"type": "image-classification", "name": "Image classification"}
        about["model-index"] = [
            {
                "name": name,
                "results": [{"task": task, "dataset": {"name": data, "type": _slug(data)}, "metrics": metrics}],
            }
        ]
    classes, shape = [plain(each) for each in facts["classes"]], facts.get("shape") or ["?"] * 3
    allowed = " --allow-code" if needs_code else ""
    lines = [
        f"A classifier of {len(classes)} classes, trained by kstyle: the network "
        f"`{_code(recipe.get('model', {}).get('name', ''))}`, "
        f"on pictures of {shape[0]}×{shape[1]} pixels, {_colours(shape[2])}.",
        "## How to use it",
        _block(
            f"pip install 'kstyle[torch,hub]'\nkstyle pull {repository} -o {name}{allowed}\n"
            f"kstyle predict {name} photo.jpg{allowed}"
        ),
    ]
    if needs_code:
        lines.append(
            f"Its network is in a Python file, `{_code(needs_code)}`: a program, which runs where `--allow-code` says "
            "so. Read it first."
        )
    lines += ["## Scores", *_scores(scores, measured, data)]
    shown = ", ".join(f"`{_code(each)}`" for each in classes[:50])
    lines += ["## Classes", shown + (f" and {len(classes) - 50:,} more, in `run.json`" if len(classes) > 50 else "")]
    made = ", ".join(f"{plain(key)} {plain(value)}" for key, value in (facts.get("versions") or {}).items())
    lines += [
        "## How it was made",
        f"`kstyle train recipe.yaml` makes it again. {plain(facts.get('device', ''))}; {made}.",
        _block(yaml.safe_dump(recipe, sort_keys=False)),
    ]
    return _text(about, licence, name, lines)


def of_network(repository, facts, licence=None):
    """The card of a style network, from what its file says of itself. Args, returns: as `of_run`."""
    name, learned = repository.partition("/")[2], facts.get("learned") or {}
    about = {"library_name": "keras", "pipeline_tag": "image-to-image", "tags": ["kstyle", "style-transfer"]}
    whatever = facts.get("kind") == "arbitrary"
    styles = ", ".join(f"`{_code(each)}`" for each in facts.get("styles") or ())
    what = (
        "in the style of any picture"
        if whatever
        else f"in {'these styles' if len(facts['styles']) > 1 else 'the style'} of {styles}"
    )
    call = f"painting.jpg --network {name}/style.keras" if whatever else f"{name}/style.keras"
    lines = [
        f"A network that paints photographs {what}, in one pass, learned by kstyle. "
        f"It is meant for photographs of about {plain(facts.get('size', '?'))} pixels on the long side.",
        "## How to use it",
        _block(
            f"pip install 'kstyle[torch,hub]'\nkstyle pull {repository} -o {name}\n"
            f"kstyle stylize photo.jpg {call} -o painted.png"
        ),
        "## How it learned",
    ]
    held = learned.get("held_out") if isinstance(learned.get("held_out"), dict) else {}
    told = [
        ("photographs", learned.get("photographs")),
        ("steps", learned.get("steps")),
        ("seconds", learned.get("seconds")),
    ]
    told += [
        (f"{plain(key)} on photographs held out", round(value, 3))
        for key, value in held.items()
        if isinstance(value, float)
    ]
    lines += [
        "| | |\n| --- | --- |\n" + "\n".join(f"| {key} | {plain(value)} |" for key, value in told if value is not None)
    ]
    if isinstance(learned.get("recipe"), dict):
        lines += [_block(yaml.safe_dump(known.without_folders(learned["recipe"]), sort_keys=False))]
    return _text(about, licence, name, lines)


def _text(about, licence, name, lines):
    about = {**({"license": licence} if licence else {}), **about}
    return legible(
        "\n\n".join([f"---\n{yaml.safe_dump(about, sort_keys=False, allow_unicode=True)}---", f"# {name}", *lines])
        + "\n"
    )


def _scores(scores, measured, data):
    if scores is None:
        return ["Not measured: `kstyle evaluate` was not run."]
    rows = [f"| {title} | {100 * value:.2f} % |" for _, title, value in measured]
    rows += [f"| loss | {scores['loss']:.4f} |"] if isinstance(scores.get("loss"), float) else []
    told = f"On {scores.get('count', 0):,} test pictures of {data} that it was not trained on:"
    return [told, "\n".join(["| | |", "| --- | --- |", *rows])]


def _slug(name):
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-") or "unknown"


def _colours(channels):
    return {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")


def _code(text):
    """For between backticks."""
    return plain(text).replace("`", "'")


def _block(text):
    """Code by its indent: no line in it can end it, as one of backticks would."""
    return "\n".join(f"    {line}" for line in legible(text).splitlines())


def read_json(path):
    """What a file of one's own holds; None: it is not there."""
    return json.loads(Path(path).read_text("utf-8")) if Path(path).is_file() else None
