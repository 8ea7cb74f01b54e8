-- Buys again: any sale in [as_of, as_of + horizon). The only file that looks past the as-of date.
-- A part of an invoice counts like any sale: who began one before midnight of the as-of date and
-- went on with it after has bought again.
SELECT DISTINCT customer_id, as_of
FROM spine JOIN order_parts USING (customer_id)
WHERE day >= as_of
  AND day < as_of + CAST(getvariable('horizon_days') AS INTEGER)
