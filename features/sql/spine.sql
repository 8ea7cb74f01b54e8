-- Who is asked about: every customer with a purchase in the last `active_days` before an as-of date.
CREATE OR REPLACE TEMP TABLE spine AS
SELECT DISTINCT customer_id, as_of, split
FROM transactions JOIN as_of_dates
  ON invoiced_at < as_of
 AND invoiced_at >= as_of - to_days(CAST(getvariable('active_days') AS INTEGER))
WHERE quantity > 0;
