"""Search against judgements: collections and queries, retrieval's figures, tuned weights."""
