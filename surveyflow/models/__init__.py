"""The networks: their layers and weights, their folders on disk, and the engines that sample them."""
