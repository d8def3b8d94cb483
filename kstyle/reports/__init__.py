"""What became of a run, as a page in one file: `kstyle.report`; and live, while it goes on."""
