"""What will happen and how fast, before anything starts: figures of machines, and runs simulated with them."""
