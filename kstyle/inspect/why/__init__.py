"""Why this class: how much each place of a picture adds to what a classifier says of it."""
