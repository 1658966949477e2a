"""The kind ``slurm``: batch jobs of a Slurm machine."""
