"""One rank at work: messages, buffers, and the steps of a schedule executed."""
