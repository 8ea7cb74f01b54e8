-- Buys again: any sale in [as_of, as_of + horizon). The only file that looks past the as-of date.
CREATE OR REPLACE TEMP TABLE buyers AS
SELECT DISTINCT customer_id, as_of
FROM spine JOIN transactions USING (customer_id)
WHERE quantity > 0
  AND invoiced_at >= as_of
  AND invoiced_at < as_of + to_days(CAST(getvariable('horizon_days') AS INTEGER));
