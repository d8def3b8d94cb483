"""What all HTML pages of kstyle are made of: templates, one look, a slider, and the plots (vendor/: uPlot 1.6.32)."""
