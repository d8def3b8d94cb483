"""How a picture is painted: in how much memory, in which sizes, step by step."""
