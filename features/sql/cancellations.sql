SELECT customer_id, as_of,
       count(*) FILTER (WHERE quantity < 0 AND invoiced_at >= as_of - INTERVAL 365 DAY) AS cancelled_lines_365d,
       coalesce(-sum(cents) FILTER (WHERE quantity < 0), 0)
         / nullif(sum(cents) FILTER (WHERE quantity > 0), 0) AS cancelled_share
FROM past_lines
GROUP BY customer_id, as_of
