"""The operators that layers call, and the backends that compute them. Knows no layer."""
