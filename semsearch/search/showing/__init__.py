"""What is shown: hits, snippets and marks, explanations, texts, the map."""
