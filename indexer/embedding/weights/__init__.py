"""Where weights come from: names → files → a loaded model and its tokenizer."""
