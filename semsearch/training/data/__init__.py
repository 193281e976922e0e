"""What is learned from: rows, batches, mined negatives, and the sets that judge."""
