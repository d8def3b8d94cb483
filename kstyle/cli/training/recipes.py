"""`kstyle recipes`: what training recipes there are, and what is in one."""

from kstyle.cli.common.listing import command


def _load(name):
    from kstyle.training.setup import settings

    return settings.load(name)


recipes = command("recipes", "train", "training recipes", _load)
