"""Builds the project's images on a machine that reaches package registries only: no base image, no daemon."""
