"""What the page is told as it is opened: all that there is to choose from."""

from kstyle import config
from kstyle.pictures.formats import most_pixels
from kstyle.serve.pictures import MOST_BYTES
from kstyle.style.colour.modes import MODES
from kstyle.style.networks import shipped

DEFAULTS = {"preset": "kstyle", "size": 512, "strength": 0.5}


def told(pictures, jobs):
    """A dict for JSON. `pictures`: `kstyle.serve.pictures.Pictures`; `jobs`: how many are taken."""
    own, described = config.added("stylize").own, config.descriptions("networks")
    groups = {"kstyle": "Made for kstyle", **dict.fromkeys(own, "Of plugins")}
    presets = [
        {"name": name, "description": said, "group": groups.get(name, "As published elsewhere")}
        for name, said in config.descriptions("stylize").items()
    ]
    return {
        "presets": sorted(presets, key=lambda preset: preset["name"] != "kstyle"),
        "styles": [{"name": f"{shipped.PREFIX}{name}", "description": described[name]} for name in shipped.names()],
        "examples": pictures.examples(),
        "colours": list(MODES),
        "limits": {"bytes": MOST_BYTES, "pixels": most_pixels(), "jobs": jobs},
        "defaults": DEFAULTS,
    }
