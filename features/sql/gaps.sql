-- Gaps between the days on which a customer bought; two invoices on one day make no gap.
WITH days AS (
    SELECT DISTINCT customer_id, as_of, day FROM past_orders
),
gaps AS (
    SELECT customer_id, as_of, day,
           day - lag(day) OVER (PARTITION BY customer_id, as_of ORDER BY day) AS gap
    FROM days
)
SELECT customer_id, as_of,
       sum(gap) / count(gap) AS gap_days_mean,
       median(gap) AS gap_days_median,
       -- from whole-number sums: exact, whatever the order of the rows
       CASE WHEN count(gap) > 1 THEN
         sqrt(greatest(sum(gap * gap) - sum(gap) * sum(gap) / count(gap), 0) / (count(gap) - 1))
       END AS gap_days_spread,
       arg_max(gap, day) FILTER (WHERE gap IS NOT NULL) AS gap_days_last,
       (as_of - max(day)) * count(gap) / nullif(sum(gap), 0) AS overdue_ratio
FROM gaps
GROUP BY customer_id, as_of
