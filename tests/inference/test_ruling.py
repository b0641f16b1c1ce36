"""Printed lines and boxes are told from strokes."""

import numpy as np

from mnist_lab.inference.ruling import without_lines


def test_a_line_from_edge_to_edge_goes_and_the_stroke_across_it_stays() -> None:
    ink = np.zeros((200, 300))
    ink[99:101] = 0.8
    ink[60:140, 150:160] = 1
    stroke = np.zeros_like(ink, bool)
    stroke[60:140, 150:160] = True
    clear = without_lines(ink)
    assert not clear[~stroke].any()
    assert clear[stroke].all()


def test_a_box_around_a_stroke_goes() -> None:
    ink = np.zeros((200, 300))
    ink[40:160, 100:103] = ink[40:160, 197:200] = 1
    ink[40:43, 100:200] = ink[157:160, 100:200] = 1
    ink[60:140, 145:157] = 1
    clear = without_lines(ink)
    assert clear[60:140, 145:157].all()
    clear[60:140, 145:157] = 0
    assert (clear > 0).sum() < 40


def test_a_square_zero_stays() -> None:
    ink = np.zeros((200, 300))
    ink[40:160, 100:200] = 1
    ink[44:156, 104:196] = 0
    assert (without_lines(ink) == ink).all()
