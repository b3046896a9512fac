"""The commands `bench ...`: ffmpi against other libraries and against the machine, measured in turn."""
