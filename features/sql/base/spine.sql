-- The customers of each as-of date: all who bought in the last `active_days` before an as-of date.
SELECT DISTINCT customer_id, as_of
FROM (SELECT DISTINCT customer_id, day FROM order_parts) JOIN as_of_dates
  ON day < as_of
 AND day >= as_of - CAST(getvariable('active_days') AS INTEGER)
