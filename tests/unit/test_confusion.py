"""Accuracies of single classes, and which class is taken for which."""

from __future__ import annotations

import numpy as np

from ffmpi.commands.confusion import class_accuracies, class_table, confusion_matrix, confusion_table

TRUE, SAID = np.array([0, 0, 0, 2, 2, 3], np.uint8), np.array([0, 0, 2, 2, 1, 3], np.uint8)


def test_rows_are_true_and_columns_predicted() -> None:
    matrix = confusion_matrix(TRUE, SAID, 4)
    assert matrix.tolist() == [[2, 0, 1, 0], [0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    assert class_accuracies(matrix) == [100 * 2 / 3, None, 50.0, 100.0]
    last = np.array([255], np.uint8)  # the products of classes leave uint8 behind
    assert confusion_matrix(last, last, 256)[255, 255] == 1


def test_tables_are_aligned_and_never_cut() -> None:
    names = ["a", "a name of some length", "c", "d"]
    matrix = 10**6 * confusion_matrix(TRUE, SAID, 4)
    assert list(class_table(names, {"softmax": matrix})) == [
        "class                  samples   softmax",
        "a                      3000000   66.67 %",
        "a name of some length        0",
        "c                      2000000   50.00 %",
        "d                      1000000  100.00 %",
    ]
    head, first, *_ = confusion_table(names, matrix)
    assert head == "true \\ predicted             a  a name of some length        c        d"
    assert first.split() == ["a", "2000000", "0", "1000000", "0"] and len(first) == len(head)
