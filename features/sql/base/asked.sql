-- What the feature files may read of the orders: past_orders, for the questions of one pass. It ends
-- at the as-of date: a row of the future is not there to be used. A large log takes several passes,
-- so that it never lies in memory once per as-of date.
CREATE OR REPLACE TEMP TABLE asked AS
FROM questions
WHERE row_id BETWEEN getvariable('first_row') AND getvariable('last_row');

-- days_ago: from the invoice's first day to the as-of date, so at least 1. A window of n days is
-- days_ago <= n: the day of the as-of date itself lies in the future.
CREATE OR REPLACE TEMP TABLE past_orders AS
SELECT row_id, as_of - order_day AS days_ago, place, orders, gap, month_bit,
       cents, cents_so_far, lines, units, country
FROM asked JOIN order_parts USING (customer_id)
WHERE day < as_of;
