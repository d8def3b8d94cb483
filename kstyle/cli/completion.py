"""`kstyle completion`: what makes a shell complete names of presets, recipes, runs and so on."""

import click

from kstyle.cli.common import completing


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context, shell):
    """Print the script by which a shell completes kstyle's options and values on Tab.

    \b
    bash, in ~/.bashrc:                          eval "$(kstyle completion bash)"
    zsh, in ~/.zshrc:                            eval "$(kstyle completion zsh)"
    fish, in ~/.config/fish/config.fish:         kstyle completion fish | source
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)(context.find_root().command, {}, "kstyle", completing.VARIABLE)
    click.echo(made.source())
