"""Task graphs: built by ``bind``, run by ``execute``."""
