"""`kstyle serve`: a page to paint in. A web server, in which nothing is painted, and a process that paints."""
