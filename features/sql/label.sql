-- Buys again: any sale in [as_of, as_of + horizon). The only file that looks past the as-of date.
CREATE OR REPLACE TEMP TABLE buyers AS
SELECT DISTINCT customer_id, as_of
FROM spine JOIN order_parts USING (customer_id)
WHERE day >= as_of
  AND day < as_of + CAST(getvariable('horizon_days') AS INTEGER);
