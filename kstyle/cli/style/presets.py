"""`kstyle presets`: what style presets there are, and what is in one."""

from kstyle.cli.common.listing import command


def _load(name):
    from kstyle.style import settings

    return settings.load(name)


presets = command("presets", "stylize", "style presets", _load)
