-- What the feature files may read of the orders. It ends at the as-of date: a row of the future is
-- not there to be used.
--
-- days_ago: from the invoice's first day to the as-of date, so at least 1. A window of n days is
-- days_ago <= n: the day of the as-of date itself lies in the future.
SELECT row_id, as_of - order_day AS days_ago, place, orders, gap, month_bit,
       cents, cents_so_far, lines, units, country
FROM spine_part JOIN order_parts USING (customer_id)
WHERE day < as_of
