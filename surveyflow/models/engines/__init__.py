"""The engines that compute and sample a model."""
