"""What a training has to show: scores, pictures of them, files for other programs."""
