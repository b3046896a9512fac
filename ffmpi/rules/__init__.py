"""Learning rules: how a layer learns from its own input and output; one file a rule."""
