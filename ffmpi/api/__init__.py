"""ffmpi from Python: what `import ffmpi` offers, one idea a file."""
