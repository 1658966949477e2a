"""The engines that sample a model."""
