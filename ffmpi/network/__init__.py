"""The network on one rank: layers, their inputs, the classifiers; no MPI here."""
