-- Cancelled lines per customer and day.
SELECT customer_id, CAST(invoiced_at AS DATE) AS day, count(*) AS lines,
       CAST(-sum(CAST(round(quantity * unit_price * 100) AS BIGINT)) AS BIGINT) AS cents
FROM transactions WHERE quantity < 0
GROUP BY ALL
