"""What people say of galaxies when they look at them: samples, records, agreement, and what follows for the networks."""
