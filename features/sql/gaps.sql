-- Gaps between the days on which a customer bought; two invoices on one day make no gap.
SELECT row_id,
       sum(gap) / count(gap) AS gap_days_mean,
       median(gap) AS gap_days_median,
       -- from whole-number sums: exact, whatever the order of the rows
       CASE WHEN count(gap) > 1 THEN
         sqrt(greatest(sum(gap * gap) - sum(gap) * sum(gap) / count(gap), 0) / (count(gap) - 1))
       END AS gap_days_spread,
       arg_max(gap, place) AS gap_days_last,
       min(days_ago) * count(gap) / sum(gap) AS overdue_ratio
FROM past_orders
WHERE gap > 0
GROUP BY row_id
