"""A published catalog in a web browser: galleries, galaxies, maps and plots, and the vetting of galaxies by eye."""
