-- Who is asked about: every customer who bought in the last `active_days` before an as-of date.
CREATE OR REPLACE TEMP TABLE spine AS
SELECT DISTINCT customer_id, as_of, split
FROM (
    SELECT DISTINCT customer_id, CAST(invoiced_at AS DATE) AS day
    FROM transactions WHERE quantity > 0
) JOIN as_of_dates
  ON day < as_of
 AND day >= as_of - CAST(getvariable('active_days') AS INTEGER);
