"""Where in a picture the thing is: a second head that tells a box, what it learns from, and how good it is."""
