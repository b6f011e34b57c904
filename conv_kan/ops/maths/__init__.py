"""What operators and backends read: sizes, formulas, dtypes, memory. Computes no operator."""
