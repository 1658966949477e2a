"""Batch jobs of Slurm."""
