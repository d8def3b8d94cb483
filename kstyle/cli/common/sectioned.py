"""A command whose help has its options in sections, and examples after them."""

import click


class Sectioned(click.Command):
    """A `click.Command`.

    Args:
        sections: {title: names of parameters}, in the order of the help; what no section names is in the last one.
        examples: command lines.
    """

    def __init__(self, *args, sections, examples, **kwargs):
        super().__init__(*args, **kwargs)
        self.sections, self.examples = sections, examples

    def format_options(self, context, formatter):
        named = {name: title for title, names in self.sections.items() for name in names}
        records = {title: [] for title in self.sections}
        for parameter in self.get_params(context):
            record = parameter.get_help_record(context)
            if record is not None and isinstance(parameter, click.Option):
                records[named.get(parameter.name, [*records][-1])].append(record)
        for title, found in records.items():
            with formatter.section(title):
                formatter.write_dl(found)

    def format_epilog(self, context, formatter):
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"{'':{formatter.current_indent}}{example}\n")
