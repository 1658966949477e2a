"""Pods of Kubernetes."""
