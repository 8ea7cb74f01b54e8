WITH sold AS (
    SELECT row_id, sum(cents) AS cents FROM past_orders GROUP BY row_id
),
cancelled AS (
    SELECT row_id, sum(cents) AS cents, sum(lines) FILTER (days_ago <= 365) AS lines_365d
    FROM past_cancellations
    GROUP BY row_id
)
SELECT row_id,
       coalesce(lines_365d, 0) AS cancelled_lines_365d,
       -- all sales may be worth less than half a hundredth each
       coalesce(cancelled.cents, 0) / greatest(sold.cents, 1) AS cancelled_share
FROM sold LEFT JOIN cancelled USING (row_id)
