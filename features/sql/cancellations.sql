WITH sold AS (
    SELECT customer_id, as_of, sum(cents) AS cents
    FROM past_orders
    GROUP BY customer_id, as_of
),
cancelled AS (
    SELECT customer_id, as_of, -sum(cents) AS cents,
           count(*) FILTER (WHERE invoiced_at >= as_of - INTERVAL 365 DAY) AS lines_365d
    FROM past_lines WHERE quantity < 0
    GROUP BY customer_id, as_of
)
SELECT customer_id, as_of,
       coalesce(lines_365d, 0) AS cancelled_lines_365d,
       -- all sales may be worth less than half a hundredth each
       coalesce(cancelled.cents, 0) / greatest(sold.cents, 1) AS cancelled_share
FROM sold LEFT JOIN cancelled USING (customer_id, as_of)
