-- The cancelled lines of the customers of one pass, before the as-of date.
SELECT row_id, as_of - day AS days_ago, lines, cents
FROM spine_part JOIN cancelled_days USING (customer_id)
WHERE day < as_of
