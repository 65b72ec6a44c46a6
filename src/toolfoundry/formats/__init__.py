"""Benchmark and framework file formats, in and out: one module a format."""
