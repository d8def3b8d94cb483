"""`kstyle inspect`: the commands that look into a network."""

import click

from kstyle.cli.inspect.activations import activations
from kstyle.cli.inspect.attribution import attribution
from kstyle.cli.inspect.embedding import embedding
from kstyle.cli.inspect.filters import filters
from kstyle.cli.inspect.layers import layers
from kstyle.cli.inspect.neighbours import neighbours
from kstyle.cli.inspect.page import page


@click.group()
def inspect():
    """Look into a network: its layers, what they see in a picture, what excites them.

    MODEL is a run's folder, a .keras file, or the name of a network: vgg19, efficientnet_lite0, resnet50, ….
    """


for command in (layers, activations, filters, attribution, neighbours, embedding, page):
    inspect.add_command(command)
