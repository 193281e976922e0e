"""Readers of what office programs write: Word, slides, sheets, OpenDocument, RTF."""
