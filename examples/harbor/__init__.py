"""Harbor Support: preference alignment of a real 135M chat model, end to end, on a generated world."""
