"""What bfloat16 costs in loss and saves in time: the same run in both precisions, the final pictures judged in float32.

python benchmarks/precision.py CONTENT STYLE [CONTENT STYLE ...] [--size 512] [--preset kstyle]
"""

import time

import click

import kstyle
from kstyle.pictures import images


def final_loss(result, content, style):
    """The preset's objective of the finished picture, with float32 features and no margin around it."""
    import keras

    from kstyle.models import features
    from kstyle.style import settings as style_settings
    from kstyle.style.objectives import objective, targets
    from kstyle.style.passes import units

    fields = style_settings.StyleSettings.model_fields
    settings = style_settings.StyleSettings.model_validate({k: v for k, v in result.settings.items() if k in fields})
    extractor = features.load(
        settings.network.extractor,
        settings.taps,
        **settings.network.model_dump(exclude={"extractor"}),
    )
    shape = result.rgb.shape[:2]
    scene = images.resize_picture(images.read(content), shape).rgb
    painting = images.read(style)
    painting = images.resize_picture(painting, images.fit(painting.size, max(shape))).rgb
    loss = objective.Objective(
        extractor,
        settings,
        targets.content_targets(extractor, settings, scene),
        targets.style_targets(extractor, settings, [painting], [1.0]),
    )
    total, _ = loss(keras.ops.convert_to_tensor(units.to_space(result.rgb, settings.space)))
    return float(keras.ops.convert_to_numpy(keras.ops.stop_gradient(total)))


@click.command()
@click.argument("pairs", nargs=-1, required=True)
@click.option("--size", default=512, show_default=True)
@click.option("--preset", default="kstyle", show_default=True)
@click.option("--seed", "seeds", multiple=True, type=int, default=(0,), show_default=True)
def main(pairs, size, preset, seeds):
    for content, style in zip(pairs[::2], pairs[1::2]):
        found = {}
        for precision in ("float32", "bfloat16"):
            losses, seconds = [], 0.0
            for seed in seeds:
                start = time.perf_counter()
                result = kstyle.stylize(content, style, preset=preset, size=size, precision=precision, seed=seed)
                seconds += time.perf_counter() - start
                losses.append(final_loss(result, content, style))
            found[precision] = (sum(losses) / len(losses), seconds / len(seeds))
            click.echo(
                f"{content} × {style} {precision:9} final loss {found[precision][0]:.5f}, {found[precision][1]:.1f} s"
            )
        loss, time_ = (found["bfloat16"][i] / found["float32"][i] for i in (0, 1))
        click.echo(f"  bfloat16 / float32: loss {loss:.4f}, time {time_:.3f}")


if __name__ == "__main__":
    main()
