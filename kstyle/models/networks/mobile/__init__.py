"""Networks for phones: filters for each channel between convolutions of single pixels."""
