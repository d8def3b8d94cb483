"""A network and a picture as one HTML file: `kstyle.inspect.page`."""
