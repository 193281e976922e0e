"""A folder's files: written so that they survive a kill, replaced in one step; the manifest, the judgements."""
