"""Is it any good? Metrics, the features they compare, and the evaluator that reports them."""
