"""How a style network is learned: `kstyle.learn`."""
