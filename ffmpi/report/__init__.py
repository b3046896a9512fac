"""A report on runs: one HTML page that needs no network and no other file.

`tables` brings together what runs have left, `confusion` what a network takes for what; `page` writes them. What files
and names have in them is text, whatever it looks like: the template engine escapes all of it.
"""
