"""Numbers and recipes as reports write them."""


def clock(seconds):
    """75.0 -> `"1 min 15 s"`."""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest:.0f} s" if minutes else f"{rest:.1f} s"


def percent(share):
    """0.92 -> `"92.00 %"`; what is no number as it is."""
    return f"{100 * share:.2f} %" if isinstance(share, (int, float)) else str(share)


def yaml_text(recipe):
    """A recipe as YAML, keys in its order."""
    import yaml

    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=110)
