"""Numbers that others need to know, also where no kernel is compiled."""

#: Columns of a panel: the lanes of a vector of float32.
LANES = 16

#: What stands for the label of a row that shows no class but a share of each.
NEUTRAL = -1

#: Kinds of optimisers, see `update`.
ADAM, SGD, NESTEROV, LION = 0, 1, 2, 3
