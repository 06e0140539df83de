"""Modules for every room: errors, plain values, files, stores, external programs, passes."""
