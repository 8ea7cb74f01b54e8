-- Cancelled lines per customer and day, before the as-of date.
CREATE OR REPLACE TEMP TABLE cancelled_days AS
SELECT customer_id, CAST(invoiced_at AS DATE) AS day, count(*) AS lines,
       CAST(-sum(CAST(round(quantity * unit_price * 100) AS BIGINT)) AS BIGINT) AS cents
FROM transactions WHERE quantity < 0
GROUP BY ALL;

CREATE OR REPLACE TEMP VIEW past_cancellations AS
SELECT row_id, as_of - day AS days_ago, lines, cents
FROM asked JOIN cancelled_days USING (customer_id)
WHERE day < as_of;
