"""How a picture is painted: what is minimised, in which sizes, step by step."""
