"""What is asked: the request, its filter and weights, the places it names, the query as retrievers take it."""
