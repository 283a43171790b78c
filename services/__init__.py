"""The four services of Roundhouse and the kit they share."""
