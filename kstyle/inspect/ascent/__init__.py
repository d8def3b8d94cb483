"""Pictures by gradient ascent: of what excites a channel, of what a network dreams."""
