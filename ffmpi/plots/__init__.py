"""Pictures that a paper can print, one a file: each draws into a figure what others have read or measured.

None imports matplotlib before it draws. `style` says how they look, and writes them.
"""
